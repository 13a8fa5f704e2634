// Two bf16 values in each word, the first in the low half, as f32; exact. Needs: row.wgsl.

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let at = row_of(group) * 256u + tid;
    if (at < info.len) {
        y[2u * at] = bitcast<f32>(words[at] << 16u);
        y[2u * at + 1u] = bitcast<f32>(words[at] & 0xffff0000u);
    }
}
