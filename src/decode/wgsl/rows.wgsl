// A matrix-vector product with weights [out, in]. LANES invocations share a row, so that neighbours read neighbours;
// 256 / LANES rows at a time, STEPS times. Grid: [OUT / (STEPS * ROWS)].
// Needs: `prepare`, `input`, `row_product`, `finish`; Sum (f32, or vec2 for two matrices), OUT, LANES, ROUND, STEPS.

const ROWS: u32 = 256u / LANES;
// The first of two rounds leaves this many sums for each row.
const LEFT: u32 = LANES / ROUND;

var<workgroup> lane_sums: array<Sum, 256>;
var<workgroup> row_sums: array<Sum, ROWS * LEFT>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    prepare(tid);
    let lane = tid % LANES;
    let slot = tid / LANES;
    for (var step = 0u; step < STEPS; step++) {
        let row = (group.x * STEPS + step) * ROWS + slot;
        var sum = Sum();
        if (row < OUT) {
            sum = row_product(row, lane);
        }
        lane_sums[tid] = sum;
        workgroupBarrier();
        if (lane < LEFT) {
            var part = Sum();
            for (var i = 0u; i < ROUND; i++) {
                part += lane_sums[slot * LANES + lane + i * LEFT];
            }
            row_sums[slot * LEFT + lane] = part;
        }
        workgroupBarrier();
        if (lane == 0u && row < OUT) {
            var total = Sum();
            for (var i = 0u; i < LEFT; i++) {
                total += row_sums[slot * LEFT + i];
            }
            finish(row, total);
        }
    }
}
