// Attention of one new token: norms and rotates its query and key, writes key and value to the cache, and attends to
// a part of the positions. Softmax over tiles of 256 with a running maximum. Grid: [HEADS, SPLITS].
//
// The cache is [position][keys of all heads, values of all heads], heads padded to whole vec4s. The newest position
// is read from `qkv` and not from the cache, because another workgroup is writing it there.
// Needs: reduce.wgsl, split.wgsl; HEADS, KV_HEADS, HEAD_DIM, HEAD4, SCALE, EPS, QK_NORM, ALL_HEADS, ROTARY,
// ROTARY_DIM, ROPES.

const GROUP: u32 = HEADS / KV_HEADS;
const HALF: u32 = ROTARY_DIM / 2u;
const POSITION4: u32 = 2u * KV_HEADS * HEAD4;
// Invocations that share a tile's positions when values are added up, each with one vec4 of the head.
const GROUPS: u32 = 256u / HEAD4;

var<workgroup> raw_query: array<f32, 4u * HEAD4>;
var<workgroup> raw_key: array<f32, 4u * HEAD4>;
var<workgroup> query: array<vec4<f32>, HEAD4>;
var<workgroup> new_key: array<vec4<f32>, HEAD4>;
var<workgroup> new_value: array<vec4<f32>, HEAD4>;
var<workgroup> weights: array<f32, 256>;
var<workgroup> sums: array<vec4<f32>, 256>;

// Offsets of the norms of this head's query and key.
var<private> norms_at: vec2<u32>;

fn vector(at: u32) -> f32 {
    return vectors[at / 4u][at % 4u];
}

// RMSNorm's scale of a head's query and key.
fn head_scales() -> vec2<f32> {
    var squares = vec2<f32>();
    for (var i = 0u; i < HEAD_DIM; i++) {
        let value = vec2<f32>(raw_query[i], raw_key[i]);
        squares += value * value;
    }
    return 1.0 / sqrt(squares / f32(HEAD_DIM) + EPS);
}

// RMSNorm's scale of all queries and all keys; every workgroup computes it.
fn all_scales(tid: u32) -> vec2<f32> {
    let n = vec2<u32>(HEADS, KV_HEADS) * HEAD_DIM;
    var squares = vec2<f32>();
    for (var i = tid; i < n.x; i += 256u) {
        squares.x += qkv[i] * qkv[i];
    }
    for (var i = n.x + tid; i < n.x + n.y; i += 256u) {
        squares.y += qkv[i] * qkv[i];
    }
    let query_squares = workgroup_sum(tid, squares.x);
    let key_squares = workgroup_sum(tid, squares.y);
    return 1.0 / sqrt(vec2<f32>(query_squares, key_squares) / vec2<f32>(n) + EPS);
}

// Query and key at `d`, before rotation.
fn normed(d: u32, scales: vec2<f32>) -> vec2<f32> {
    let raw = vec2<f32>(raw_query[d], raw_key[d]);
    if (QK_NORM) {
        return raw * scales * vec2<f32>(vector(norms_at.x + d), vector(norms_at.y + d));
    }
    return raw;
}

fn rotated(d: u32, scales: vec2<f32>) -> vec2<f32> {
    let value = normed(d, scales);
    if (!ROTARY || d >= ROTARY_DIM) {
        return value;
    }
    let angle = rotation[(state.position * ROPES + layer.rope) * HALF + d % HALF];
    if (d < HALF) {
        return value * angle.x - normed(d + HALF, scales) * angle.y;
    }
    return value * angle.x + normed(d - HALF, scales) * angle.y;
}

