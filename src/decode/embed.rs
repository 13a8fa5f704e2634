//! The first of a token's dispatches: its row of the embeddings, and of the position table if positions are learned.

use super::Scratch;
use super::buffers::{BoundRows, Weights};
use super::gpu::{DecodeGpu, Step};
use super::grid::WORKGROUP;
use super::kernels::{Access, Kernel};
use super::shape::Shape;

/// The index of a table's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Token,
    Position,
}

/// Chunks of tables that a dispatch reads; with the state and x they make 8 storage buffers.
const MAX_CHUNKS: usize = 6;

/// The dispatches: one, or, for tables of many chunks, one for every [`MAX_CHUNKS`].
pub(super) fn steps(gpu: &DecodeGpu, shape: &Shape, weights: &Weights, scratch: &Scratch) -> Vec<Step> {
    let tokens = weights.embed_tokens.iter().map(|chunk| (Key::Token, chunk));
    let positions = weights.embed_positions.iter().map(|chunk| (Key::Position, chunk));
    let chunks = tokens.chain(positions).collect::<Vec<_>>();
    let grid = [(shape.hidden_size / 4).div_ceil(WORKGROUP) as u32, 1, 1];
    let step = |(index, chunks): (usize, &[(Key, &BoundRows)])| {
        let mut resources = vec![scratch.state.as_entire_binding()];
        resources.extend(chunks.iter().map(|(_, chunk)| chunk.bound.binding()));
        resources.push(scratch.x.as_entire_binding());
        gpu.step(&kernel(shape, chunks, index == 0), &resources, grid)
    };
    chunks.chunks(MAX_CHUNKS).enumerate().map(step).collect()
}

/// Bindings: state, the chunks (tokens before positions), x. All dispatches except the first add to x.
fn kernel(shape: &Shape, chunks: &[(Key, &BoundRows)], is_first: bool) -> Kernel {
    let mut kernel = Kernel::new("embed").state(Access::Read);
    let mut embedding = String::from("fn embedding(i: u32) -> vec4<f32> {\n  let token = min(state.token, VOCAB - 1u);\n");
    embedding += if is_first { "  var value = vec4<f32>();\n" } else { "  var value = x[i];\n" };
    for (index, (key, chunk)) in chunks.iter().enumerate() {
        kernel = kernel.weight(index, chunk.bound.is_bf16());
        let (start, end) = (chunk.rows.start, chunk.rows.end);
        let (key, becomes) = match key {
            Key::Token => ("token", "= SCALE *"),
            Key::Position => ("state.position", "+="),
        };
        let row = format!("load_w{index}(({key} - {start}u) * HIDDEN4 + i)");
        embedding += &format!("  if ({key} >= {start}u && {key} < {end}u) {{ value {becomes} {row}; }}\n");
    }
    kernel
        .write("x", "array<vec4<f32>>")
        .constant("HIDDEN4", shape.hidden_size / 4)
        .constant("VOCAB", shape.vocab_size)
        .float("SCALE", shape.embed_scale)
        .text(&embedding)
        .text("  return value;\n}\n")
        .text(include_str!("wgsl/embed.wgsl"))
}
