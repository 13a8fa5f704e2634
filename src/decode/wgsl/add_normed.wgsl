// Adds a block's normalised output to the residual stream. Grid: [1]. Needs: input_norm.wgsl; IN4.

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) tid: u32) {
    prepare(tid);
    for (var i = tid; i < IN4; i += 256u) {
        out[i] += normalise(i);
    }
}
