// With r = √(mean(x²) + eps) and g = grad · weight: y = g / r - x mean(g x) / r³, one workgroup for each row. Needs:
// reduce.wgsl, row.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = row_of(group);
    if (row >= info.rows) {
        return;
    }
    let first = row * info.width;
    var squares = 0.0;
    var products = 0.0;
    for (var i = tid; i < info.width; i += 256u) {
        let value = x[first + i];
        squares += value * value;
        products += value * grad[first + i] * weight[i];
    }
    let width = f32(info.width);
    let scale = 1.0 / sqrt(workgroup_sum(tid, squares) / width + info.eps);
    let mean = workgroup_sum(tid, products) / width * scale * scale;
    for (var i = tid; i < info.width; i += 256u) {
        y[first + i] = scale * (grad[first + i] * weight[i] - x[first + i] * mean);
    }
}
