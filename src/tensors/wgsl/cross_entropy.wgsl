// y = -log softmax(x)[target], one workgroup for each row. Needs: row.wgsl, reduce.wgsl, log_sum_exp.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = row_of(group);
    if (row >= info.rows) {
        return;
    }
    let first = row * info.width;
    let all = log_sum_exp(tid, first);
    if (tid == 0u) {
        y[row] = all.x + log(all.y) - x[first + min(u32(targets[row]), info.width - 1u)];
    }
}