// Puts the new token's query, key and value into workgroup memory, and key and value into the cache.
fn take_new(tid: u32, head: u32, writes: bool) {
    let kv_head = head / GROUP;
    for (var d = tid; d < 4u * HEAD4; d += 256u) {
        var value = vec3<f32>();
        if (d < HEAD_DIM) {
            let key_at = HEADS * HEAD_DIM + kv_head * HEAD_DIM + d;
            value = vec3<f32>(qkv[head * HEAD_DIM + d], qkv[key_at], qkv[key_at + KV_HEADS * HEAD_DIM]);
        }
        raw_query[d] = value.x;
        raw_key[d] = value.y;
        new_value[d / 4u][d % 4u] = value.z;
    }
    workgroupBarrier();
    var scales = vec2<f32>();
    norms_at = vec2<u32>(layer.q_norm, layer.k_norm);
    if (ALL_HEADS) {
        scales = all_scales(tid);
        norms_at += vec2<u32>(head, kv_head) * HEAD_DIM;
    } else if (QK_NORM) {
        scales = head_scales();
    }
    for (var d = tid; d < 4u * HEAD4; d += 256u) {
        var value = vec2<f32>();
        if (d < HEAD_DIM) {
            value = rotated(d, scales);
        }
        query[d / 4u][d % 4u] = value.x;
        new_key[d / 4u][d % 4u] = value.y;
    }
    workgroupBarrier();
    if (writes && tid < HEAD4) {
        let at = state.position * POSITION4 + kv_head * HEAD4 + tid;
        cache[at] = new_key[tid];
        cache[at + KV_HEADS * HEAD4] = new_value[tid];
    }
}

fn score(position: u32, kv_head: u32) -> f32 {
    var sum = vec4<f32>();
    if (position == state.position) {
        for (var i = 0u; i < HEAD4; i++) {
            sum += query[i] * new_key[i];
        }
    } else {
        let at = position * POSITION4 + kv_head * HEAD4;
        for (var i = 0u; i < HEAD4; i++) {
            sum += query[i] * cache[at + i];
        }
    }
    return dot(sum, vec4<f32>(1.0)) * SCALE;
}

fn value_at(position: u32, kv_head: u32, i: u32) -> vec4<f32> {
    if (position == state.position) {
        return new_value[i];
    }
    return cache[position * POSITION4 + (KV_HEADS + kv_head) * HEAD4 + i];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let head = group.x;
    let split = group.y;
    let len = state.position + 1u;
    let n = visible(len, layer.window);
    let chunk = chunk_of(n);
    if (split * chunk >= n) {
        return;
    }
    let kv_head = head / GROUP;
    take_new(tid, head, split == 0u && head % GROUP == 0u);

    let begin = len - n + split * chunk;
    let end = min(begin + chunk, len);
    let lane = tid % HEAD4;
    let share = tid / HEAD4;
    var largest = -3e38;
    var weight = 0.0;
    var sum = vec4<f32>();
    for (var tile = begin; tile < end; tile += 256u) {
        var mine = -3e38;
        if (tile + tid < end) {
            mine = score(tile + tid, kv_head);
        }
        let new_largest = max(largest, workgroup_max(tid, mine));
        let shrink = exp(largest - new_largest);
        largest = new_largest;
        var e = 0.0;
        if (tile + tid < end) {
            e = exp(mine - largest);
        }
        weights[tid] = e;
        weight = weight * shrink + e;
        workgroupBarrier();
        sum *= shrink;
        let tile_len = min(256u, end - tile);
        if (share < GROUPS) {
            for (var j = share; j < tile_len; j += GROUPS) {
                sum += weights[j] * value_at(tile + j, kv_head, lane);
            }
        }
        workgroupBarrier();
    }
    sums[tid] = sum;
    let total_weight = workgroup_sum(tid, weight);
    let part = (head * SPLITS + split) * (HEAD4 + 1u);
    if (tid < HEAD4) {
        var total = vec4<f32>();
        for (var i = 0u; i < GROUPS; i++) {
            total += sums[i * HEAD4 + tid];
        }
        parts[part + tid] = total;
    }
    if (tid == 0u) {
        parts[part + HEAD4] = vec4<f32>(largest, total_weight, 0.0, 0.0);
    }
}
