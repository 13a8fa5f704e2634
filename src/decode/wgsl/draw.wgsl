// Draws the next token as `generate::Sampler` does: temperature, top-k (1 to 256), top-p, one random number. Grid: [1].
//
// The k-th largest score is found bit by bit, by counting; those at least as large are put in order of falling score
// (of equals the smaller id first), and one invocation walks down the k of them. Needs: summary.wgsl; VOCAB.

var<workgroup> counts: array<atomic<u32>, 33>;
var<workgroup> keys: array<u32, 256>;
var<workgroup> ids: array<u32, 256>;
var<workgroup> sorted_keys: array<u32, 256>;
var<workgroup> sorted_ids: array<u32, 256>;

// Ordered as the floats are.
fn key_of(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, (key >> 31u) == 1u));
}

// The largest key that at least `k` scores reach.
fn threshold(tid: u32, k: u32) -> u32 {
    var known = 0u;
    for (var i = 0u; i < 32u; i++) {
        let tried = known | (0x80000000u >> i);
        var n = 0u;
        for (var id = tid; id < VOCAB; id += 256u) {
            n += u32(key_of(logits[id]) >= tried);
        }
        atomicAdd(&counts[i], n);
        workgroupBarrier();
        if (atomicLoad(&counts[i]) >= k) {
            known = tried;
        }
    }
    return known;
}

// Collects the scores that reach the threshold, and returns how many: `k`, or a few more where some are equal.
fn collect(tid: u32, least: u32, k: u32) -> u32 {
    for (var id = tid; id < VOCAB; id += 256u) {
        let key = key_of(logits[id]);
        if (key >= least) {
            let at = atomicAdd(&counts[32], 1u);
            if (at < 256u) {
                keys[at] = key;
                ids[at] = id;
            }
        }
    }
    workgroupBarrier();
    let n = atomicLoad(&counts[32]);
    if (n <= 256u) {
        return n;
    }
    // Hundreds of equal scores: slowly and in order, since which of them are taken must not be left to chance.
    if (tid == 0u) {
        var at = 0u;
        for (var id = 0u; id < VOCAB; id++) {
            let key = key_of(logits[id]);
            if (key > least) {
                keys[at] = key;
                ids[at] = id;
                at++;
            }
        }
        for (var id = 0u; id < VOCAB && at < k; id++) {
            if (key_of(logits[id]) == least) {
                keys[at] = least;
                ids[at] = id;
                at++;
            }
        }
    }
    return k;
}

fn sort(tid: u32, n: u32) {
    workgroupBarrier();
    if (tid < n) {
        var rank = 0u;
        for (var i = 0u; i < n; i++) {
            rank += u32(keys[i] > keys[tid] || (keys[i] == keys[tid] && ids[i] < ids[tid]));
        }
        sorted_keys[rank] = keys[tid];
        sorted_ids[rank] = ids[tid];
    }
    workgroupBarrier();
}

fn weight(i: u32, largest: f32) -> f32 {
    return exp((value_of(sorted_keys[i]) - largest) / settings.temperature);
}

fn draw(k: u32, largest: f32, uniform_number: f32) -> u32 {
    var sum = 0.0;
    for (var i = 0u; i < k; i++) {
        sum += weight(i, largest);
    }
    var n = k;
    if (settings.top_p < 1.0) {
        let wanted = settings.top_p * sum;
        sum = 0.0;
        for (var i = 0u; i < k; i++) {
            sum += weight(i, largest);
            if (sum >= wanted) {
                n = i + 1u;
                break;
            }
        }
    }
    var left = uniform_number * sum;
    for (var i = 0u; i < n; i++) {
        left -= weight(i, largest);
        if (left < 0.0) {
            return sorted_ids[i];
        }
    }
    return sorted_ids[n - 1u];
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) tid: u32) {
    let k = min(settings.top_k, VOCAB);
    if (tid < 33u) {
        atomicStore(&counts[tid], 0u);
    }
    keys[tid] = 0u;
    ids[tid] = 0u;
    load_parts(tid);
    let least = threshold(tid, k);
    sort(tid, collect(tid, least, k));
    if (tid == 0u) {
        let all = summary();
        hand_on(draw(k, all.largest, uniforms[state.n_drawn]), all);
    }
}
