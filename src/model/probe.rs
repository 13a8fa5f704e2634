//! Reads and edits a forward pass.
//!
//! A [`Probe`] is passed to [`super::Model::forward`] and visited at every [`Site`]. At each visit, in this order:
//!
//! 1. interventions change the activation,
//! 2. a zero leaf is added if gradients are wanted, or a tap if only their channel sums are,
//! 3. captures read it, so that a capture shows the same value as the rest of the model reads.
//!
//! Before these visits, the largest value of a channel of a layer's `down_proj` output may be edited ([`PeakEdit`]).
//!
//! An empty probe returns its input unchanged: the logits are bit-identical to those without a probe.

use burn::tensor::{Int, Tensor};

use crate::tensors;
use crate::terms::{Action, Intervention, Site};

/// The part of an activation that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All of it, `[seq, width]`.
    Everything,
    /// Per token, the value of largest magnitude and its channel.
    Peaks,
    /// Sums over tokens, `[1, width]`.
    Sums,
}

/// One kept activation, still on the device.
#[derive(Debug, Clone)]
pub struct Captured {
    pub site: Site,
    pub layer: usize,
    pub kept: Kept,
}

#[derive(Debug, Clone)]
pub enum Kept {
    Everything(Tensor<2>),
    /// Signed values and channels, each `[seq, 1]`.
    Peaks {
        values: Tensor<2>,
        channels: Tensor<2, Int>,
    },
    Sums(Tensor<2>),
}

/// A part of a layer that reads the residual stream, through its norm if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    Attention,
    Mlp,
}

/// A reduction of a part's input over tokens, channel by channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summary {
    /// `Σ x²`
    Squares,
    /// `max |x|`
    Magnitude,
}

/// A summary of one part's input, `[1, hidden_size]`.
#[derive(Debug, Clone)]
pub struct SeenInput {
    pub layer: usize,
    pub reader: Reader,
    pub summary: Tensor<2>,
}

/// An edit of the super activation: of the `down_proj` output on one residual channel, at the token where it is
/// largest. The token depends on the data and the whole sequence, so this works only without a cache.
///
/// With y the output of `down_proj`, u its input, and the products of the removed scalars added:
///
/// ```text
/// original[t] = y[t, row] + Σ w u[t, col]        t* = the first t of largest |original[t]|
/// ```
#[derive(Debug, Clone)]
pub struct PeakEdit {
    pub layer: usize,
    pub row: usize,
    /// Scalars of this row that are zero in the model, each with its column and its former value, `[1, 1]`.
    pub removed: Vec<(usize, Tensor<2>)>,
    pub action: PeakAction,
}

/// The change at t*.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PeakAction {
    /// `y[t*, row] = original[t*]`: "Prune SW, +SA" of the super-weight paper.
    Restore,
    /// `y[t*, row]` becomes this value.
    Set(f32),
    /// `original[t*]` is kept in [`Probe::peaks`]; nothing is changed.
    Read,
}

