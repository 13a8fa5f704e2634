// Down each column of u and its gradient g: Σ u, Σ u², max |u|, Σ g², Σ |u g|, Σ (u g)². A workgroup has 32 columns,
// and 8 invocations for each of them, each of which takes every eighth row.

const COLUMNS: u32 = 32u;
const SLICES: u32 = 8u;

var<workgroup> of_u: array<vec3<f32>, 256>;
var<workgroup> of_grad: array<vec3<f32>, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let column = group.x * COLUMNS + tid % COLUMNS;
    var a = vec3<f32>();
    var b = vec3<f32>();
    if (column < info.width) {
        for (var row = tid / COLUMNS; row < info.rows; row += SLICES) {
            let value = u[row * info.width + column];
            let slope = grad[row * info.width + column];
            let product = value * slope;
            a = vec3<f32>(a.x + value, a.y + value * value, max(a.z, abs(value)));
            b += vec3<f32>(slope * slope, abs(product), product * product);
        }
    }
    of_u[tid] = a;
    of_grad[tid] = b;
    workgroupBarrier();
    if (tid < COLUMNS && column < info.width) {
        for (var slice = 1u; slice < SLICES; slice++) {
            let other = of_u[slice * COLUMNS + tid];
            a = vec3<f32>(a.x + other.x, a.y + other.y, max(a.z, other.z));
            b += of_grad[slice * COLUMNS + tid];
        }
        for (var i = 0u; i < 3u; i++) {
            y[i * info.width + column] = a[i];
            y[(3u + i) * info.width + column] = b[i];
        }
    }
}
