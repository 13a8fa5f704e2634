// Takes the likeliest token as the next. Grid: [1]. Needs: summary.wgsl.

@compute @workgroup_size(PARTS)
fn main(@builtin(local_invocation_index) tid: u32) {
    load_parts(tid);
    if (tid == 0u) {
        let all = summary();
        hand_on(all.token, all);
    }
}
