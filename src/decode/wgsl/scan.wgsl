// First pass over the scores: for each part of the vocabulary the largest (in a tie, the first), the sum of
// exponentials and the stopwords' share of it. Grid: [PARTS]. Needs: VOCAB, PARTS.

const PER: u32 = (VOCAB + PARTS - 1u) / PARTS;

var<workgroup> best: array<f32, 256>;
var<workgroup> best_id: array<u32, 256>;
var<workgroup> masses: array<vec2<f32>, 256>;
var<workgroup> broken: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
    let begin = group.x * PER;
    let end = min(begin + PER, VOCAB);
    var largest = -3.4e38;
    var id = 0xffffffffu;
    var is_broken = 0u;
    for (var i = begin + tid; i < end; i += 256u) {
        let value = logits[i];
        // NaN and +infinity are detected by their bits, because a shader may assume that there are none.
        let bits = bitcast<u32>(value);
        if (bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u) {
            is_broken = 1u;
        }
        if (value > largest) {
            largest = value;
            id = i;
        }
    }
    best[tid] = largest;
    best_id[tid] = id;
    broken[tid] = is_broken;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (tid < half) {
            let other = best[tid + half];
            if (other > best[tid] || (other == best[tid] && best_id[tid + half] < best_id[tid])) {
                best[tid] = other;
                best_id[tid] = best_id[tid + half];
            }
            broken[tid] = broken[tid] | broken[tid + half];
        }
    }
    workgroupBarrier();
    largest = best[0];
    var mass = vec2<f32>();
    for (var i = begin + tid; i < end; i += 256u) {
        let weight = exp(logits[i] - largest);
        let is_stopword = f32((stopwords[i / 32u] >> (i % 32u)) & 1u);
        mass += vec2<f32>(weight, weight * is_stopword);
    }
    masses[tid] = mass;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (tid < half) {
            masses[tid] += masses[tid + half];
        }
    }
    if (tid == 0u) {
        // Bit patterns, not floats, because small integers look like subnormal floats, which a GPU may flush to 0.
        found[2u * group.x] = vec4<u32>(bitcast<u32>(best[0]), best_id[0], bitcast<u32>(masses[0].x), bitcast<u32>(masses[0].y));
        found[2u * group.x + 1u] = vec4<u32>(broken[0], 0u, 0u, 0u);
    }
}
