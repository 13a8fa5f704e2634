//! Arguments about channels: their scoring, ranking and replacement.

use clap::ValueEnum;

use super::ranges;
use crate::protocol::Request;
use crate::tables::Measurement;
use crate::terms::{CalibrationText, Count, Message, ModelInfo, Pick, Ranking, Replacement, Selection, ShareOf, WeightCoord};

/// Sizes of core and halo, and the layer.
#[derive(Debug, Clone, clap::Args)]
pub struct AroundArgs {
    /// Use only this layer.
    #[arg(long)]
    pub layer: Option<usize>,
    /// The core: a share of a layer's channels.
    #[arg(long, allow_negative_numbers = true, default_value_t = 0.01, value_parser = ranges::share(ShareOf::Core))]
    pub rho: f64,
    /// The halo: a share of the channels outside the core.
    #[arg(long, allow_negative_numbers = true, default_value_t = 0.1, value_parser = ranges::share(ShareOf::Halo))]
    pub eta: f64,
    /// Number of residual channels in the core's write support; by default, a sixteenth of them.
    #[arg(long)]
    pub support: Option<usize>,
}

impl AroundArgs {
    pub fn selection(&self, pick: Pick, seed: u64) -> Selection {
        let Self { layer, rho, eta, support } = *self;
        Selection { pick, rho, eta, support, layer, seed }
    }
}

/// The amount of text that channels are scored over.
#[derive(Debug, Clone, clap::Args)]
pub struct ScoringArgs {
    /// Sequences of the calibration text that channels are scored over; fewer if the text is short.
    #[arg(long, allow_negative_numbers = true, default_value_t = 64, value_parser = ranges::count(Count::Sequences))]
    pub sequences: usize,
    /// Tokens of a sequence, limited by the model's context.
    #[arg(long, allow_negative_numbers = true, default_value_t = 512, value_parser = ranges::count(Count::Length))]
    pub length: usize,
}

impl ScoringArgs {
    /// Requests scores over `text`, or, if it is `None`, over the bundled text.
    pub fn request(&self, text: Option<CalibrationText>) -> Request {
        self.ranking(text, Vec::new())
    }

    /// The same, with the ranks of these super weights' channels.
    pub fn ranking(&self, text: Option<CalibrationText>, super_weights: Vec<WeightCoord>) -> Request {
        Request::Score { text, sequences: self.sequences, length: self.length, super_weights, resume: false }
    }

    /// The measurement of a table's rows. `text` is the convention and digest of the text that the loss is measured
    /// on.
    pub fn measurement<'a>(&self, info: &'a ModelInfo, text: &'a Message, digest: &'a str) -> Measurement<'a> {
        let Self { sequences, length } = *self;
        Measurement { model: &info.model, backend: Some(&info.backend.kind), sequences, length, text, text_digest: Some(digest) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodArg {
    /// Loss proxy; the supernodes are kept.
    Lp,
    /// Loss proxy, with redundant channels of the halo removed first.
    ScarProt,
    /// Loss proxy, with redundant channels of the halo removed first, weighted by their connection to the core.
    ScarConn,
    Random,
    /// Weight norms.
    Magnitude,
    /// Activation power.
    Activation,
    /// Magnitudes of weights times the norms of their inputs.
    Wanda,
    /// Mean |activation times gradient|.
    Taylor,
    /// Variance of the activation times the squared norm of the down column.
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
    /// The channel's mean over the calibration text.
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

    /// A value in typed form.
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
