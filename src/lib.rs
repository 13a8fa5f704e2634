//! Linchpin finds the few numbers that hold a language model up, and lets anybody pull them.
//!
//! # Map
//!
//! ```text
//! ui  ──────►  protocol  ◄──────  engine  ──────►  experiments  ──────►  analysis, model, decode, weights, …  ──────►  tensors
//! (Leptos,      terms             (bin/engine:      (the paper's       (Burn: one forward pass, WebGPU or CPU)      (kernels)
//!  bin/app)     share, catalog     a Web Worker;     tables, figures)
//!               draw               bin/linchpin:
//!                                  the command, with
//!                                  cli and hub)
//! ```
//!
//! # Invariants
//!
//! 1. `ui` holds no tensor code: the page's wasm has no Burn in it.
//! 2. `model` and `analysis` do no I/O, and read back from the device through `.await` only (a browser cannot wait).
//! 3. Worker and command send the same [`protocol::Request`] to the same engine; a result is the same JSON.
//! 4. The intact model is never mutated: an ablation is a new value that shares every matrix it does not touch.
//! 5. Matrices keep the checkpoint's names, layout (`[out, in]`) and values: nothing is folded, transposed or centred,
//!    so a coordinate means here what it means in Hugging Face transformers. One that holds several is taken apart by rows.
//! 6. A run on a GPU that reported an error is a failure, and its text is never shown as a finding.

pub mod catalog;
pub mod protocol;
pub mod share;
pub mod terms;

#[cfg(any(feature = "ui", feature = "cli"))]
pub mod draw;

#[cfg(feature = "engine")]
pub mod analysis;
#[cfg(feature = "engine")]
pub mod decode;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod experiments;
#[cfg(feature = "engine")]
pub mod generate;
#[cfg(feature = "engine")]
pub mod model;
#[cfg(feature = "engine")]
pub mod platform;
#[cfg(feature = "engine")]
pub mod tensors;
#[cfg(feature = "engine")]
pub mod tokenizer;
#[cfg(feature = "engine")]
pub mod weights;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod hub;
#[cfg(feature = "ui")]
pub mod ui;
