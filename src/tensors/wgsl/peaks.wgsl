// Each row's value of largest magnitude and its column (in a tie, the first); one workgroup for each row. Magnitudes
// are compared by their bits, so that NaN and infinity are the largest. Needs: row.wgsl.

var<workgroup> magnitudes: array<u32, 256>;
var<workgroup> at: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let row = row_of(group);
    if (row >= info.rows) {
        return;
    }
    let first = row * info.width;
    var largest = 0u;
    var column = tid;
    for (var i = tid; i < info.width; i += 256u) {
        let magnitude = bitcast<u32>(x[first + i]) & 0x7fffffffu;
        if (magnitude > largest) {
            largest = magnitude;
            column = i;
        }
    }
    magnitudes[tid] = largest;
    at[tid] = column;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (tid < half) {
            let other = magnitudes[tid + half];
            if (other > magnitudes[tid] || (other == magnitudes[tid] && at[tid + half] < at[tid])) {
                magnitudes[tid] = other;
                at[tid] = at[tid + half];
            }
        }
    }
    if (tid == 0u) {
        values[row] = x[first + at[0]];
        columns[row] = i32(at[0]);
    }
}
