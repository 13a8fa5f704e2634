// y = softmax(x · scale + mask), one workgroup for each row; mask row = row % seq. Needs: reduce.wgsl, row.wgsl.

fn score(at: u32, masked_at: u32) -> f32 {
    return x[at] * info.scale + mask[masked_at];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = row_of(group);
    if (row >= info.rows) {
        return;
    }
    let first = row * info.width;
    let masked = row % info.seq * info.width;
    var largest = -3e38;
    for (var i = tid; i < info.width; i += 256u) {
        largest = max(largest, score(first + i, masked + i));
    }
    largest = workgroup_max(tid, largest);
    var sum = 0.0;
    for (var i = tid; i < info.width; i += 256u) {
        let weight = exp(score(first + i, masked + i) - largest);
        sum += weight;
        y[first + i] = weight;
    }
    let share = 1.0 / workgroup_sum(tid, sum);
    for (var i = tid; i < info.width; i += 256u) {
        y[first + i] *= share;
    }
}
