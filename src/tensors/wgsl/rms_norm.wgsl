// y = x / √(mean(x²) + eps) · weight, one workgroup for each row. Needs: reduce.wgsl, row.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = row_of(group);
    if (row >= info.rows) {
        return;
    }
    let first = row * info.width;
    var squares = 0.0;
    for (var i = tid; i < info.width; i += 256u) {
        squares += x[first + i] * x[first + i];
    }
    let scale = 1.0 / sqrt(workgroup_sum(tid, squares) / f32(info.width) + info.eps);
    for (var i = tid; i < info.width; i += 256u) {
        y[first + i] = x[first + i] * scale * weight[i];
    }
}
