// Gradients of silu(gate) · up with regard to both. Needs: sigmoid.wgsl, row.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let at = row_of(group) * 256u + tid;
    if (at < info.len) {
        let s = sigmoid(gate[at]);
        of_gate[at] = grad[at] * up[at] * s * (1.0 + gate[at] * (1.0 - s));
        of_up[at] = grad[at] * gate[at] * s;
    }
}
