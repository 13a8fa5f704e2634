// A matrix-vector product's input: RMSNorm or LayerNorm of `x`. Every workgroup computes it, which is cheaper than a
// separate dispatch. Needs: reduce.wgsl; IN4, CACHED4, EPS, CENTRED; `norm_weight()`, `norm_bias()`.

// The normalised vector, as far as it fits.
var<workgroup> normed: array<vec4<f32>, CACHED4>;
var<private> mean: f32;
var<private> scale: f32;

fn normalise(i: u32) -> vec4<f32> {
    let value = (x[i] - mean) * scale * vectors[norm_weight() + i];
    if (CENTRED) {
        return value + vectors[norm_bias() + i];
    }
    return value;
}

fn prepare(tid: u32) {
    mean = 0.0;
    if (CENTRED) {
        var sum = 0.0;
        for (var i = tid; i < IN4; i += 256u) {
            sum += dot(x[i], vec4<f32>(1.0));
        }
        mean = workgroup_sum(tid, sum) / f32(4u * IN4);
    }
    var squares = 0.0;
    for (var i = tid; i < IN4; i += 256u) {
        let centred = x[i] - mean;
        squares += dot(centred, centred);
    }
    scale = 1.0 / sqrt(workgroup_sum(tid, squares) / f32(4u * IN4) + EPS);
    if (CACHED4 == IN4) {
        for (var i = tid; i < IN4; i += 256u) {
            normed[i] = normalise(i);
        }
        workgroupBarrier();
    }
}

fn input(i: u32) -> vec4<f32> {
    if (CACHED4 == IN4) {
        return normed[i];
    }
    return normalise(i);
}
