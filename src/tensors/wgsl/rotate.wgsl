// y = x · cos + sign · swap(x) · signed_sin. `x` may have any strides of heads and positions; y is [heads, seq, width].
// Needs: row.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let at = row_of(group) * 256u + tid;
    if (at >= info.len) {
        return;
    }
    let d = at % info.width;
    let angle = at % (info.seq * info.width);
    let position = angle / info.width;
    let first = at / (info.seq * info.width) * info.head_stride + position * info.position_stride;
    let half = info.width / 2u;
    let partner = select(d - half, d + half, d < half);
    y[at] = x[first + d] * cosines[angle] + info.sign * x[first + partner] * signed_sines[angle];
}
