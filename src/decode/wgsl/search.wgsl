// Searches in the order of falling score (in a tie, the smaller id first), without sorting.
//
// A score's key is 32 bits in the order of the floats. A search finds, with eight bits in each dispatch, the largest
// key at which the tokens with this key or a larger one reach an amount: a number of tokens, or a mass. `bins` has
// the counts of one dispatch by the next digit, among the tokens that share the digits found so far.
//
// Masses are 64-bit integers, low word first, so that sums are exact in any order of the invocations. Needs: VOCAB,
// ONE, TOP_K, NUCLEUS.

// The digit and the search of a dispatch. `slot` counts the dispatches; `top_p` is a fraction of 2^32.
struct Stage { slot: u32, level: u32, goal: u32, top_k: u32, top_p: u32, temperature: f32 }

// The digits found, the largest key of all, the amount above the keys with these digits, and their number (`n`).
struct Search { goal: u32, prefix: u32, top: u32, n: u32, n_above: u32, above: vec2<u32>, wanted: vec2<u32> }

const DIGITS: u32 = 256u;
// Words of a bin: mass, tokens, and the complement of the smallest id (so that an empty bin is 0 throughout).
const WORDS: u32 = 4u;

// Mass and number of tokens, by falling digit, and for 16 digits at a time.
var<workgroup> sums: array<vec3<u32>, DIGITS>;
var<workgroup> sums_of_16: array<vec3<u32>, 16>;
var<workgroup> found_digit: Search;

fn key_of(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, (key >> 31u) == 1u));
}

fn add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + u32(low < a.x));
}

fn minus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}

fn less(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.y < b.y || (a.y == b.y && a.x < b.x);
}

// Both words of a product.
fn product(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let one = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let two = (a & 0xffffu) * (b >> 16u) + (one & 0xffffu);
    return vec2<u32>((two << 16u) | (low & 0xffffu), (a >> 16u) * (b >> 16u) + (one >> 16u) + (two >> 16u));
}

fn times(mass: vec2<u32>, n: u32) -> vec2<u32> {
    return add(product(mass.x, n), vec2<u32>(0u, mass.y * n));
}

// `part / 2^32` of a mass, rounded down.
fn share_of(mass: vec2<u32>, part: u32) -> vec2<u32> {
    return add(product(mass.y, part), vec2<u32>(product(mass.x, part).y, 0u));
}

fn plus(a: vec3<u32>, b: vec3<u32>) -> vec3<u32> {
    return vec3<u32>(add(a.xy, b.xy), a.z + b.z);
}

// The mass of a score; the largest score has ONE * 2^32.
fn mass_of(key: u32, top: u32) -> vec2<u32> {
    if (key >= top) {
        return vec2<u32>(0u, ONE);
    }
    // Minus infinity is excluded, because a shader should not compute with it.
    if (key < 0x00800000u) {
        return vec2<u32>();
    }
    // Halves, because the difference of two floats may overflow.
    let below = 0.5 * value_of(top) - 0.5 * value_of(key);
    if (!(0.05 * below < stage.temperature)) {
        return vec2<u32>();
    }
    let scaled = exp(-2.0 * (below / stage.temperature)) * f32(ONE);
    let whole = floor(scaled);
    return vec2<u32>(u32((scaled - whole) * 4294967296.0), u32(whole));
}

// Loads a dispatch's bins. Call from uniform control flow, like all functions that have `tid`.
fn load_bins(tid: u32, slot: u32) {
    let at = WORDS * (DIGITS * slot + DIGITS - 1u - tid);
    sums[tid] = vec3<u32>(atomicLoad(&bins[at]), atomicLoad(&bins[at + 1u]), atomicLoad(&bins[at + 2u]));
    workgroupBarrier();
    if (tid < 16u) {
        var sum = sums[16u * tid];
        for (var i = 1u; i < 16u; i++) {
            sum = plus(sum, sums[16u * tid + i]);
        }
        sums_of_16[tid] = sum;
    }
    workgroupBarrier();
}

// The mass of all loaded bins.
fn total() -> vec2<u32> {
    var sum = sums_of_16[0];
    for (var i = 1u; i < 16u; i++) {
        sum = plus(sum, sums_of_16[i]);
    }
    return sum.xy;
}

fn reaches(sum: vec3<u32>, search: Search) -> bool {
    return !less(select(sum.xy, vec2<u32>(sum.z, 0u), search.goal == TOP_K), search.wanted);
}

// The search, one digit further, by the loaded bins.
fn descend(tid: u32, search: Search) -> Search {
    var above = vec3<u32>(search.above, search.n_above);
    for (var i = 0u; i < tid / 16u; i++) {
        above = plus(above, sums_of_16[i]);
    }
    for (var i = tid / 16u * 16u; i < tid; i++) {
        above = plus(above, sums[i]);
    }
    if (!reaches(above, search) && reaches(plus(above, sums[tid]), search)) {
        var further = search;
        further.prefix = (search.prefix << 8u) | (DIGITS - 1u - tid);
        further.n = sums[tid].z;
        further.n_above = above.z;
        further.above = above.xy;
        found_digit = further;
    }
    workgroupBarrier();
    return found_digit;
}

// The number of tokens with the found key that do not reach the wanted mass yet.
fn n_short(search: Search) -> u32 {
    let mass = mass_of(search.prefix, search.top);
    let left = minus(search.wanted, search.above);
    var n = 0u;
    for (var bit = 0x40000000u / ONE; bit > 0u; bit >>= 1u) {
        if (less(times(mass, n | bit), left)) {
            n |= bit;
        }
    }
    return min(n, search.n - 1u);
}

// The mass of all tokens up to the end of a search.
fn mass_up_to(search: Search) -> vec2<u32> {
    var n = stage.top_k - search.n_above;
    if (search.goal == NUCLEUS) {
        n = n_short(search) + 1u;
    }
    return add(search.above, times(mass_of(search.prefix, search.top), n));
}

// A new search among tokens of this mass.
fn aim(mass: vec2<u32>, top: u32) -> Search {
    var search = Search();
    search.goal = stage.goal;
    search.top = top;
    if (stage.goal == TOP_K) {
        search.wanted = vec2<u32>(stage.top_k, 0u);
    } else if (stage.goal == NUCLEUS) {
        search.wanted = share_of(mass, stage.top_p);
        if (all(search.wanted == vec2<u32>())) {
            search.wanted.x = 1u;
        }
    } else {
        search.wanted = add(share_of(mass, uniforms[state.n_drawn]), vec2<u32>(1u, 0u));
    }
    return search;
}

// The state of the search: one digit further than in the previous dispatch, or at the first digit of the next search.
// Every search begins with the first dispatch's bins, which count all tokens: tokens cut off by an earlier search are
// below.
fn stand(tid: u32) -> Search {
    let before = searches[stage.slot - 1u];
    load_bins(tid, stage.slot - 1u);
    if (stage.level > 1u) {
        return descend(tid, before);
    }
    var mass = total();
    if (stage.slot > 1u) {
        mass = mass_up_to(descend(tid, before));
        load_bins(tid, 0u);
    }
    return descend(tid, aim(mass, before.top));
}
