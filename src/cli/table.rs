//! A table in a file that grows row by row, and that a later call continues after an interruption.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::terms::{Cell, DataTable};

/// A table whose rows are identified by their first cells, the key; the other cells are measured.
pub struct Table {
    file: File,
    /// The columns; the rows are only in the file.
    columns: DataTable,
    /// The rows that the file had when it was opened.
    lines: Vec<String>,
}

impl Table {
    /// Opens a table with these columns at its end, or creates it. An incomplete last line is removed.
    ///
    /// # Errors
    ///
    /// A file that cannot be written, or that has other columns.
    pub fn open(path: &Path, columns: DataTable) -> anyhow::Result<Self> {
        let header = columns.csv_head();
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
        Ok(Self { file, columns, lines: whole.lines().skip(1).map(str::to_owned).collect() })
    }

    /// `true` if the table had a row with these first cells when it was opened.
    pub fn knows(&self, key: &[Cell]) -> bool {
        let key = self.columns.csv_cells(key) + ",";
        self.lines.iter().any(|line| line.starts_with(&key))
    }

    /// Adds a row and flushes it to the file, so that an interruption loses nothing.
    pub fn add(&mut self, key: &[Cell], figures: &[Cell]) -> anyhow::Result<()> {
        let row = self.columns.csv_cells(&[key, figures].concat());
        writeln!(self.file, "{row}").and_then(|()| self.file.flush()).context("the table could not be written")
    }
}
