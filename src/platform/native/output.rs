//! Writes the files of a folder on a disk.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use crate::platform::PlatformError;

/// The files that are written, in one folder.
#[derive(Debug)]
pub struct Output {
    dir: PathBuf,
}

/// A file that is being written.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Output {
    /// Writes into a folder that exists.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Address`] without a folder, which only a browser can do without.
    pub fn new(folder: Option<&str>) -> Result<Self, PlatformError> {
        match folder {
            Some(folder) => Ok(Self { dir: folder.into() }),
            None => Err(PlatformError::Address { what: String::new(), expected: "a folder to write into".into() }),
        }
    }

    /// Creates a file.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Write`], also if the file exists already.
    pub fn create(&self, name: &str) -> Result<OutputFile, PlatformError> {
        let path = self.dir.join(name);
        match File::create_new(&path) {
            Ok(file) => Ok(OutputFile { path, writer: BufWriter::new(file) }),
            Err(error) => Err(failed(&path, &error)),
        }
    }
}

impl OutputFile {
    /// # Errors
    ///
    /// [`PlatformError::Write`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PlatformError> {
        self.writer.write_all(bytes).map_err(|error| failed(&self.path, &error))
    }

    /// Waits until the disk has all bytes, and returns the file's path.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Write`].
    pub fn finish(self) -> Result<String, PlatformError> {
        let Self { path, writer } = self;
        let synced = writer.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|error| failed(&path, &error))?;
        Ok(path.display().to_string())
    }
}

fn failed(path: &std::path::Path, error: &std::io::Error) -> PlatformError {
    PlatformError::Write { name: path.display().to_string(), why: error.to_string() }
}
