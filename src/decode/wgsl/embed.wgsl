// The token's embedding (and its position's, where learned) into the residual stream. Grid: [HIDDEN4 / 256].
// Needs: HIDDEN4, VOCAB, SCALE; `position_row`.

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if (i < HIDDEN4) {
        let token = min(state.token, VOCAB - 1u);
        x[i] = SCALE * load_w0(token * HIDDEN4 + i) + position_row(i);
    }
}
