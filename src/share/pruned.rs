//! A removal of channels inside a link: the rule, over what the channels were scored, and what the rule picked there.

use serde::Serialize;

use super::{MAX_INDEX, MAX_SEED, ShareError, index};
use crate::terms::{Pick, Pruned, Pruning, Ranking, Replacement, Selection, structures};
use crate::words::is_lower_hex;

/// The most sequences that the engine scores.
pub const MAX_SEQUENCES: usize = 100_000;

/// What, besides the rule of [`Pruning`], decides and tells which channels went: enough to score them in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedSelection {
    /// As many as were scored, which may be fewer than were asked for.
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

/// The JSON of a pruning. Shares are text: a reader of JSON may miss the last bit of a number, and with it a channel.
#[derive(Serialize)]
pub(super) struct WirePruning {
    /// The pick (core, halo, matched, random, lowest or highest, "u"), what it ranks by, its share.
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
    /// What stands in place of a channel.
    p: char,
    /// Sequences, their length, digest of the text.
    n: u64,
    t: u64,
    x: String,
    /// Digest of the selection.
    d: String,
}

structures! { WirePruning { k, b, q, r, e, w, l, s, p, n, t, x, d } }

/// The letters of rankings and replacements.
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

/// A value's letter. Every value has one: a test writes and reads them all.
fn letter<T: PartialEq>(letters: &[(char, T)], value: T) -> char {
    letters.iter().find(|(_, known)| *known == value).map_or('?', |(letter, _)| *letter)
}

fn by_letter<T: Copy>(letters: &[(char, T)], letter: char) -> Result<T, ShareError> {
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

    /// Every rule about the content of a pruning: those of the engine, and nothing that a page could choke on. Nothing is
    /// clamped, since another number would pick other channels.
    pub(super) fn read(self) -> Result<(Pruning, LinkedSelection), ShareError> {
        if self.s > MAX_SEED {
            return Err(ShareError::Seed);
        }
        if ![&self.x, &self.d].iter().all(|digest| is_lower_hex(digest, 16)) {
            return Err(ShareError::SelectionDigest);
        }
        let selection = Selection {
            pick: self.pick()?,
            rho: share("the core", &self.r, "more than 0 and less than 1", |rho| rho > 0.0 && rho < 1.0)?,
            eta: share("the halo", &self.e, "more than 0 and at most 1", |eta| eta > 0.0 && eta <= 1.0)?,
            support: self.w.map(support).transpose()?,
            layer: self.l.map(|l| index("layer", l)).transpose()?,
            seed: self.s,
        };
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
            Ok((by_letter(&RANKINGS, by)?, share("the share to remove", q, "0 to 1", |share| (0.0..=1.0).contains(&share))?))
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
}

fn share(what: &'static str, text: &str, expected: &'static str, fits: impl Fn(f64) -> bool) -> Result<f64, ShareError> {
    let number = text.parse::<f64>().map_err(|_| ShareError::Damaged)?;
    if fits(number) { Ok(number) } else { Err(ShareError::Share { what, found: text.chars().take(24).collect(), expected }) }
}

fn support(found: u64) -> Result<usize, ShareError> {
    match usize::try_from(found) {
        Ok(support) if (1..MAX_INDEX).contains(&support) => Ok(support),
        _ => Err(ShareError::Support { found }),
    }
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
