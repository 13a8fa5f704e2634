//! A removal of channels inside a link: the rule, the text that the channels were scored on, and a digest of the
//! picked channels.

use serde::{Deserialize, Serialize};

use super::{ShareError, narrow};
use crate::terms::{
    LimitError, MAX_INDEX, MAX_SEED, MAX_SEQUENCES, Pick, Pruned, Pruning, Ranking, Replacement, Selection, ShareOf, Sizes,
};
use crate::words::is_lower_hex;

/// The facts in addition to [`Pruning`] that decide and identify the removed channels: enough to score them in the
/// same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedSelection {
    /// Number of scored sequences, which may be fewer than requested.
    pub sequences: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// [`crate::terms::Calibration::text_digest`].
    pub text_digest: String,
    /// [`crate::terms::selection_digest`] of the removed channels.
    pub digest: String,
}

impl From<&Pruned> for LinkedSelection {
    fn from(pruned: &Pruned) -> Self {
        let calibration = &pruned.calibration;
        Self {
            sequences: calibration.n_sequences,
            length: calibration.length,
            text_digest: calibration.text_digest.clone(),
            digest: pruned.digest.clone(),
        }
    }
}

/// The JSON of a pruning. Shares are text, because a JSON parser may miss the last bit of a number, and so a channel.
#[derive(Serialize, Deserialize)]
pub(super) struct WirePruning {
    /// The pick (core, halo, matched, random, lowest or highest, "u"), its ranking, its share.
    k: char,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<String>,
    /// ρ, η, support, layer, seed.
    r: String,
    e: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    w: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l: Option<u64>,
    s: u64,
    /// The value that replaces a channel.
    p: char,
    /// Sequences, their length, digest of the text.
    n: u64,
    t: u64,
    x: String,
    /// Digest of the selection.
    d: String,
}

/// The letters of the rankings.
const RANKINGS: [(char, Ranking); 9] = [
    ('l', Ranking::LossProxy),
    ('p', Ranking::Protected),
    ('c', Ranking::Connected),
    ('r', Ranking::Random),
    ('m', Ranking::Magnitude),
    ('a', Ranking::ActivationPower),
    ('w', Ranking::Wanda),
    ('t', Ranking::Taylor),
    ('f', Ranking::Fluctuation),
];
const REPLACEMENTS: [(char, Replacement); 2] = [('z', Replacement::Zero), ('m', Replacement::Mean)];

/// A value's letter. Every value has one; a test writes and reads them all.
pub(super) fn letter<T: PartialEq>(letters: &[(char, T)], value: T) -> char {
    letters.iter().find(|(_, known)| *known == value).map_or('?', |(letter, _)| *letter)
}

pub(super) fn by_letter<T: Copy>(letters: &[(char, T)], letter: char) -> Result<T, ShareError> {
    letters.iter().find(|(known, _)| *known == letter).map(|(_, value)| *value).ok_or(ShareError::Damaged)
}

impl WirePruning {
    pub(super) fn new(pruning: &Pruning, selection: &LinkedSelection) -> Self {
        let Selection { pick, rho, eta, support, layer, seed } = pruning.selection;
        let (k, ranked) = match pick {
            Pick::Core => ('c', None),
            Pick::Halo => ('h', None),
            Pick::Matched => ('m', None),
            Pick::Random => ('r', None),
            Pick::Lowest { by, share } => ('l', Some((by, share))),
            Pick::Highest { by, share } => ('u', Some((by, share))),
        };
        Self {
            k,
            b: ranked.map(|(by, _)| letter(&RANKINGS, by)),
            q: ranked.map(|(_, share)| format!("{share:?}")),
            r: format!("{rho:?}"),
            e: format!("{eta:?}"),
            w: support.map(|support| support as u64),
            l: layer.map(|layer| layer as u64),
            s: seed,
            p: letter(&REPLACEMENTS, pruning.replacement),
            n: selection.sequences as u64,
            t: selection.length as u64,
            x: selection.text_digest.clone(),
            d: selection.digest.clone(),
        }
    }

    /// Checks every rule about the content of a pruning: the engine's rules, and bounds on what a page can handle. No
    /// number is clamped, because another number would pick other channels.
    pub(super) fn read(self) -> Result<(Pruning, LinkedSelection), ShareError> {
        if self.s > MAX_SEED {
            return Err(ShareError::Seed);
        }
        if ![&self.x, &self.d].iter().all(|digest| is_lower_hex(digest, 16)) {
            return Err(ShareError::SelectionDigest);
        }
        if let Some(found) = self.w.filter(|support| *support >= MAX_INDEX as u64) {
            return Err(ShareError::Support { found });
        }
        let selection = Selection {
            pick: self.pick()?,
            rho: number(&self.r)?,
            eta: number(&self.e)?,
            support: self.w.map(narrow),
            layer: self.l.map(narrow),
            seed: self.s,
        };
        Sizes::LARGEST.check_selection(&selection).map_err(|error| self.refused(error))?;
        let replacement = by_letter(&REPLACEMENTS, self.p)?;
        let linked = LinkedSelection {
            sequences: count("sequences", self.n, 1, MAX_SEQUENCES)?,
            length: count("tokens to a sequence", self.t, 2, MAX_INDEX)?,
            text_digest: self.x,
            digest: self.d,
        };
        Ok((Pruning { selection, replacement }, linked))
    }

    fn pick(&self) -> Result<Pick, ShareError> {
        let ranked = || {
            let (by, q) = self.b.zip(self.q.as_ref()).ok_or(ShareError::Damaged)?;
            Ok::<_, ShareError>((by_letter(&RANKINGS, by)?, number(q)?))
        };
        Ok(match self.k {
            'c' => Pick::Core,
            'h' => Pick::Halo,
            'm' => Pick::Matched,
            'r' => Pick::Random,
            'l' => ranked().map(|(by, share)| Pick::Lowest { by, share })?,
            'u' => ranked().map(|(by, share)| Pick::Highest { by, share })?,
            _ => return Err(ShareError::Damaged),
        })
    }

    /// Names a refused share in the link's notation.
    fn refused(&self, error: LimitError) -> ShareError {
        let LimitError::Share { what: of, .. } = error else { return error.into() };
        let (what, text) = match of {
            ShareOf::Core => ("the core", &self.r[..]),
            ShareOf::Halo => ("the halo", &self.e[..]),
            ShareOf::Removed => ("the share to remove", self.q.as_deref().unwrap_or_default()),
        };
        ShareError::Share { what, found: text.chars().take(24).collect(), expected: of.expected() }
    }
}

fn number(text: &str) -> Result<f64, ShareError> {
    text.parse().map_err(|_| ShareError::Damaged)
}

fn count(what: &'static str, found: u64, least: usize, most: usize) -> Result<usize, ShareError> {
    match usize::try_from(found) {
        Ok(count) if (least..=most).contains(&count) => Ok(count),
        _ => Err(ShareError::Count { what, found, least, most }),
    }
}

#[cfg(test)]
#[path = "pruned_tests.rs"]
mod tests;
