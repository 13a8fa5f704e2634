//! The kernels of the heads: attention, and the import of a prompt's keys and values.

use super::kernels::{Access, Kernel};
use super::shape::{QkNorm, Shape};

/// Bindings: layer, state, qkv, vectors, rotation, cache, parts.
pub(super) fn kernel(shape: &Shape) -> Kernel {
    heads(Kernel::new("attention"), shape)
        .layer()
        .state(Access::Read)
        .read("qkv", "array<f32>")
        .read("vectors", "array<vec4<f32>>")
        .read("rotation", "array<vec2<f32>>")
        .write("cache", "array<vec4<f32>>")
        .write("parts", "array<vec4<f32>>")
        .constant("HEADS", shape.num_heads)
        .float("SCALE", shape.scale)
        .float("EPS", shape.norm_eps)
        .flag("QK_NORM", shape.qk_norm != QkNorm::None)
        .flag("ALL_HEADS", shape.qk_norm == QkNorm::AllHeads)
        .flag("ROTARY", !shape.learned_positions)
        .constant("ROTARY_DIM", shape.rotary_dim())
        .constant("ROPES", shape.ropes.len())
        .text(include_str!("../tensors/wgsl/reduce.wgsl"))
        .text(include_str!("wgsl/split.wgsl"))
        .text(include_str!("wgsl/attention.wgsl"))
}

/// Bindings: source, keys, values, cache.
pub(super) fn import(shape: &Shape) -> Kernel {
    let source = "struct Source { len: u32, key_head: u32, key_position: u32, key_dim: u32, \
                  value_head: u32, value_position: u32, value_dim: u32, unused: u32 }\n";
    heads(Kernel::new("import"), shape)
        .text(source)
        .bind(Access::Uniform, "source", "Source")
        .read("keys", "array<f32>")
        .read("values", "array<f32>")
        .write("cache", "array<f32>")
        .text(include_str!("wgsl/import.wgsl"))
}

fn heads(kernel: Kernel, shape: &Shape) -> Kernel {
    kernel.constant("KV_HEADS", shape.num_kv_heads).constant("HEAD_DIM", shape.head_dim).constant("HEAD4", shape.head4())
}
