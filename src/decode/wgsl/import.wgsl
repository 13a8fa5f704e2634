// Copies a layer's keys and values from Path A's cache, [KV_HEADS, len, HEAD_DIM] with strides, into ours.
// Grid: [positions up to 65535, positions beyond].
// Needs: KV_HEADS, HEAD_DIM, HEAD4.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let position = group.x + group.y * 65535u;
    if (position >= source.len) {
        return;
    }
    let padded = 4u * HEAD4;
    for (var at = tid; at < KV_HEADS * padded; at += 64u) {
        let head = at / padded;
        let d = at % padded;
        var value = vec2<f32>();
        if (d < HEAD_DIM) {
            let key_at = head * source.key_head + position * source.key_position + d * source.key_dim;
            let value_at = head * source.value_head + position * source.value_position + d * source.value_dim;
            value = vec2<f32>(keys[key_at], values[value_at]);
        }
        let to = position * 2u * KV_HEADS * padded + at;
        cache[to] = value.x;
        cache[to + KV_HEADS * padded] = value.y;
    }
}
