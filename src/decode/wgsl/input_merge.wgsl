// A matrix-vector product's input: the sum of a split attention's parts. `parts` is [HEADS][SPLITS][HEAD4 + 1]:
// weighted sums of values, then (largest score, sum of weights). Needs: split.wgsl; IN4, CACHED4, HEAD_DIM, HEAD4.

var<workgroup> merged: array<vec4<f32>, CACHED4>;
var<private> n_splits: u32;

// Element `at` of head `head`, `at` in vec4s.
fn merge(head: u32, at: u32) -> vec4<f32> {
    let first = head * SPLITS * (HEAD4 + 1u);
    var largest = -3e38;
    for (var s = 0u; s < n_splits; s++) {
        largest = max(largest, parts[first + s * (HEAD4 + 1u) + HEAD4].x);
    }
    var sum = vec4<f32>();
    var weight = 0.0;
    for (var s = 0u; s < n_splits; s++) {
        let part = first + s * (HEAD4 + 1u);
        let factor = exp(parts[part + HEAD4].x - largest);
        sum += factor * parts[part + at];
        weight += factor * parts[part + HEAD4].y;
    }
    return sum / weight;
}

fn gather(i: u32) -> vec4<f32> {
    if (HEAD_DIM % 4u == 0u) {
        return merge(i / HEAD4, i % HEAD4);
    }
    var value = vec4<f32>();
    for (var c = 0u; c < 4u; c++) {
        let flat = 4u * i + c;
        let at = flat % HEAD_DIM;
        value[c] = merge(flat / HEAD_DIM, at / 4u)[at % 4u];
    }
    return value;
}

fn prepare(tid: u32) {
    n_splits = splits_of(visible(state.position + 1u, layer.window));
    if (CACHED4 == IN4) {
        for (var i = tid; i < IN4; i += 256u) {
            merged[i] = gather(i);
        }
        workgroupBarrier();
    }
}

fn input(i: u32) -> vec4<f32> {
    if (CACHED4 == IN4) {
        return merged[i];
    }
    return gather(i);
}
