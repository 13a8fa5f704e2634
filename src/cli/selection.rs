//! Arguments that say which channels are meant: how they are scored, ranked and replaced.

use clap::ValueEnum;

use crate::protocol::Request;
use crate::tables::Measurement;
use crate::terms::{CalibrationText, Message, ModelInfo, Pick, Ranking, Replacement, Selection};

/// Which channels are around which.
#[derive(Debug, Clone, clap::Args)]
pub struct AroundArgs {
    /// Only this layer.
    #[arg(long)]
    pub layer: Option<usize>,
    /// The core: a share of a layer's channels.
    #[arg(long, default_value_t = 0.01)]
    pub rho: f64,
    /// The halo: a share of the channels outside the core.
    #[arg(long, default_value_t = 0.1)]
    pub eta: f64,
    /// Residual channels that count as where the core writes; left out, a sixteenth of them.
    #[arg(long)]
    pub support: Option<usize>,
}

impl AroundArgs {
    pub fn selection(&self, pick: Pick, seed: u64) -> Selection {
        let Self { layer, rho, eta, support } = *self;
        Selection { pick, rho, eta, support, layer, seed }
    }
}

/// Over how much text channels are scored.
#[derive(Debug, Clone, clap::Args)]
pub struct ScoringArgs {
    /// Sequences of the calibration text that channels are scored over; fewer if it is short.
    #[arg(long, default_value_t = 64)]
    pub sequences: usize,
    /// Tokens of such a sequence, at most as many as the model's context holds.
    #[arg(long, default_value_t = 512)]
    pub length: usize,
}

impl ScoringArgs {
    /// Over the bundled text without one.
    pub fn request(&self, text: Option<CalibrationText>) -> Request {
        Request::Score { text, sequences: self.sequences, length: self.length, super_weights: Vec::new(), resume: false }
    }

    /// What the rows of a table are of. `text` is the convention and digest of the text that the loss is measured on.
    pub fn measurement<'a>(&self, info: &'a ModelInfo, text: &'a Message, digest: &'a str) -> Measurement<'a> {
        let Self { sequences, length } = *self;
        Measurement { model: &info.model, backend: Some(&info.backend.kind), sequences, length, text, text_digest: Some(digest) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodArg {
    /// Loss proxy, the supernodes kept.
    Lp,
    /// The same, redundant channels of the halo first.
    ScarProt,
    /// The same by how much a channel writes where the core does.
    ScarConn,
    Random,
    /// Weight norms.
    Magnitude,
    /// Activation power.
    Activation,
    /// Magnitudes of weights times the norms of what they are multiplied with.
    Wanda,
    /// Mean |activation times gradient|.
    Taylor,
    /// Variance of the activation times the squared norm of what it writes with.
    Flap,
}

impl From<MethodArg> for Ranking {
    fn from(method: MethodArg) -> Self {
        match method {
            MethodArg::Lp => Self::LossProxy,
            MethodArg::ScarProt => Self::Protected,
            MethodArg::ScarConn => Self::Connected,
            MethodArg::Random => Self::Random,
            MethodArg::Magnitude => Self::Magnitude,
            MethodArg::Activation => Self::ActivationPower,
            MethodArg::Wanda => Self::Wanda,
            MethodArg::Taylor => Self::Taylor,
            MethodArg::Flap => Self::Fluctuation,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplaceArg {
    Zero,
    /// Its mean over the calibration text.
    Mean,
}

impl From<ReplaceArg> for Replacement {
    fn from(replace: ReplaceArg) -> Self {
        match replace {
            ReplaceArg::Zero => Self::Zero,
            ReplaceArg::Mean => Self::Mean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::names::{ranking_id, replacement_id};

    /// A value as it is typed.
    fn typed(value: &impl ValueEnum) -> String {
        value.to_possible_value().unwrap().get_name().to_owned()
    }

    #[test]
    fn methods_and_replacements_are_named_in_tables_as_they_are_typed() {
        for method in MethodArg::value_variants() {
            assert_eq!(typed(method), ranking_id((*method).into()));
        }
        assert_eq!(MethodArg::value_variants().len(), Ranking::ALL.len());
        for replace in ReplaceArg::value_variants() {
            assert_eq!(typed(replace), replacement_id((*replace).into()));
        }
    }
}
