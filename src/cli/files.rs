//! The command's texts on a disk: inputs are files, and outputs are complete or not there.

use std::fs::{self, File, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::terms::MAX_TEXT_BYTES;

/// Reads an input as UTF-8; `what` names it in an error: "the text".
///
/// # Errors
///
/// A file that cannot be read, or something that is no file: a pipe or a device might never end.
pub fn read(path: &Path, what: &str) -> anyhow::Result<String> {
    let cannot = || format!("cannot read {what} {}", path.display());
    let about = fs::metadata(path).with_context(cannot)?;
    if let Some(kind) = other_than_a_file(&about) {
        bail!("cannot read {what} {}: it is {kind}, not a file", path.display());
    }
    fs::read_to_string(path).with_context(cannot)
}

/// Reads a text or a task's file, as [`read`] does.
///
/// # Errors
///
/// The errors of [`read`], and a file of more than [`MAX_TEXT_BYTES`], of which nothing is read.
pub fn read_text(path: &Path, what: &str) -> anyhow::Result<String> {
    if fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() > MAX_TEXT_BYTES as u64) {
        bail!("cannot read {what} {}: it has more than {} MB: use a part of it", path.display(), MAX_TEXT_BYTES / 1_000_000);
    }
    read(path, what)
}

/// Writes an output, such that at any moment, on a full disk and after a power cut, the path has the file of before or all of the new one:
/// the text goes to a file beside it, which takes its name at the end. What is no file, such as `/dev/stdout`, is written to as it is.
///
/// # Errors
///
/// A path that cannot be written to. An earlier file there is unchanged.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    if fs::metadata(path).is_ok_and(|about| other_than_a_file(&about).is_some()) {
        return fs::write(path, text).with_context(cannot);
    }
    let path = target(path);
    let part = Part::beside(&path).with_context(cannot)?;
    part.write(text).and_then(|()| fs::rename(&part.path, &path)).with_context(cannot)
}

/// The path of the file itself: a link stays one, and its target is replaced.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.into())
}

/// A new file beside another, removed unless it is renamed.
///
/// The crate `tempfile` would do this, but on `rustix`, which turns on a feature of `bitflags` and so compiles Burn again.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn beside(path: &Path) -> std::io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        // What an earlier process of this number left is of no use to anybody.
        let _ = fs::remove_file(&part);
        let file = File::create_new(&part)?;
        // An earlier file's rights are kept.
        if let Ok(about) = fs::metadata(path) {
            file.set_permissions(about.permissions())?;
        }
        Ok(Self { path: part, file })
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        (&self.file).write_all(text.as_bytes())?;
        self.file.sync_all()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After a renaming there is none.
        let _ = fs::remove_file(&self.path);
    }
}

/// Creates the folder of an output, with those that it lies in.
///
/// # Errors
///
/// A folder that cannot be created.
pub fn create_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))
}

/// Checks that an output can be written, before anything is measured for it. An existing file stays as it is.
///
/// # Errors
///
/// A path that cannot be written to.
pub fn check_output(path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}: choose another file", path.display());
    if path.exists() {
        fs::OpenOptions::new().append(true).open(path).with_context(cannot)?;
    }
    match fs::metadata(path) {
        Ok(about) if other_than_a_file(&about).is_some() => Ok(()),
        // A file takes its place from beside it, so the folder must let one be made.
        _ => Part::beside(&target(path)).map(drop).with_context(cannot),
    }
}

/// Names the kind of something that is no file.
fn other_than_a_file(about: &Metadata) -> Option<&'static str> {
    if about.is_file() {
        return None;
    }
    Some(if about.is_dir() { "a folder" } else { "a pipe or a device" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty folder of a test.
    fn folder(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("linchpin-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn output_replaces_the_file_of_before_and_leaves_nothing_beside_it() {
        let folder = folder("replace");
        let path = folder.join("a.json");
        write(&path, "one").unwrap();
        write(&path, "two, longer").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two, longer");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(write(&folder.join("none/a.json"), "x").unwrap_err().to_string().starts_with("cannot write"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn text_that_is_too_large_is_refused() {
        let folder = folder("too-large");
        let path = folder.join("a.txt");
        fs::write(&path, "naïve").unwrap();
        assert_eq!(read_text(&path, "the text").unwrap(), "naïve");
        let of_bytes = |n: usize| File::options().write(true).open(&path).unwrap().set_len(n as u64).unwrap();
        of_bytes(MAX_TEXT_BYTES);
        assert_eq!(read_text(&path, "the text").unwrap().len(), MAX_TEXT_BYTES);
        of_bytes(MAX_TEXT_BYTES + 1);
        assert!(read_text(&path, "the text").unwrap_err().to_string().contains("more than 64 MB"));
        fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path, "the text").is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_and_rights_of_a_file_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = folder("links");
        let [path, link] = ["a.json", "link.json"].map(|name| folder.join(name));
        write(&path, "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o400, 0o400);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        write(&link, "two").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), fs::metadata(&path).unwrap().permissions().mode() & 0o777),
            ("two", 0o640)
        );
    }

    #[test]
    fn output_that_cannot_be_written_is_refused_before_and_nothing_is_left_of_the_check() {
        let folder = folder("check");
        let [old, new] = ["old.json", "new.json"].map(|name| folder.join(name));
        fs::write(&old, "one").unwrap();
        check_output(&old).unwrap();
        check_output(&new).unwrap();
        assert_eq!((fs::read_to_string(&old).unwrap().as_str(), fs::read_dir(&folder).unwrap().count()), ("one", 1));
        for path in [&folder, &folder.join("none/a.json")] {
            assert!(check_output(path).unwrap_err().to_string().contains("choose another file"), "{}", path.display());
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn inputs_are_files() {
        for (path, kind) in [("/dev/zero", "a pipe or a device"), ("/", "a folder")] {
            let told = read(Path::new(path), "the text").unwrap_err().to_string();
            assert_eq!(told, format!("cannot read the text {path}: it is {kind}, not a file"));
        }
    }
}
