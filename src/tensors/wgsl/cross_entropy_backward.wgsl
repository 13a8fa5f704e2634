// y = (softmax(x) - onehot(target)) · grad of the row, one workgroup for each row. Needs: row.wgsl, reduce.wgsl,
// log_sum_exp.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = row_of(group);
    if (row >= info.rows) {
        return;
    }
    let first = row * info.width;
    let all = log_sum_exp(tid, first);
    let factor = grad[row];
    let target_ = min(u32(targets[row]), info.width - 1u);
    for (var i = tid; i < info.width; i += 256u) {
        y[first + i] = (exp(x[first + i] - all.x) / all.y - f32(i == target_)) * factor;
    }
}
