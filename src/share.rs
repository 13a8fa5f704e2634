//! Runs as links: `#run=1.<base64url of compact JSON>`, `#run=2.` if channels were removed, `#run=3.` if a scale is
//! below 0, `#run=4.` if an edit names an expert, and `#run=5.` if a BOS was added to every text.
//!
//! A link is untrusted. It therefore holds numbers and a prompt, never an address or a path; every number is clamped
//! or refused, sizes are checked before and after decoding, and reading a link starts nothing. Its claim can be
//! checked: it has the token ids of both panes, and their digest.

use serde::{Deserialize, Serialize};

pub mod earlier;
mod experiment;
mod fragment;
mod pruned;

pub use experiment::{ABSOLUTE, Compared, ExperimentLink, RELATIVE};
use fragment::{pack, pack_ids, unpack, unpack_ids};
pub use pruned::LinkedSelection;
use pruned::{WirePruning, by_letter, letter};

use crate::terms::{
    Ablation, Coordinate, Finish, LimitError, MAX_INDEX, MAX_SEED, ModelRef, Pane, Place, Pruned, RunRecord, RunSetup, SCALES, Sampling,
    SettingError, Sizes, Unit, WeightEdit, outcome_digest, read_json, shortest,
};
use crate::words::is_lower_hex;

/// The beginning of a fragment that holds a run.
pub const FRAGMENT_KEY: &str = "#run=";
/// The newest version of the JSON inside; an older page refuses a newer link instead of guessing. It is for links
/// with a BOS that was added, because an older page would recompute them without it.
pub const LINK_VERSION: u32 = 5;
/// The version of other links with an edit in an expert: a page without experts would edit another matrix.
const EXPERT_VERSION: u32 = 4;
/// The version of other links with a scale below 0: an older page would recompute them with a scale of 0.
const SIGNED_VERSION: u32 = 3;
/// The version of other links that remove channels: an older page would recompute them with all channels in place.
const PRUNED_VERSION: u32 = 2;
/// The version of every other link.
const PLAIN_VERSION: u32 = 1;
pub const MAX_ENCODED_BYTES: usize = 8 * 1024;
pub const MAX_PROMPT_CHARS: usize = 2000;
pub const MAX_EDITS: usize = 64;
pub const MAX_NEW_TOKENS: usize = 512;

/// A setup, and its output when it was shared.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareLink {
    pub setup: RunSetup,
    /// New token ids of the intact pane; `ablated` has those of the other pane.
    pub intact: Vec<u32>,
    pub ablated: Vec<u32>,
    /// [`outcome_digest`] of both panes' token ids.
    pub digest: String,
    /// The channels that the setup's pruning picked; present if and only if the setup has a pruning.
    pub selection: Option<LinkedSelection>,
}

