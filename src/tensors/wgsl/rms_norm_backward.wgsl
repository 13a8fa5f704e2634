// With r = √(mean(x²) + eps), n = x / r and g = grad · weight: y = (g - n mean(g n)) / r, one workgroup for each row.
// The rounding of the difference along n is taken away in a second round; see rms_norm_backward in stock.rs. The first
// round's result is kept in y, because a compiler may round a second computation of it otherwise. Needs: reduce.wgsl,
// row.wgsl.

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
    let mean = workgroup_sum(tid, products) / width * scale;
    var left = 0.0;
    for (var i = tid; i < info.width; i += 256u) {
        let normed = x[first + i] * scale;
        let difference = grad[first + i] * weight[i] - normed * mean;
        y[first + i] = difference;
        left += normed * difference;
    }
    let excess = workgroup_sum(tid, left) / width - mean * info.eps * scale * scale;
    for (var i = tid; i < info.width; i += 256u) {
        y[first + i] = (y[first + i] - x[first + i] * scale * excess) * scale;
    }
}
