// Puts the token's embedding (plus its position's, if learned) into the residual stream. Grid: [HIDDEN4 / 256].
// Needs: HIDDEN4; `embedding`.

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if (i < HIDDEN4) {
        x[i] = embedding(i);
    }
}
