// Matrix products of a batch, y = a b, with tiles of 64 x 64 and 4 x 4 results an invocation. Grid: [N / 64, M / 64, batch].
// Needs: load_a(batch, row, k) and load_b(batch, k, column).

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;

var<workgroup> tile_a: array<f32, 1024>;
var<workgroup> tile_b: array<f32, 1024>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let first_row = group.y * TILE;
    let first_column = group.x * TILE;
    let x = tid % 16u;
    let y_ = tid / 16u;
    var sums: array<vec4<f32>, 4>;
    for (var k0 = 0u; k0 < info.k; k0 += DEPTH) {
        workgroupBarrier();
        for (var i = tid; i < 1024u; i += 256u) {
            let d = i / TILE;
            let r = i % TILE;
            var a_value = 0.0;
            var b_value = 0.0;
            if (k0 + d < info.k && first_row + r < info.m) {
                a_value = load_a(group.z, first_row + r, k0 + d);
            }
            if (k0 + d < info.k && first_column + r < info.n) {
                b_value = load_b(group.z, k0 + d, first_column + r);
            }
            tile_a[i] = a_value;
            tile_b[i] = b_value;
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let at = d * TILE;
            let right = vec4<f32>(tile_b[at + x], tile_b[at + x + 16u], tile_b[at + x + 32u], tile_b[at + x + 48u]);
            for (var i = 0u; i < 4u; i++) {
                sums[i] += tile_a[at + y_ + 16u * i] * right;
            }
        }
    }
    for (var i = 0u; i < 4u; i++) {
        let row = first_row + y_ + 16u * i;
        for (var j = 0u; j < 4u; j++) {
            let column = first_column + x + 16u * j;
            if (row < info.m && column < info.n) {
                y[(group.z * info.m + row) * info.n + column] = sums[i][j];
            }
        }
    }
}
