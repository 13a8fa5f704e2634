// The combined results of `scan`. Needs: PARTS.

struct Summary { largest: f32, token: u32, stopword_mass: f32, is_broken: u32 }

var<workgroup> part: array<vec4<u32>, PARTS>;
var<workgroup> broken: array<u32, PARTS>;

// Loads the parts. Call from uniform control flow.
fn load_parts(tid: u32) {
    if (tid < PARTS) {
        part[tid] = found[2u * tid];
        broken[tid] = found[2u * tid + 1u].x;
    }
    workgroupBarrier();
}

// In a tie the first wins, because the parts are in the order of the vocabulary.
fn summary() -> Summary {
    var all = Summary(-3.4e38, 0xffffffffu, 0.0, 0u);
    for (var i = 0u; i < PARTS; i++) {
        if (bitcast<f32>(part[i].x) > all.largest) {
            all.largest = bitcast<f32>(part[i].x);
            all.token = part[i].y;
        }
        all.is_broken |= broken[i];
    }
    var mass = vec2<f32>();
    for (var i = 0u; i < PARTS; i++) {
        mass += exp(bitcast<f32>(part[i].x) - all.largest) * vec2<f32>(bitcast<f32>(part[i].z), bitcast<f32>(part[i].w));
    }
    all.stopword_mass = mass.y / mass.x;
    if (all.token == 0xffffffffu) {
        all.is_broken = 1u;
    }
    return all;
}

// Records the next token, and puts it where the next pass begins.
fn hand_on(token: u32, all: Summary) {
    drawn[state.n_drawn] = vec4<u32>(token, bitcast<u32>(all.stopword_mass), all.is_broken, 0u);
    state.token = token;
    state.position += 1u;
    state.n_drawn += 1u;
}
