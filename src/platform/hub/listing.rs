//! The Hub's list of a repository's files at one commit, with their sizes and digests.

use serde::{Deserialize, Serialize};

use super::{agreed, is_commit, is_plain_name, is_sha256};
use crate::platform::PlatformError;
use crate::terms::KnownFile;

/// The longest accepted listing, in bytes. Some repositories have thousands of files; a model's repository has
/// dozens.
pub const MAX_LISTING_BYTES: u64 = 16 << 20;

/// The files of a repository at one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub commit: Option<String>,
    pub files: Vec<KnownFile>,
}

/// The relevant parts of the Hub's answer.
#[derive(Deserialize)]
struct RawListing {
    sha: Option<String>,
    siblings: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<RawLfs>,
}

#[derive(Deserialize)]
struct RawLfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Reads the answer to [`listing_url`]. Files in folders are left out, because a model's files are at the top.
    ///
    /// # Errors
    ///
    /// A sentence that names the error in the answer.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let raw: RawListing = serde_json::from_slice(json).map_err(|error| format!("its listing cannot be read: {error}"))?;
        let at_top = raw.siblings.into_iter().filter(|file| is_plain_name(&file.rfilename));
        let files = at_top.map(|file| {
            let lfs = file.lfs.unwrap_or(RawLfs { sha256: None, size: None });
            let sha256 = lfs.sha256.map(|digest| digest.to_ascii_lowercase()).filter(|digest| is_sha256(digest));
            KnownFile { name: file.rfilename, size: lfs.size.or(file.size).filter(|size| *size < 1 << 42), sha256 }
        });
        Ok(Self { commit: raw.sha.filter(|sha| is_commit(sha)), files: files.collect() })
    }

    pub fn find(&self, name: &str) -> Option<&KnownFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Adds the sizes and digests of a catalogue. If both sides give one, they must agree.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Changed`].
    pub fn join(&mut self, known: &[KnownFile]) -> Result<(), PlatformError> {
        for known in known {
            let Some(file) = self.files.iter_mut().find(|file| file.name == known.name) else {
                self.files.push(known.clone());
                continue;
            };
            file.size = agreed(&file.name, known.size, file.size)?;
            file.sha256 = agreed(&file.name, known.sha256.clone(), file.sha256.clone())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_tells_sizes_and_digests() {
        let digest = "A".repeat(64);
        let json = format!(
            r#"{{"id": "a/b", "sha": "{}", "siblings": [
                {{"rfilename": "config.json", "size": 700, "blobId": "x"}},
                {{"rfilename": "onnx/model.safetensors", "size": 1}},
                {{"rfilename": "model.safetensors", "size": 5, "lfs": {{"sha256": "{digest}", "size": 5, "pointerSize": 1}}}}]}}"#,
            "c".repeat(40)
        );
        let listing = Listing::parse(json.as_bytes()).unwrap();
        assert_eq!(listing.commit, Some("c".repeat(40)));
        assert_eq!(listing.files.len(), 2, "files in folders are not a model's");
        assert_eq!(listing.find("config.json").unwrap().size, Some(700));
        assert_eq!(listing.find("model.safetensors").unwrap().sha256, Some("a".repeat(64)));
        assert!(Listing::parse(b"<html>").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn catalogue_and_server_have_to_agree() {
        let file = |sha: Option<&str>, size| KnownFile { name: "model.safetensors".into(), size, sha256: sha.map(|sha| sha.repeat(64)) };
        let mut listing = Listing { commit: None, files: vec![file(None, Some(5))] };
        listing.join(&[file(Some("a"), Some(5))]).unwrap();
        assert_eq!(listing.files, [file(Some("a"), Some(5))]);
        let told = listing.join(&[file(Some("b"), None)]).unwrap_err().to_string();
        assert!(told.contains(&"a".repeat(64)) && told.contains(&"b".repeat(64)), "{told}");
        let told = listing.join(&[file(None, Some(6))]).unwrap_err().to_string();
        assert!(told.contains(": 5, not 6"), "{told}");
    }
}
