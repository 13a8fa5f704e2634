// y = x · cos + sign · swap(x) · signed_sin in the first `dim` of a row, and x itself beyond. `x` may have any strides of
// heads and positions; y is [heads, seq, width]. Needs: row.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let at = row_of(group) * 256u + tid;
    if (at >= info.len) {
        return;
    }
    let d = at % info.width;
    let position = at / info.width % info.seq;
    let first = at / (info.seq * info.width) * info.head_stride + position * info.position_stride;
    if (d >= info.dim) {
        y[at] = x[first + d];
        return;
    }
    let angle = position * info.dim + d;
    let half = info.dim / 2u;
    let partner = select(d - half, d + half, d < half);
    y[at] = x[first + d] * cosines[angle] + info.sign * x[first + partner] * signed_sines[angle];
}
