// A matrix-vector product with weights [in, out] (GPT-2). An invocation has four neighbouring outputs and every
// PARTS-th input; COLUMNS invocations side by side read neighbours. Grid: [OUT / (4 * COLUMNS)].
// Needs: `prepare`, `input`, `load_w0`, `finish`; IN4, OUT, COLUMNS.

const OUT4: u32 = OUT / 4u;
const PARTS: u32 = 256u / COLUMNS;
const LEFT: u32 = 8u;

var<workgroup> part_sums: array<vec4<f32>, 256>;
var<workgroup> column_sums: array<vec4<f32>, COLUMNS * LEFT>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    prepare(tid);
    let lane = tid % COLUMNS;
    let part = tid / COLUMNS;
    let column = group.x * COLUMNS + lane;
    var sum = vec4<f32>();
    if (column < OUT4) {
        for (var i = part; i < IN4; i += PARTS) {
            let value = input(i);
            let first = 4u * i * OUT4 + column;
            sum += value.x * load_w0(first);
            sum += value.y * load_w0(first + OUT4);
            sum += value.z * load_w0(first + 2u * OUT4);
            sum += value.w * load_w0(first + 3u * OUT4);
        }
    }
    part_sums[tid] = sum;
    workgroupBarrier();
    if (part < LEFT) {
        var left = vec4<f32>();
        for (var i = part; i < PARTS; i += LEFT) {
            left += part_sums[i * COLUMNS + lane];
        }
        column_sums[part * COLUMNS + lane] = left;
    }
    workgroupBarrier();
    if (part == 0u && column < OUT4) {
        var total = vec4<f32>();
        for (var i = 0u; i < LEFT; i++) {
            total += column_sums[i * COLUMNS + lane];
        }
        finish(4u * column, total.x);
        finish(4u * column + 1u, total.y);
        finish(4u * column + 2u, total.z);
        finish(4u * column + 3u, total.w);
    }
}
