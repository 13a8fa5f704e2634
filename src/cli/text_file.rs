//! Files of text that the command is given.

use std::io::Read;
use std::path::Path;

use crate::terms::MAX_TEXT_BYTES;

/// Reads a text, or a task's file.
///
/// # Errors
///
/// A file that is too large, of which nothing more is read, or that cannot be read as UTF-8.
pub fn read_text(path: &Path) -> anyhow::Result<String> {
    let file = std::fs::File::open(path)?;
    // A pipe has no length.
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(MAX_TEXT_BYTES as u64) as usize);
    if file.metadata()?.len() <= MAX_TEXT_BYTES as u64 {
        file.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() <= MAX_TEXT_BYTES {
            return Ok(String::from_utf8(bytes)?);
        }
    }
    anyhow::bail!("it has more than {} MB: use a part of it", MAX_TEXT_BYTES / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_too_large_is_refused() {
        let path = std::env::temp_dir().join(format!("linchpin-text-{}.txt", std::process::id()));
        std::fs::write(&path, "naïve").unwrap();
        assert_eq!(read_text(&path).unwrap(), "naïve");
        std::fs::File::options().write(true).open(&path).unwrap().set_len(MAX_TEXT_BYTES as u64).unwrap();
        assert_eq!(read_text(&path).unwrap().len(), MAX_TEXT_BYTES);
        std::fs::File::options().write(true).open(&path).unwrap().set_len(MAX_TEXT_BYTES as u64 + 1).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("64 MB"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path).is_err());
        std::fs::remove_file(path).unwrap();
    }
}
