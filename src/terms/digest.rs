//! Digests and positions by which two runs are compared.

/// First 16 hex digits of the SHA-256 over both panes' new token ids (little-endian `u32`, a separator between).
pub fn outcome_digest(intact: &[u32], ablated: &[u32]) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    for ids in [intact, &[u32::MAX], ablated] {
        for id in ids {
            hasher.update(id.to_le_bytes());
        }
    }
    hex(&hasher.finalize()[..8])
}

/// First 16 hex digits of the SHA-256 of a text.
pub fn text_digest(text: &str) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(text)[..8])
}

/// The revision of a model whose files of weights have these SHA-256 digests, in the order of the files' names: see
/// [`super::ModelRef`].
pub fn revision_of<'a>(digests: impl IntoIterator<Item = &'a str>) -> String {
    let digests = digests.into_iter().collect::<Vec<_>>();
    match digests[..] {
        [one] => one.chars().take(16).collect(),
        _ => text_digest(&digests.concat()),
    }
}

/// The bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Index of the first position at which two token sequences differ, a missing tail included.
pub fn first_difference(a: &[u32], b: &[u32]) -> Option<usize> {
    let shared = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    (shared < a.len().max(b.len())).then_some(shared)
}
