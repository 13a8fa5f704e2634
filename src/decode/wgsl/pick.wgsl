// Second look: the likeliest token of all, its stopword mass, and the state for the next token. Grid: [1].
// Needs: PARTS (a workgroup of as many).

var<workgroup> part: array<vec4<u32>, PARTS>;
var<workgroup> broken: array<u32, PARTS>;

@compute @workgroup_size(PARTS)
fn main(@builtin(local_invocation_index) tid: u32) {
    part[tid] = found[2u * tid];
    broken[tid] = found[2u * tid + 1u].x;
    workgroupBarrier();
    if (tid > 0u) {
        return;
    }
    var largest = -3.4e38;
    var token = 0xffffffffu;
    var is_broken = 0u;
    for (var i = 0u; i < PARTS; i++) {
        if (bitcast<f32>(part[i].x) > largest) {
            largest = bitcast<f32>(part[i].x);
            token = part[i].y;
        }
        is_broken |= broken[i];
    }
    var mass = vec2<f32>();
    for (var i = 0u; i < PARTS; i++) {
        mass += exp(bitcast<f32>(part[i].x) - largest) * vec2<f32>(bitcast<f32>(part[i].z), bitcast<f32>(part[i].w));
    }
    if (token == 0xffffffffu) {
        is_broken = 1u;
    }
    drawn[state.n_drawn] = vec4<u32>(token, bitcast<u32>(mass.y / mass.x), is_broken, 0u);
    state.token = token;
    state.position += 1u;
    state.n_drawn += 1u;
}
