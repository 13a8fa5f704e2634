//! Places where a text may be cut so that its pieces, encoded one by one, give exactly the ids of the whole.
//!
//! A tokenizer looks for added tokens, normalises what is between them, cuts that into words, and reads every word by
//! itself. A cut changes no id if all of these hold, and each is checked for every cut:
//!
//! 1. It is between two letters with one space, which belongs to the second piece, or with one line end, which belongs to
//!    the first.
//! 2. No added token reaches over it or touches it or its white space, in the text as it is or normalised.
//! 3. In a window of [`WINDOW`] bytes on both sides, the words of the window are the words of its halves, and the first half
//!    has a white space, behind which a word begins whatever is before it. Every part of the tokenizer has to be of a kind
//!    that finds the same words behind such a place (`is_local` of the normaliser and of the pre-tokenizer): none matches
//!    white space between other characters, and none looks further than one character beyond its match. A tokenizer
//!    with another part is given whole texts.
//! 4. If the tokenizer has no words (SentencePiece's BPE), the normalised characters on both sides of the cut are tokens,
//!    and no token of the vocabulary has both in this order next to each other: no merge can reach over it.

use tokenizers::pre_tokenizer::OffsetType;
use tokenizers::{NormalizedString, Normalizer as _, OffsetReferential, PreTokenizedString, PreTokenizer as _};

use super::built::Built;
use super::model::MergedPairs;
use super::normalizer::Normalizer;
use super::pre_tokenizer::PreTokenizer;
use super::{TokenizerError, refused::Part};

/// Bytes of a piece: the first cut after as many is taken. A tokenizer needs about 150 bytes of memory for one of them.
pub(super) const PIECE: usize = 64 << 10;
/// Bytes on each side of a cut that are compared.
const WINDOW: usize = 1024;

/// The places where texts may be cut, as rules.
#[derive(Debug)]
pub(super) struct Cuts {
    /// `false` if a text is never cut.
    is_possible: bool,
    /// The added tokens, as they are looked for in the text and in the normalised text.
    added: [Vec<String>; 2],
    longest_added: usize,
    pairs: Option<MergedPairs>,
}

impl Cuts {
    /// Prepares cuts for a tokenizer. `pairs` if it has no words.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`] if an added token cannot be normalised.
    pub fn new(built: &Built, is_possible: bool, pairs: Option<MergedPairs>) -> Result<Self, TokenizerError> {
        let mut added = [Vec::new(), Vec::new()];
        for token in built.get_added_tokens_decoder().into_values() {
            if token.normalized {
                let normalized = normalized(built.get_normalizer(), &token.content, false);
                added[1].push(normalized.map_err(|error| Part::AddedTokens.refused(error.to_string()))?.get().to_owned());
                added[1].push(token.content);
            } else {
                added[0].push(token.content);
            }
        }
        let longest_added = added.iter().flatten().map(String::len).max().unwrap_or(0);
        Ok(Self { is_possible, added, longest_added, pairs })
    }

    /// The first place after `from` where a text may be cut; its end if there is none.
    pub fn next(&self, built: &Built, text: &str, from: usize) -> usize {
        let from = text.ceil_char_boundary(from.min(text.len()));
        if !self.is_possible {
            return text.len();
        }
        candidates(text, from).find(|at| self.is_cut(built, text, *at)).unwrap_or(text.len())
    }

    fn is_cut(&self, built: &Built, text: &str, at: usize) -> bool {
        let reach = WINDOW.max(self.longest_added + 1);
        let (start, end) = (text.ceil_char_boundary(at.saturating_sub(reach)), text.floor_char_boundary((at + reach).min(text.len())));
        let (before, after) = (&text[start..at], &text[at..end]);
        let is_first = start == 0;
        if !is_first && !before.trim_end().contains(char::is_whitespace) {
            return false;
        }
        if touches(&self.added[0], before, after) {
            return false;
        }
        // The window may begin within a text, where nothing is put before it.
        let normalizer = built.get_normalizer();
        let of = |part: &str| normalized(normalizer, part, true);
        let (Ok(whole), Ok(first), Ok(second)) = (of(&text[start..end]), of(before), of(after)) else { return false };
        if whole.get().strip_prefix(first.get()) != Some(second.get()) || touches(&self.added[1], first.get(), second.get()) {
            return false;
        }
        match (&self.pairs, built.get_pre_tokenizer()) {
            (Some(pairs), None) => match (first.get().chars().next_back(), second.get().chars().next()) {
                (Some(before), Some(after)) => pairs.never_merges(before, after),
                _ => false,
            },
            (None, Some(pre_tokenizer)) => {
                let words = |part| words(pre_tokenizer, part);
                let (Some(whole), Some(first), Some(second)) = (words(whole), words(first), words(second)) else { return false };
                whole.len() == first.len() + second.len() && whole.starts_with(&first) && whole.ends_with(&second)
            }
            _ => false,
        }
    }
}

/// Places between two letters with one space or one line end.
fn candidates(text: &str, from: usize) -> impl Iterator<Item = usize> {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
    text[from..].match_indices([' ', '\n']).filter_map(move |(at, space)| {
        let at = from + at;
        let around = is_letter(text[..at].chars().next_back())
            || space == "\n" && text[..at].chars().next_back().is_some_and(|c| !c.is_whitespace());
        let is_candidate = around && is_letter(text[at + 1..].chars().next());
        is_candidate.then_some(if space == " " { at } else { at + 1 })
    })
}

/// `true` if one of the tokens reaches over the place between two texts, or touches it or the white space there, which a
/// token may take.
fn touches(tokens: &[String], before: &str, after: &str) -> bool {
    let whole = [before, after].concat();
    let places = [before.trim_end().len(), before.len(), whole.len() - after.trim_start().len()];
    tokens.iter().filter(|token| !token.is_empty()).any(|token| {
        places.iter().any(|place| {
            let (before, after) = whole.split_at(*place);
            // Every place within the token, and both of its ends.
            let mut within = token.char_indices().map(|(at, _)| at).chain([token.len()]);
            within.any(|at| before.ends_with(&token[..at]) && after.starts_with(&token[at..]))
        })
    })
}

fn normalized(normalizer: Option<&Normalizer>, text: &str, continues: bool) -> tokenizers::Result<NormalizedString> {
    let mut normalized = NormalizedString::from(text);
    if let Some(normalizer) = normalizer {
        normalizer.continue_text(continues);
        let done = normalizer.normalize(&mut normalized);
        normalizer.continue_text(false);
        // The error is not one of the text that is encoded.
        normalizer.failure();
        done?;
    }
    Ok(normalized)
}

/// The words of a normalised text without added tokens.
fn words(pre_tokenizer: &PreTokenizer, text: NormalizedString) -> Option<Vec<String>> {
    let mut words = PreTokenizedString::from(text);
    pre_tokenizer.pre_tokenize(&mut words).ok()?;
    let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
    Some(splits.into_iter().map(|(word, ..)| word.to_owned()).collect())
}