/// The reason why a link was refused, or cannot be created. The text is for the visitor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ShareError {
    #[error("the address has no run")]
    NoRun,
    #[error("the link was made by version {found} of this page, which reads up to version {newest}: reload the page or ask for a new link")]
    Version { found: String, newest: u32 },
    #[error("the link has {found} characters; at most {MAX_ENCODED_BYTES} are accepted: use a shorter prompt or fewer new tokens")]
    TooLong { found: usize },
    #[error("the link is damaged: part of it is missing or was changed on the way")]
    Damaged,
    #[error("the link names the model {found:?}, but a model's name must have 1 to 64 lower-case letters, digits, dots and hyphens")]
    ModelId { found: String },
    #[error("the link has no valid revision of its model (16 hexadecimal digits)")]
    Revision,
    #[error("the prompt in the link has {found} characters; at most {MAX_PROMPT_CHARS} are accepted")]
    PromptTooLong { found: usize },
    #[error("the link has {found} edits; at most {MAX_EDITS} are accepted")]
    TooManyEdits { found: usize },
    #[error("the link names {what} {found}; the largest accepted number is {}", MAX_INDEX - 1)]
    Index { what: &'static str, found: u64 },
    #[error("the link scales a weight by {found}; {} to {} are accepted", SCALES.start(), SCALES.end())]
    Scale { found: String },
    #[error("{what} in the link is not a finite number")]
    NotFinite { what: &'static str },
    #[error("the link has {found} new tokens; at most {MAX_NEW_TOKENS} are accepted")]
    TooManyTokens { found: usize },
    #[error("the seed in the link is too large for a browser")]
    Seed,
    #[error("the digest in the link does not match its tokens: the link was changed on the way")]
    Digest,
    #[error("changes to activations cannot be put into a link, only changes to weights")]
    Interventions,
    #[error("the run does not name the text that its removed channels were scored on, so it cannot be recomputed: generate it again")]
    Pruning,
    #[error("the link is of a version that {}, and it {}: it was changed on the way", if *.removes { "knows of no removed channels" } else { "is for removed channels" }, if *.removes { "names some" } else { "names none" })]
    Misfit { removes: bool },
    #[error("{what} in the link is {found:?}, but a share of the channels is {expected}")]
    Share { what: &'static str, found: String, expected: &'static str },
    #[error("the link has a write support K of {found}; 1 to {MAX_INDEX} are accepted")]
    Support { found: u64 },
    #[error("the link has channels scored over {found} {what}; {least} to {most} are accepted")]
    Count { what: &'static str, found: u64, least: usize, most: usize },
    #[error("the link has no valid digest of the removed channels, or of the text that they were scored on (16 hexadecimal digits)")]
    SelectionDigest,
    #[error("a stopped run cannot be recomputed: let it finish")]
    Stopped,
    #[error("{0}")]
    Setting(String),
    #[error(transparent)]
    Bounds(#[from] SettingError),
}

/// The JSON inside a link. Names are short, because every byte is in the address bar.
#[derive(Serialize, Deserialize)]
struct Wire {
    /// Model, revision, and the BOS that was added.
    m: String,
    r: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    o: Option<u64>,
    /// Prompt.
    p: String,
    /// Edits.
    #[serde(default)]
    e: Vec<WireEdit>,
    /// Removed channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<WirePruning>,
    /// Temperature, top-k, top-p, seed, most new tokens.
    t: f64,
    k: u64,
    n: f64,
    s: u64,
    x: u64,
    /// Token ids of both panes, packed by [`pack_ids`].
    a: String,
    b: String,
    /// Digest.
    d: String,
}

/// An edit: its unit (scalar, row, column, channel, "h", or its mean, "m"), layer, expert ("o"), row, column or channel, scale.
#[derive(Serialize, Deserialize)]
struct WireEdit {
    u: char,
    l: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    o: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<u64>,
    x: f64,
}

impl ShareLink {
    /// Creates the link of a run.
    ///
    /// # Errors
    ///
    /// [`ShareError::Stopped`]: the visitor decided where the run stopped, so a recomputation would not stop there.
    /// [`ShareError::Pruning`]: channels were removed, and the run does not name them.
    pub fn from_run(run: &RunRecord) -> Result<Self, ShareError> {
        if [&run.intact, &run.ablated].iter().any(|pane| pane.finish == Finish::Stopped) {
            return Err(ShareError::Stopped);
        }
        let pruned = run.pruned.as_ref();
        if pruned.map(|pruned| pruned.pruning) != run.setup.ablation.pruning {
            return Err(ShareError::Pruning);
        }
        let (intact, ablated) = (run.intact.token_ids.clone(), run.ablated.token_ids.clone());
        let digest = outcome_digest(&intact, &ablated);
        Ok(Self { setup: run.setup.clone(), intact, ablated, digest, selection: pruned.map(LinkedSelection::from) })
    }

    /// Creates a link that names edits and has no outcome, so that nothing is claimed about their effect.
    ///
    /// # Errors
    ///
    /// [`ShareError::Pruning`]: channels are removed, and the selection is missing.
    pub fn of_edits(model: ModelRef, ablation: Ablation, pruned: Option<&Pruned>) -> Result<Self, ShareError> {
        if pruned.map(|pruned| pruned.pruning) != ablation.pruning {
            return Err(ShareError::Pruning);
        }
        let setup = RunSetup { model, prompt: Self::OPENING.into(), sampling: Sampling::default(), ablation };
        let (intact, ablated) = (Vec::new(), Vec::new());
        let digest = outcome_digest(&intact, &ablated);
        Ok(Self { setup, intact, ablated, digest, selection: pruned.map(LinkedSelection::from) })
    }

    /// The opening of a link without a run.
    const OPENING: &str = "It was a dark evening, and the old man";

    /// The fragment, with its `#`. [`ShareLink::decode`] reads it back.
    pub fn encode(&self) -> Result<String, ShareError> {
        if !self.setup.ablation.interventions.is_empty() {
            return Err(ShareError::Interventions);
        }
        let pruning = match (&self.setup.ablation.pruning, &self.selection) {
            (Some(pruning), Some(selection)) => Some(WirePruning::new(pruning, selection)),
            (None, None) => None,
            _ => return Err(ShareError::Pruning),
        };
        let RunSetup { model, prompt, sampling, ablation } = &self.setup;
        let version = match pruning {
            _ if model.added_bos.is_some() => LINK_VERSION,
            _ if ablation.weight_edits.iter().any(|edit| edit.target.place().expert.is_some()) => EXPERT_VERSION,
            _ if ablation.weight_edits.iter().any(|edit| edit.scale < 0.0) => SIGNED_VERSION,
            Some(_) => PRUNED_VERSION,
            None => PLAIN_VERSION,
        };
        let wire = Wire {
            m: model.id.clone(),
            r: model.revision.clone(),
            o: model.added_bos.map(u64::from),
            p: prompt.clone(),
            e: ablation.weight_edits.iter().map(WireEdit::from).collect(),
            c: pruning,
            t: shortest(sampling.temperature),
            k: sampling.top_k as u64,
            n: shortest(sampling.top_p),
            s: sampling.seed,
            x: sampling.max_new_tokens as u64,
            a: pack_ids(&self.intact),
            b: pack_ids(&self.ablated),
            d: self.digest.clone(),
        };
        let fragment = pack(FRAGMENT_KEY, version, &serde_json::to_string(&wire).map_err(|_| ShareError::Damaged)?)?;
        // The author of a link, not its reader, learns that it would be refused.
        read_wire(wire)?;
        Ok(fragment)
    }

    /// Reads the fragment of an address, with or without its `#`.
    pub fn decode(fragment: &str) -> Result<Self, ShareError> {
        let (version, json) = unpack(FRAGMENT_KEY, LINK_VERSION, fragment)?;
        let wire: Wire = read_json(&json).map_err(|_| ShareError::Damaged)?;
        let removes = wire.c.is_some();
        if version < SIGNED_VERSION && removes != (version == PRUNED_VERSION) {
            return Err(ShareError::Misfit { removes });
        }
        if version < EXPERT_VERSION && wire.e.iter().any(|edit| edit.o.is_some()) || (version == LINK_VERSION) != wire.o.is_some() {
            return Err(ShareError::Damaged);
        }
        read_wire(wire)
    }
}

/// Returns `true` if a link may use this name of a model; an id that could be read as an address or a path is
/// refused.
pub fn is_model_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
}

/// The nearest model id that a link accepts, for a folder that the visitor opened.
pub fn model_id_from(name: &str) -> String {
    let id: String = name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '-' })
        .take(64)
        .collect();
    let id = id.trim_matches(['-', '.']);
    if id.is_empty() { "my-model".into() } else { id.into() }
}

