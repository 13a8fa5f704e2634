// A matrix-vector product's input: a vector, unchanged.

fn prepare(tid: u32) {}

fn input(i: u32) -> vec4<f32> {
    return x[i];
}
