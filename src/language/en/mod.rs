//! English.

pub mod arms;
pub mod conventions;
pub mod experiments;
pub mod failures;
pub mod figures;
pub mod findings;
pub mod progress;
#[cfg(any(feature = "ui", feature = "cli"))]
pub mod removal;
#[cfg(any(feature = "ui", feature = "cli"))]
pub mod saved;
#[cfg(any(feature = "ui", feature = "cli"))]
pub mod sharing;
pub mod spikes;
pub mod titles;

use crate::terms::Evaluation;

/// A perplexity or a loss; an overflowed one is put in words.
fn shown(value: f64, decimals: usize) -> String {
    if has_overflowed(value) { "beyond all bounds".into() } else { format!("{value:.decimals$}") }
}

/// The signed difference of two losses or perplexities, computed in f32, in which they were measured.
fn apart(from: f64, to: f64, decimals: usize) -> String {
    let change = to as f32 - from as f32;
    if has_overflowed(from) || has_overflowed(to) { "beyond all bounds".into() } else { format!("{change:+.decimals$}") }
}

fn has_overflowed(value: f64) -> bool {
    !value.is_finite() || value as f32 >= Evaluation::OVERFLOW
}

fn percent(share: f64) -> f64 {
    100.0 * share
}

/// A number of things: "1 block", "12 blocks".
fn counted(n: f64, what: &str) -> String {
    if n == 1.0 { format!("{n} {what}") } else { format!("{n} {what}s") }
}