/// Checks every rule about the content of a link.
fn read_wire(wire: Wire) -> Result<ShareLink, ShareError> {
    let model = read_model(wire.m, wire.r, wire.o)?;
    let prompt_chars = wire.p.chars().count();
    if prompt_chars > MAX_PROMPT_CHARS {
        return Err(ShareError::PromptTooLong { found: prompt_chars });
    }
    if wire.e.len() > MAX_EDITS {
        return Err(ShareError::TooManyEdits { found: wire.e.len() });
    }
    if wire.s > MAX_SEED {
        return Err(ShareError::Seed);
    }
    let weight_edits = wire.e.into_iter().map(WeightEdit::try_from).collect::<Result<_, _>>()?;
    let (pruning, selection) = wire.c.map(WirePruning::read).transpose()?.unzip();
    let sampling = Sampling {
        temperature: clamp("the temperature", wire.t, 0.0, 5.0)?,
        top_k: wire.k.min(MAX_INDEX as u64) as usize,
        top_p: clamp("top-p", wire.n, 0.0, 1.0)?,
        seed: wire.s,
        max_new_tokens: wire.x.clamp(1, MAX_NEW_TOKENS as u64) as usize,
    };
    let (intact, ablated) = (unpack_ids(&wire.a)?, unpack_ids(&wire.b)?);
    if wire.d != outcome_digest(&intact, &ablated) {
        return Err(ShareError::Digest);
    }
    let setup = RunSetup { model, prompt: wire.p, sampling, ablation: Ablation { weight_edits, pruning, ..Ablation::default() } };
    Ok(ShareLink { setup, intact, ablated, digest: wire.d, selection })
}

