//! Reports as tables: every typed report as [`DataTable`](crate::terms::DataTable)s, and as
//! [`DataPlot`](crate::terms::DataPlot)s if a general kind of picture can show it.
//!
//! The page shows and saves these tables, the command appends them to files, and a static page includes them. The
//! room is between `terms` and `draw`: a table needs names and numbers only, and `draw` names its pictures after
//! tables. Special kinds of pictures, which no `DataPlot` describes, are in `draw`.
//!
//! | file | tables |
//! |---|---|
//! | [`scan`] | spikes, candidates, and the arms of a confirmation |
//! | [`scores`] | every channel's scores, and their distribution |
//! | [`surroundings`] | cores and halos |
//! | [`sweep`] | removals by rules |
//! | [`deletions`] | single channels removed, and the correlations with their loss proxies |
//! | [`training`] | checkpoints of one model |
//! | [`names`] | metrics, rankings and rules by name |

pub mod deletions;
pub mod names;
pub mod scan;
pub mod scores;
pub mod surroundings;
pub mod sweep;
pub mod training;

use crate::terms::{Cell, Message, ModelRef};

/// The measurement of a row. Its columns are in every table that several calls may write into, to distinguish rows of
/// different measurements. A value that the report lacks is `None`, and its cell is empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement<'a> {
    pub model: &'a ModelRef,
    /// The [kind of the device](crate::terms::BackendInfo::kind).
    pub backend: Option<&'a str>,
    /// Requested number of sequences for scoring.
    pub sequences: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// [Convention](crate::terms::Evaluation::convention) of the text that the loss was measured on.
    pub text: &'a Message,
    /// First 16 hex digits of that text's SHA-256.
    pub text_digest: Option<&'a str>,
}

impl Measurement<'_> {
    /// The cells of `sequences`, `length`, `text` and `text_digest`, which are adjacent in every table.
    fn texts(&self) -> [Cell; 4] {
        [self.sequences.into(), self.length.into(), self.text.id().into(), self.text_digest.into()]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::terms::{Calibration, Evaluation};

    pub(crate) fn model() -> ModelRef {
        ModelRef::new("m", "0011223344556677")
    }

    pub(crate) fn calibration() -> Calibration {
        Calibration {
            convention: "c".into(),
            text_digest: "00112233445566aa".into(),
            length: 512,
            n_sequences: 1,
            n_requested: 64,
            n_tokens: 512,
            loss_nats: 3.5,
        }
    }

    pub(crate) fn evaluation(loss_nats: f32) -> Evaluation {
        Evaluation { loss_nats, perplexity: loss_nats.exp(), stopword_mass: 0.0, n_tokens: 9, convention: "h, \"t\"".into() }
    }
}
