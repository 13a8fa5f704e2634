// y = x (grad - Σ grad x) scale, where x is a softmax's result; one workgroup for each row. The sum is taken from grad
// in two rounds; see softmax_backward in stock.rs. Needs: reduce.wgsl, row.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = row_of(group);
    if (row >= info.rows) {
        return;
    }
    let first = row * info.width;
    var products = 0.0;
    for (var i = tid; i < info.width; i += 256u) {
        products += x[first + i] * grad[first + i];
    }
    let sum = workgroup_sum(tid, products);
    var left = 0.0;
    for (var i = tid; i < info.width; i += 256u) {
        let difference = grad[first + i] - sum;
        y[first + i] = difference;
        left += x[first + i] * difference;
    }
    let rest = workgroup_sum(tid, left);
    for (var i = tid; i < info.width; i += 256u) {
        y[first + i] = x[first + i] * (y[first + i] - rest) * info.scale;
    }
}
