// y = silu(gate) · up. Needs: sigmoid.wgsl, row.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let at = row_of(group) * 256u + tid;
    if (at < info.len) {
        y[at] = gate[at] * sigmoid(gate[at]) * up[at];
    }
}
