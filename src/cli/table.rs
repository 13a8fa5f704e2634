//! A table in a file that grows row by row, and that a later call continues after an interruption.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::terms::{Cell, DataTable};

/// A table whose rows are identified by their first cells, the key; the other cells are measured. One command at a time has it open: the
/// file is locked until then.
pub struct Table {
    file: File,
    /// Length of the file, bytes: all of it whole lines.
    len: u64,
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
    /// A file that cannot be written, that has other columns, or to which another command writes.
    pub fn open(path: &Path, columns: DataTable) -> anyhow::Result<Self> {
        let header = columns.csv_head();
        let cannot = || format!("cannot write the table {}", path.display());
        if path.metadata().is_ok_and(|about| !about.is_file()) {
            bail!("cannot write the table {}: it is not a file", path.display());
        }
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another command is writing the table {}: wait until it has ended, or name another file", path.display())
            }
            // Some network disks have no locks. A single writer is then up to their users.
            Err(TryLockError::Error(why)) if why.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(why)) => return Err(why).with_context(cannot),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("cannot read the table {}", path.display()))?;
        // An interruption may have torn the last line within a letter.
        let (whole, torn) = bytes.split_at(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        let whole = std::str::from_utf8(whole).ok();
        let is_ours = whole.is_some_and(|whole| match whole.lines().next() {
            Some(first) => first == header,
            None => header.as_bytes().starts_with(torn),
        });
        let Some(whole) = whole.filter(|_| is_ours) else { bail!("{} is another table: name another file", path.display()) };
        let lines = whole.lines().skip(1).map(str::to_owned).collect();
        let mut table = Self { file, len: whole.len() as u64, columns, lines };
        table.cut().with_context(cannot)?;
        if whole.is_empty() {
            table.append(&header).with_context(cannot)?;
        }
        Ok(table)
    }

    /// `true` if the table had a row with these first cells when it was opened.
    pub fn knows(&self, key: &[Cell]) -> bool {
        let key = self.line(key) + ",";
        self.lines.iter().any(|line| line.starts_with(&key))
    }

    /// Adds a row to the file, whole or not at all, so that neither an interruption nor a full disk loses others.
    ///
    /// # Errors
    ///
    /// A file that cannot be written to.
    pub fn add(&mut self, key: &[Cell], figures: &[Cell]) -> anyhow::Result<()> {
        let row = self.line(&[key, figures].concat());
        self.append(&row)
            .context("the table could not be written; the rows that it has are complete, and the same command goes on from there")
    }

    /// A row on one line, also if a name in it has a line break.
    fn line(&self, cells: &[Cell]) -> String {
        self.columns.csv_cells(cells).replace(['\n', '\r'], "⏎")
    }

    fn append(&mut self, line: &str) -> std::io::Result<()> {
        let bytes = format!("{line}\n").into_bytes();
        if let Err(why) = self.file.write_all(&bytes).and_then(|()| self.file.flush()) {
            // A part of the line may be there.
            let _ = self.cut();
            return Err(why);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Removes what follows the whole lines, and goes to their end.
    fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.len)?;
        self.file.seek(SeekFrom::End(0)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> DataTable {
        DataTable::new("t", "T", &["name", "loss"])
    }

    /// A path without a file.
    fn path(test: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("linchpin-{}-{test}.csv", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn table_has_one_writer_at_a_time() {
        let path = path("one-writer");
        let mut first = Table::open(&path, columns()).unwrap();
        first.add(&["a".into()], &[1.5.into()]).unwrap();
        let told = Table::open(&path, columns()).err().unwrap().to_string();
        assert!(told.starts_with("another command is writing the table"), "{told}");
        drop(first);
        let mut second = Table::open(&path, columns()).unwrap();
        assert!(second.knows(&["a".into()]) && !second.knows(&["b".into()]));
        second.add(&["b".into()], &[2.5.into()]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "name,loss\na,1.5\nb,2.5\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn torn_line_is_removed_and_a_file_that_is_no_text_stays() {
        let path = path("torn");
        std::fs::write(&path, [b"name,loss\na,1.5\n".as_slice(), &"é".as_bytes()[..1]].concat()).unwrap();
        let mut table = Table::open(&path, columns()).unwrap();
        assert!(table.knows(&["a".into()]));
        table.add(&["é".into()], &[2.0.into()]).unwrap();
        drop(table);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "name,loss\na,1.5\né,2\n");
        for foreign in [&b"\xff\xfe\n"[..], b"name,loss\n\xff\n", b"\xff", b"name,other\n"] {
            std::fs::write(&path, foreign).unwrap();
            assert!(Table::open(&path, columns()).err().unwrap().to_string().contains("is another table"));
            assert_eq!(std::fs::read(&path).unwrap(), foreign);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn names_with_line_breaks_and_formulas_are_found_again() {
        let path = path("names");
        let names = ["a\nb,c", "=cmd|' /C calc'!A1", "-step", "\"q\""];
        let mut table = Table::open(&path, columns()).unwrap();
        for name in names {
            table.add(&[name.into()], &[1.0.into()]).unwrap();
        }
        drop(table);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1 + names.len());
        let table = Table::open(&path, columns()).unwrap();
        assert!(names.iter().all(|name| table.knows(&[(*name).into()])));
        std::fs::remove_file(path).unwrap();
    }
}
