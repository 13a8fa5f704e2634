//! A table in a file that grows row by row, and that a later call continues after an interruption.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};

/// A table whose rows are identified by their first columns, the keys; the other columns are measured.
pub struct Table {
    file: File,
    /// The rows that the file had when it was opened.
    lines: Vec<String>,
}

impl Table {
    /// Opens a table at its end, or begins one. An incomplete last line is removed.
    ///
    /// # Errors
    ///
    /// A file that cannot be written, or that has other columns.
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

    /// True if the table had a row of this key when it was opened. A key ends with a comma.
    pub fn knows(&self, key: &str) -> bool {
        self.lines.iter().any(|line| line.starts_with(key))
    }

    /// Adds a row and flushes it to the file, so that an interruption loses nothing.
    pub fn add(&mut self, key: &str, figures: &str) -> anyhow::Result<()> {
        writeln!(self.file, "{key}{figures}").and_then(|()| self.file.flush()).context("the table could not be written")
    }
}

/// Quotes a field, whatever it holds.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Formats a field that may be empty.
pub fn optional(value: Option<impl ToString>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}
