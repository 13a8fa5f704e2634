// A row's largest value, and the sum of exp(x - largest). Call from uniform control flow. Needs: reduce.wgsl.

fn log_sum_exp(tid: u32, first: u32) -> vec2<f32> {
    var largest = -3e38;
    for (var i = tid; i < info.width; i += 256u) {
        largest = max(largest, x[first + i]);
    }
    largest = workgroup_max(tid, largest);
    var sum = 0.0;
    for (var i = tid; i < info.width; i += 256u) {
        sum += exp(x[first + i] - largest);
    }
    return vec2<f32>(largest, workgroup_sum(tid, sum));
}
