// Adds a block's output to the residual stream. Grid: [WIDTH / 256].

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < WIDTH) {
        x[id.x] += y[id.x];
    }
}
