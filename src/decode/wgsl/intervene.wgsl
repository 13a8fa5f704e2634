// Interventions at one place, in the order of their list. Grid: [1]. An invocation has its own channels and goes
// through the whole list, so that several interventions on one channel are in order.

struct Change { token: u32, channel: u32, sets: u32, value: f32 }

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) tid: u32) {
    for (var i = 0u; i < arrayLength(&changes); i++) {
        let change = changes[i];
        if (change.token == state.position && change.channel % 64u == tid && change.channel < WIDTH) {
            let scaled = x[change.channel] * change.value;
            x[change.channel] = select(scaled, change.value, change.sets == 1u);
        }
    }
}
