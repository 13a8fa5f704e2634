// Sums over a workgroup of 256, without subgroups: two rounds of 16, since a barrier costs more than an addition.

var<workgroup> round_one: array<f32, 256>;
var<workgroup> round_two: array<f32, 16>;

// The sum of `value` over the workgroup, in every invocation. Call from uniform control flow.
fn workgroup_sum(tid: u32, value: f32) -> f32 {
    round_one[tid] = value;
    workgroupBarrier();
    if (tid < 16u) {
        var sum = 0.0;
        for (var i = 0u; i < 16u; i++) {
            sum += round_one[tid + 16u * i];
        }
        round_two[tid] = sum;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < 16u; i++) {
        total += round_two[i];
    }
    return total;
}
