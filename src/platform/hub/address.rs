//! The Hub's addresses, and the name of a repository in a browser's store.

use crate::terms::HubSource;

/// The address of a repository's listing.
pub fn listing_url(source: &HubSource) -> String {
    let HubSource { endpoint, repo, revision, .. } = source;
    format!("{}/api/models/{repo}/revision/{}?blobs=true", endpoint.trim_end_matches('/'), encoded(revision))
}

/// The common beginning of the addresses of a repository's files, with a slash at its end.
pub fn base_url(source: &HubSource, revision: &str) -> String {
    format!("{}/{}/resolve/{}/", source.endpoint.trim_end_matches('/'), source.repo, encoded(revision))
}

/// The name of a model's folder in a store: every character that is not a letter, a digit, `.` or `-` becomes `_`,
/// and a digest distinguishes names that become equal.
pub fn store_key(origin: &str, commit: &str) -> String {
    let readable = format!("{origin}@{}", &commit[..commit.len().min(12)]);
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let digest = crate::terms::text_digest(&format!("{origin}@{commit}"));
    format!("{}-{}", readable.chars().map(plain).take(100).collect::<String>(), &digest[..8])
}

fn encoded(revision: &str) -> String {
    revision.replace('/', "%2F")
}

/// The first byte and the whole length from a `Content-Range: bytes 0-7/100`. The length may be missing.
pub fn content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::hub::is_plain_name;

    #[test]
    fn addresses_are_the_hubs() {
        let mut source = crate::platform::hub::example();
        assert_eq!(listing_url(&source), "https://huggingface.co/api/models/HuggingFaceTB/SmolLM2-135M/revision/main?blobs=true");
        source.revision = "refs/pr/1".into();
        assert!(listing_url(&source).ends_with("/revision/refs%2Fpr%2F1?blobs=true"));
        assert_eq!(base_url(&source, "ab12"), "https://huggingface.co/HuggingFaceTB/SmolLM2-135M/resolve/ab12/");
        assert_eq!(source.origin(), "huggingface.co/HuggingFaceTB/SmolLM2-135M");
    }

    #[test]
    fn stored_models_have_folders_of_their_own() {
        let key = store_key("huggingface.co/a/b", &"0".repeat(40));
        assert!(key.starts_with("huggingface.co_a_b_000000000000-"), "{key}");
        assert_ne!(key, store_key("huggingface.co/a_b", &"0".repeat(40)));
        assert!(is_plain_name(&key));
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 8-15/100"), Some((8, Some(100))));
        assert_eq!(content_range("bytes 8-15/*"), Some((8, None)));
        assert_eq!(content_range("items 8-15/100"), None);
    }
}