/// A reader and editor of a forward pass; see the module's documentation.
#[derive(Debug, Default)]
pub struct Probe<'a> {
    interventions: &'a [Intervention],
    at_peaks: &'a [PeakEdit],
    capture: Option<(&'a [Site], Keep)>,
    leaves_at: Option<Site>,
    taps_at: Option<Site>,
    keeps_first_key: bool,
    summarises: Option<(&'a [Reader], Summary)>,
    /// Position of the current chunk's first token in the whole sequence; `forward` sets it.
    start: usize,
    pub captured: Vec<Captured>,
    /// Zero leaves `e` added at the wanted site, by layer: `e.grad(&grads)` is the gradient of the activation there.
    pub leaves: Vec<(usize, Tensor<2>)>,
    /// Leaves by layer whose gradients are the channel sums at the tapped site, `[6, width]`.
    pub sinks: Vec<(usize, Tensor<2>)>,
    /// Summaries of the requested parts' inputs, layer by layer.
    pub inputs: Vec<SeenInput>,
    /// Attention of each head on the first position, `[heads]`, by layer.
    pub on_first_key: Vec<(usize, Tensor<1>)>,
    /// Values read by [`PeakAction::Read`], `[1, 1]` each, in the order of the pass.
    pub peaks: Vec<Tensor<2>>,
}

impl<'a> Probe<'a> {
    /// A probe that does nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    pub fn with_interventions(interventions: &'a [Intervention]) -> Self {
        Self { interventions, ..Self::default() }
    }

    /// Applies these edits, each where its value is largest.
    #[must_use]
    pub fn at_peaks(mut self, edits: &'a [PeakEdit]) -> Self {
        self.at_peaks = edits;
        self
    }

    /// Keeps a part of each activation at these sites, in every layer.
    #[must_use]
    pub fn capturing(mut self, sites: &'a [Site], keep: Keep) -> Self {
        self.capture = Some((sites, keep));
        self
    }

    /// Adds a zero leaf at this site of every layer. Burn has no gradients of non-leaf tensors, so the gradient of
    /// the activation `u` is read as that of `e` in `u + e`.
    #[must_use]
    pub fn with_leaves(mut self, site: Site) -> Self {
        self.leaves_at = Some(site);
        self
    }

    /// Sums activations and their gradients over tokens at this site of every layer, within the backward pass
    /// ([`tensors::tap`]).
    #[must_use]
    pub fn with_taps(mut self, site: Site) -> Self {
        self.taps_at = Some(site);
        self
    }

    /// Summarises the inputs of these parts of every layer over tokens. A part's input is not a [`Site`], and cannot
    /// be edited.
    #[must_use]
    pub fn summarising(mut self, readers: &'a [Reader], summary: Summary) -> Self {
        self.summarises = Some((readers, summary));
        self
    }

    /// Keeps the attention of every head on the first position of the sequence: its mean over the queries of the
    /// pass, without the first query, which sees only itself. If a window no longer includes the first position, the
    /// attention is 0.
    #[must_use]
    pub fn with_first_key(mut self) -> Self {
        self.keeps_first_key = true;
        self
    }

    /// The first layer whose pass the probe changes or sees; beyond every layer if it does neither.
    pub(crate) fn first_layer(&self) -> usize {
        let sees_all = self.capture.is_some() || self.summarises.is_some() || self.keeps_first_key;
        if sees_all || self.leaves_at.is_some() || self.taps_at.is_some() {
            return 0;
        }
        let changed = self.interventions.iter().map(|at| at.layer).chain(self.at_peaks.iter().map(|edit| edit.layer));
        changed.min().unwrap_or(usize::MAX)
    }

    pub(super) fn start_chunk(&mut self, start: usize) {
        self.start = start;
    }

    /// Visits a site, for all edits and captures. `x` is `[seq, width]`.
    pub(super) fn visit(&mut self, layer: usize, site: Site, x: Tensor<2>) -> Tensor<2> {
        let x = self.intervene(layer, site, x);
        let x = self.add_leaf(layer, site, x);
        let x = self.tap(layer, site, x);
        self.capture(layer, site, &x);
        x
    }

    /// Sees `x`, `[seq, hidden_size]`, the input of a part of a layer.
    pub(super) fn see_input(&mut self, layer: usize, reader: Reader, x: &Tensor<2>) {
        let Some((_, summary)) = self.summarises.filter(|(readers, _)| readers.contains(&reader)) else { return };
        let x = x.clone().without_autodiff();
        let summary = match summary {
            Summary::Squares => (x.clone() * x).sum_dim(0),
            Summary::Magnitude => x.abs().max_dim(0),
        };
        self.inputs.push(SeenInput { layer, reader, summary });
    }

    /// Sees `weights`, `[heads, seq, total]`, the weights of the values in the attention.
    pub(super) fn see_attention(&mut self, layer: usize, weights: Tensor<3>) {
        let [heads, seq, _] = weights.dims();
        let first = usize::from(self.start == 0);
        if self.keeps_first_key && seq > first {
            let on_first = weights.slice([0..heads, first..seq, 0..1]).mean_dim(1);
            self.on_first_key.push((layer, on_first.reshape([heads])));
        }
    }

    /// Edits `y`, `[seq, hidden_size]`, the output of `down_proj`, with the help of `u`, `[seq, intermediate_size]`,
    /// its input.
    pub(super) fn edit_peaks(&mut self, layer: usize, u: &Tensor<2>, mut y: Tensor<2>) -> Tensor<2> {
        let [seq, _] = y.dims();
        for PeakEdit { row, removed, action, .. } in self.at_peaks.iter().filter(|edit| edit.layer == layer) {
            debug_assert_eq!(self.start, 0, "a peak is one of the whole sequence");
            let written = y.clone().slice([0..seq, *row..*row + 1]);
            let of = |col: usize, weight: &Tensor<2>| u.clone().slice([0..seq, col..col + 1]) * weight.clone();
            let original = removed.iter().fold(written.clone(), |sum, (col, weight)| sum + of(*col, weight));
            let (peak, token) = tensors::peaks(original.swap_dims(0, 1)); // [1, 1] each
            let new = match action {
                PeakAction::Restore => peak,
                PeakAction::Set(value) => Tensor::full([1, 1], *value, &y.device()),
                PeakAction::Read => {
                    // All are read together.
                    let device = self.peaks.first().map_or_else(|| peak.device(), Tensor::device);
                    self.peaks.push(tensors::moved_to(peak, &device));
                    continue;
                }
            };
            let tokens = Tensor::<1, Int>::arange(0..i64::try_from(seq).unwrap_or(i64::MAX), &y.device()).reshape([seq, 1]);
            let is_peak = tokens.equal(token.expand([seq, 1]));
            y = y.slice_assign([0..seq, *row..*row + 1], written.mask_where(is_peak, new.expand([seq, 1])));
        }
        y
    }

    fn intervene(&self, layer: usize, site: Site, mut x: Tensor<2>) -> Tensor<2> {
        let [seq, width] = x.dims();
        for at in self.interventions.iter().filter(|i| i.site == site && i.layer == layer && i.channel < width) {
            let Some(token) = at.token.checked_sub(self.start).filter(|token| *token < seq) else { continue };
            let range = [token..token + 1, at.channel..at.channel + 1];
            let old = x.clone().slice(range.clone());
            let new = match at.action {
                Action::Scale(factor) => old * factor,
                Action::Set(value) => Tensor::full([1, 1], value, &x.device()),
            };
            x = x.slice_assign(range, new);
        }
        x
    }

    fn add_leaf(&mut self, layer: usize, site: Site, x: Tensor<2>) -> Tensor<2> {
        if self.leaves_at != Some(site) {
            return x;
        }
        let leaf = Tensor::zeros(x.dims(), &x.device()).autodiff().require_grad();
        self.leaves.push((layer, leaf.clone()));
        x + leaf
    }

    fn tap(&mut self, layer: usize, site: Site, x: Tensor<2>) -> Tensor<2> {
        if self.taps_at != Some(site) {
            return x;
        }
        let [_, width] = x.dims();
        let sink = Tensor::zeros([tensors::N_CHANNEL_SUMS, width], &x.device()).autodiff().require_grad();
        let x = tensors::tap(x, &sink);
        self.sinks.push((layer, sink));
        x
    }

    fn capture(&mut self, layer: usize, site: Site, x: &Tensor<2>) {
        let Some((sites, keep)) = self.capture else { return };
        if !sites.contains(&site) {
            return;
        }
        let kept = match keep {
            Keep::Everything => Kept::Everything(x.clone()),
            Keep::Peaks => {
                let (values, channels) = tensors::peaks(x.clone());
                Kept::Peaks { values, channels }
            }
            Keep::Sums => Kept::Sums(x.clone().sum_dim(0)),
        };
        self.captured.push(Captured { site, layer, kept });
    }
}
