//! A folder that appears as a whole or not at all: its files are written beside it, and it is renamed at the end.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::platform::HubSettings;
use crate::terms::ModelSource;

/// The purpose in the name of a folder that is being written.
const SAVING: &str = "saving";

/// A folder to be written.
#[derive(Debug)]
pub struct Destination {
    out: PathBuf,
    overwrite: bool,
    staging: Staging,
}

/// A folder that is removed with everything in it, unless it was renamed.
#[derive(Debug)]
struct Staging {
    path: PathBuf,
    /// The lock that the system takes back when this process ends, however it ends. Not every system locks folders.
    _lock: Option<File>,
}

impl Staging {
    fn create(out: &Path) -> std::io::Result<Self> {
        let path = beside(out, SAVING);
        fs::create_dir(&path)?;
        let lock = lock(&path);
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Locks a folder; `None` if another process has locked it, or the system cannot.
fn lock(folder: &Path) -> Option<File> {
    File::open(folder).ok().filter(|file| file.try_lock().is_ok())
}

/// Removes the folders that saves into the same place left behind when their processes were killed.
fn remove_abandoned(out: &Path) {
    let begin = hidden(out, SAVING);
    let is_left = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(&begin));
        process.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    let beside = out.parent().and_then(|parent| fs::read_dir(parent).ok()).into_iter().flatten().flatten();
    for entry in beside.filter(is_left) {
        // A process that lives holds the lock of its folder.
        if let Some(_lock) = lock(&entry.path()) {
            // What cannot be removed is in nobody's way: it has another process's name.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Destination {
    /// Checks the place, and creates an empty folder beside it.
    ///
    /// # Errors
    ///
    /// A folder with files that must not be replaced, a place inside or around the source, or one that cannot be
    /// written.
    pub fn new(out: &Path, overwrite: bool, source: &ModelSource) -> anyhow::Result<Self> {
        let out = absolute(out)?;
        match fs::read_dir(&out).map(|mut entries| entries.next().is_none()) {
            Ok(false) if !overwrite => {
                bail!("{} exists and is not empty: choose another folder, or replace it with --overwrite", out.display())
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("{} is not a folder to write into: choose another one", out.display()));
            }
        }
        for of_source in folders(source) {
            if out.starts_with(&of_source) || of_source.starts_with(&out) {
                bail!(
                    "{} is inside the model's own files in {}, or contains them: choose a folder outside, so that the original stays as it is",
                    out.display(),
                    of_source.display()
                );
            }
        }
        remove_abandoned(&out);
        let staging =
            Staging::create(&out).with_context(|| format!("cannot create a folder beside {}: choose another place", out.display()))?;
        Ok(Self { out, overwrite, staging })
    }

    /// The empty folder for the files.
    pub fn staging(&self) -> &Path {
        &self.staging.path
    }

    /// Puts the folder in its place, and returns its path.
    ///
    /// # Errors
    ///
    /// A place that is no longer free, or cannot be written. An earlier folder then stays as it was.
    pub fn finish(self) -> anyhow::Result<PathBuf> {
        let Self { out, overwrite, staging } = self;
        let failed = || format!("cannot put the finished folder in its place, {}", out.display());
        let replaced = beside(&out, "replaced");
        let was_moved = match fs::remove_dir(&out) {
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Ok(()) => false,
            Err(_) if overwrite => {
                fs::rename(&out, &replaced).with_context(failed)?;
                true
            }
            Err(error) => return Err(error).with_context(failed),
        };
        if let Err(error) = fs::rename(&staging.path, &out) {
            if was_moved {
                let _ = fs::rename(&replaced, &out);
            }
            return Err(error).with_context(failed);
        }
        if was_moved {
            fs::remove_dir_all(&replaced).with_context(|| format!("cannot remove the replaced folder, now {}", replaced.display()))?;
        }
        Ok(out)
    }
}

/// A folder's path without links and without `..`; only its parent must exist.
fn absolute(out: &Path) -> anyhow::Result<PathBuf> {
    if let Ok(found) = out.canonicalize() {
        return Ok(found);
    }
    let name = out.file_name().with_context(|| format!("{} names no folder", out.display()))?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent =
        parent.canonicalize().with_context(|| format!("there is no folder {} to write into: create it first", parent.display()))?;
    Ok(parent.join(name))
}

/// The name of a folder of this process beside `out`.
fn beside(out: &Path, what: &str) -> PathBuf {
    out.with_file_name(format!("{}{}", hidden(out, what), std::process::id()))
}

/// The beginning of such a name, before the process's id.
fn hidden(out: &Path, what: &str) -> String {
    format!(".{}.{what}-", out.file_name().unwrap_or_default().to_string_lossy())
}

/// The folders that hold the files of a source.
fn folders(source: &ModelSource) -> Vec<PathBuf> {
    let folders = match source {
        ModelSource::Files(files) => files.iter().filter_map(|file| Path::new(&file.url).parent().map(Path::to_owned)).collect(),
        ModelSource::Hub(_) => vec![HubSettings::from_env().cache],
        ModelSource::Folder { .. } => Vec::new(),
    };
    let mut found = folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect::<Vec<_>>();
    found.dedup();
    found
}
