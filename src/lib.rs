//! Linchpin finds the few weights and channels that a language model cannot do without, and shows the effect of
//! removing them.
//!
//! # Map
//!
//! ```text
//! ui (Leptos,  ──►  protocol  ◄──  engine (bin/engine: a Web Worker;  ──►  experiments (the paper's tables, figures)
//!     bin/app)      share             bin/linchpin: the command,           loading (files to a model), saving (to files)
//!                   catalog           with cli)                            analysis, decode, sampling, job
//!                   draw, tables, language (words for codes)                model (one forward pass)
//!                   terms, words                                           weights (files), tensors (kernels), tokenizer
//!                                                                          platform (WebGPU or CPU, files, the Hub)
//! ```
//!
//! Imports go down only. The table in `xtask/src/modules.rs` lists the rooms that each room may import;
//! `cargo xtask tidy` fails for an import that is not in it, for an unused entry, and for a new circle between files.
//! The rooms are not a workspace of crates because the same code is built with three sets of features (page, worker,
//! command), which every crate would have to repeat, and because kernels, model and engine are optimised as one
//! crate.
//!
//! # Invariants
//!
//! 1. `ui` holds no tensor code: the page's wasm has no Burn in it.
//! 2. `model` and `analysis` do no I/O, and read back from the device through `.await` only (a browser cannot wait).
//! 3. Worker and command send the same [`protocol::Request`] to the same engine; a result is the same JSON.
//! 4. The intact model is never mutated: an ablation is a new value that shares every matrix it does not touch.
//! 5. Matrices keep the checkpoint's names, layout (`[out, in]`) and values: nothing is folded, transposed or centred,
//!    so a coordinate means the same here as in Hugging Face transformers. A fused matrix is split by rows.
//! 6. A run on a GPU that reported an error is a failure, and its text is never shown as a finding.

pub mod catalog;
pub mod language;
pub mod protocol;
pub mod share;
pub mod terms;
pub mod words;

#[cfg(any(feature = "ui", feature = "cli"))]
pub mod draw;
#[cfg(any(feature = "ui", feature = "cli"))]
pub mod tables;

#[cfg(feature = "engine")]
pub mod analysis;
#[cfg(feature = "engine")]
pub mod decode;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod experiments;
#[cfg(feature = "engine")]
pub mod job;
#[cfg(feature = "engine")]
pub mod loading;
#[cfg(feature = "engine")]
pub mod model;
#[cfg(feature = "engine")]
pub mod platform;
#[cfg(feature = "engine")]
pub mod sampling;
#[cfg(feature = "engine")]
pub mod saving;
#[cfg(feature = "engine")]
pub mod tensors;
#[cfg(feature = "engine")]
pub mod tokenizer;
#[cfg(feature = "engine")]
pub mod weights;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "ui")]
pub mod ui;
