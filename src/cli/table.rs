//! A table in a file that grows row by row, and goes on where an earlier call was interrupted.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};

/// Rows are told apart by their first columns, the keys; the others are what was measured.
pub struct Table {
    file: File,
    /// As they were when it was opened.
    lines: Vec<String>,
}

impl Table {
    /// Opens a table at its end, or begins one. A last line that was cut short goes.
    ///
    /// # Errors
    ///
    /// A file that cannot be written, or has other columns.
    pub fn open(path: &Path, header: &str) -> anyhow::Result<Self> {
        let cannot = || format!("cannot write the table {}", path.display());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(cannot),
        };
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        if whole.lines().next().is_some_and(|first| first != header) || (whole.is_empty() && !header.starts_with(&text)) {
            bail!("{} is another table: name another file", path.display());
        }
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path).with_context(cannot)?;
        file.set_len(whole.len() as u64).with_context(cannot)?;
        file.seek(SeekFrom::End(0)).with_context(cannot)?;
        if whole.is_empty() {
            writeln!(file, "{header}").with_context(cannot)?;
        }
        Ok(Self { file, lines: whole.lines().skip(1).map(str::to_owned).collect() })
    }

    /// Whether a row of this key was there when the table was opened. A key ends with a comma.
    pub fn knows(&self, key: &str) -> bool {
        self.lines.iter().any(|line| line.starts_with(key))
    }

    /// Adds a row. It is in the file at the end: what was paid for stays.
    pub fn add(&mut self, key: &str, figures: &str) -> anyhow::Result<()> {
        writeln!(self.file, "{key}{figures}").and_then(|()| self.file.flush()).context("the table could not be written")
    }
}

/// A field in quotes, whatever is in it.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A field that may be empty.
pub fn optional(value: Option<impl ToString>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}
