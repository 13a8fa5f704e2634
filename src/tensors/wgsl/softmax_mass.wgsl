// y = Σ softmax(x) · mask, one workgroup for each row. Needs: row.wgsl, reduce.wgsl, log_sum_exp.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = row_of(group);
    if (row >= info.rows) {
        return;
    }
    let first = row * info.width;
    let all = log_sum_exp(tid, first);
    var mass = 0.0;
    for (var i = tid; i < info.width; i += 256u) {
        mass += exp(x[first + i] - all.x) * mask[i];
    }
    let sum = workgroup_sum(tid, mass);
    if (tid == 0u) {
        y[row] = sum / all.y;
    }
}
