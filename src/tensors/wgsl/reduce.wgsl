// Sums and maxima over a workgroup of 256, without subgroups: two rounds of 16, because a barrier costs more than an
// addition. Call both from uniform control flow; one may follow the other.

var<workgroup> round_one: array<f32, 256>;
var<workgroup> round_two: array<f32, 16>;

// The sum of `value` over the workgroup, in every invocation.
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

// The largest of `value` over the workgroup, in every invocation.
fn workgroup_max(tid: u32, value: f32) -> f32 {
    round_one[tid] = value;
    workgroupBarrier();
    if (tid < 16u) {
        var largest = round_one[tid];
        for (var i = 1u; i < 16u; i++) {
            largest = max(largest, round_one[tid + 16u * i]);
        }
        round_two[tid] = largest;
    }
    workgroupBarrier();
    var largest = round_two[0];
    for (var i = 1u; i < 16u; i++) {
        largest = max(largest, round_two[i]);
    }
    return largest;
}
