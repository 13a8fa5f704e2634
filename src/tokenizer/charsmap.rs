//! Checks of a `precompiled_charsmap`, SentencePiece's table of replacements.
//!
//! It is `[u32 length of the trie, trie of u32, texts that end with \0]`, all little-endian. A unit of the trie holds a
//! label, an offset that leads to its children by XOR, and whether a value (the place of a text) follows. The crate that
//! reads it follows every offset without a look at the trie's length.

use super::TokenizerError;
use super::refused::{MAX_INSERTED_BYTES, Part};

/// The least bytes of a table: its length, and one unit.
const MIN_BYTES: usize = 8;

/// Checks that no text leads out of the table. Returns the most bytes of one replacement.
///
/// # Errors
///
/// [`TokenizerError::Part`].
pub(super) fn check(charsmap: &[u8]) -> Result<usize, TokenizerError> {
    let refused = |why: &str| Part::Normalizer.refused(format!("its precompiled_charsmap {why}"));
    if charsmap.len() < MIN_BYTES {
        return Err(refused("is too short"));
    }
    let number = |at: usize| u32::from_le_bytes([charsmap[at], charsmap[at + 1], charsmap[at + 2], charsmap[at + 3]]);
    let n_bytes = number(0) as usize;
    if !n_bytes.is_multiple_of(4) || n_bytes == 0 || n_bytes > charsmap.len() - 4 {
        return Err(refused("has a trie of another length than it says"));
    }
    let texts = std::str::from_utf8(&charsmap[4 + n_bytes..]).map_err(|_| refused("has texts that are not UTF-8"))?;
    let longest = texts.split('\0').map(str::len).max().unwrap_or(0);
    if longest > MAX_INSERTED_BYTES {
        return Err(refused("has a text that is too long"));
    }
    let units = (0..n_bytes / 4).map(|unit| number(4 + 4 * unit)).collect::<Vec<_>>();
    if leaves(&units).is_none_or(|places| places.iter().any(|place| !texts.is_char_boundary(*place))) {
        return Err(refused("leads out of its own tables"));
    }
    Ok(longest)
}

/// The values of all leaves that a text can reach; `None` if a text leads out of the trie.
fn leaves(units: &[u32]) -> Option<Vec<usize>> {
    let root = offset(units[0]);
    let (mut todo, mut places) = (vec![root], Vec::new());
    let mut is_seen = vec![false; units.len()];
    while let Some(node) = todo.pop() {
        // A node is where its children's labels are added, which may be a place that holds no unit.
        if let Some(seen) = is_seen.get_mut(node)
            && std::mem::replace(seen, true)
        {
            continue;
        }
        for byte in 1..=u8::MAX {
            let unit = *units.get(node ^ usize::from(byte))?;
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                continue;
            }
            let child = node ^ usize::from(byte) ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                places.push((*units.get(child)? & !(1 << 31)) as usize);
            }
            // Without a unit of its own it could be visited for ever.
            units.get(child)?;
            todo.push(child);
        }
    }
    Some(places)
}

/// From a unit to its children, by XOR.
fn offset(unit: u32) -> usize {
    (unit as usize >> 10) << ((unit & 1 << 9) >> 6)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tokenizer::tests::Draws;

    /// A table that makes `a` an `A`.
    pub fn a_to_upper() -> Vec<u8> {
        let mut units = vec![0_u32; 512];
        // The root's children are at 256 ^ byte; that of `a` leads back to 256, where the value 0 is.
        units[0] = 256 << 10;
        let a = 256 ^ usize::from(b'a');
        units[a] = u32::from(b'a') | 1 << 8 | (a as u32 ^ 256) << 10;
        units[256] = 1 << 31;
        let trie = units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>();
        [&(trie.len() as u32).to_le_bytes()[..], &trie, b"A\0"].concat()
    }

    #[test]
    fn table_is_taken_and_one_that_leads_outside_is_refused() {
        let good = a_to_upper();
        assert_eq!(check(&good).unwrap(), 1);
        assert_eq!(tokenizers::normalizers::Precompiled::from(&good).unwrap().transform("a"), Some("A"));
        let broken = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            check(&bytes).unwrap_err().to_string()
        };
        for (what, why) in [
            (broken(&|bytes| bytes.truncate(7)), "too short"),
            (broken(&|bytes| bytes[3] = 0xff), "another length"),
            (broken(&|bytes| bytes[0] = 1), "another length"),
            (broken(&|bytes| bytes[6] = 0xff), "leads out"),
            (broken(&|bytes| bytes.extend([0xff, 0xfe])), "not UTF-8"),
            (broken(&|bytes| bytes.extend(vec![b'x'; 300])), "too long"),
            // The leaf's value is behind the texts.
            (broken(&|bytes| bytes[4 + 256 * 4] = 9), "leads out"),
        ] {
            assert!(what.contains(why), "{what} for {why}");
        }
    }

    #[test]
    fn no_table_makes_its_reader_panic_once_it_is_checked() {
        let good = a_to_upper();
        let (mut draws, mut n_taken) = (Draws::of(7), 0);
        for _ in 0..400 {
            let mut bytes = good.clone();
            for _ in 0..=draws.below(3) {
                let at = draws.below(bytes.len());
                bytes[at] = draws.below(256) as u8;
            }
            let Ok(_) = check(&bytes) else { continue };
            n_taken += 1;
            let table = tokenizers::normalizers::Precompiled::from(&bytes).unwrap();
            for text in ["a", "aé日", "\u{1}\u{7f}", "🚣ab"] {
                table.normalize_string(text);
            }
        }
        assert!(n_taken > 20, "{n_taken}");
    }
}