fn read_model(id: String, revision: String, bos: Option<u64>) -> Result<ModelRef, ShareError> {
    if !is_model_id(&id) {
        return Err(ShareError::ModelId { found: id.chars().take(64).collect() });
    }
    if !is_lower_hex(&revision, 16) {
        return Err(ShareError::Revision);
    }
    if let Some(found) = bos.filter(|bos| *bos >= MAX_INDEX as u64) {
        return Err(ShareError::Index { what: "the BOS", found });
    }
    Ok(ModelRef { id, revision, added_bos: bos.map(|bos| bos as u32) })
}

/// The letters of the units.
const UNITS: [(char, Unit); 5] =
    [('s', Unit::Scalar), ('r', Unit::Row), ('c', Unit::Column), ('h', Unit::Channel), ('m', Unit::ChannelMean)];

impl From<&WeightEdit> for WireEdit {
    fn from(edit: &WeightEdit) -> Self {
        let Place { unit, layer, expert, row, col, .. } = edit.target.place();
        let wide = |n: Option<usize>| n.map(|n| n as u64);
        Self { u: letter(&UNITS, unit), l: layer as u64, o: expert, r: wide(row), c: wide(col), x: shortest(edit.scale) }
    }
}

impl TryFrom<WireEdit> for WeightEdit {
    type Error = ShareError;

    fn try_from(WireEdit { u, l, o, r, c, x }: WireEdit) -> Result<Self, ShareError> {
        let unit = by_letter(&UNITS, u)?;
        let numbers = unit.coordinates().iter().filter_map(|what| if *what == Coordinate::Row { r } else { c });
        let numbers = numbers.map(narrow).collect::<Vec<_>>();
        let target = unit.target(narrow(l), o, &numbers).ok_or(ShareError::Damaged)?;
        let edit = Self { target, scale: x as f32 };
        Sizes::LARGEST.check_edit(&edit)?;
        Ok(edit)
    }
}

impl From<LimitError> for ShareError {
    fn from(error: LimitError) -> Self {
        match error {
            LimitError::Outside { what, got, .. } => Self::Index { what: what.name(), found: got as u64 },
            LimitError::Scale { got } => Self::Scale { found: got.to_string() },
            LimitError::Support { got, .. } => Self::Support { found: got as u64 },
            other => Self::Setting(other.to_string()),
        }
    }
}

/// Saturates, because a number that does not fit exceeds every limit.
fn narrow(found: u64) -> usize {
    usize::try_from(found).unwrap_or(usize::MAX)
}

fn clamp(what: &'static str, value: f64, low: f32, high: f32) -> Result<f32, ShareError> {
    if !value.is_finite() {
        return Err(ShareError::NotFinite { what });
    }
    Ok((value as f32).clamp(low, high))
}

/// The result of recomputing a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recomputed {
    Same,
    /// The link has no tokens to compare with: it only names edits.
    NoClaim,
    /// The first new token that differs, counted from 0, in the first pane with a difference.
    Differs {
        pane: Pane,
        index: usize,
    },
}

impl ShareLink {
    /// Compares the token ids of a recomputation with those in the link.
    pub fn compare(&self, intact: &[u32], ablated: &[u32]) -> Recomputed {
        use crate::terms::first_difference;
        if self.intact.is_empty() && self.ablated.is_empty() && !(intact.is_empty() && ablated.is_empty()) {
            return Recomputed::NoClaim;
        }
        for (pane, then, now) in [(Pane::Intact, &self.intact[..], intact), (Pane::Ablated, &self.ablated[..], ablated)] {
            if let Some(index) = first_difference(then, now) {
                return Recomputed::Differs { pane, index };
            }
        }
        Recomputed::Same
    }
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
