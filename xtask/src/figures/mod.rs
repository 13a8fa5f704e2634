//! The figures of the source: its structure, its length and its style.
//!
//! `tidy` prints them and enforces limits for some. They are measured as the compiler reads the source, except for
//! facts that require types: a method call does not count as a use of the method's file.

mod names;
mod rooms;
mod text;
mod tree;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rooms::{Permissions, Structure};
use text::{DOC_BEGINNINGS, Lines, TEST_BEGINNINGS, Text};
use tree::{Function, Sources, Tree};

/// Limits, to be lowered with the figures: imports between rooms against their order, and circles between files.
const MAX_UPWARDS: usize = 0;
const MAX_CIRCLES: usize = 2;

/// All figures.
#[derive(Default)]
pub struct Figures {
    structure: Structure,
    /// The lines of each room, of `lib` and of `bin`.
    lines: BTreeMap<String, Lines>,
    longest_file: (usize, String),
    /// Functions outside of tests, shortest first.
    functions: Vec<Function>,
    n_docs: usize,
    /// Doc comments that begin with one of [`DOC_BEGINNINGS`], as `path: first line`.
    headless_docs: Vec<String>,
    n_tests: usize,
    /// Tests whose name does not begin with its subject, as `path: name`.
    vague_tests: Vec<String>,
}

impl Figures {
    /// Measures the Rust files of the repository, by their paths: structure and length below `src/`, doc comments and
    /// the names of tests everywhere.
    pub fn measure(files: &Sources, permissions: &Permissions<'_>) -> Result<Self, String> {
        let below_src = files.iter().filter_map(|(path, text)| Some((path.strip_prefix("src/")?.to_owned(), text.clone())));
        let sources: Sources = below_src.collect();
        let mut library = Tree::read(&sources, "lib.rs")?;
        let mut figures = Self { structure: Structure::of(&library, permissions), ..Self::default() };
        for program in sources.keys().filter(|path| path.starts_with("bin/")) {
            let program = Tree::read(&sources, program)?;
            library.files.extend(program.files);
            library.functions.extend(program.functions);
        }
        if let Some(lost) = sources.keys().find(|path| !library.files.contains_key(*path)) {
            return Err(format!("src/{lost}: no module declares this file"));
        }
        figures.functions = library.functions.into_iter().filter(|function| !function.in_test).collect();
        figures.functions.sort_by_key(|function| function.n_lines);
        for (path, source) in files {
            let text = Text::read(source).map_err(|why| format!("{path}: {why}"))?;
            if let Some((below, file)) = path.strip_prefix("src/").and_then(|below| library.files.get_key_value(below)) {
                let lines = text.lines(source, file.is_test, &file.test_lines);
                let room = below.split('/').next().unwrap_or_default().trim_end_matches(".rs").trim_end_matches("_tests");
                *figures.lines.entry(room.to_owned()).or_default() += lines;
                figures.longest_file = figures.longest_file.max((lines.total, path.clone()));
            }
            figures.add_text(path, &text);
        }
        Ok(figures)
    }

    fn add_text(&mut self, path: &str, text: &Text) {
        self.n_docs += text.docs.len();
        self.n_tests += text.tests.len();
        let vague = text.tests.iter().filter(|name| text::is_vague_test(name));
        self.vague_tests.extend(vague.map(|name| format!("{path}: {name}")));
        let headless = text.docs.iter().filter(|doc| text::is_headless(doc));
        self.headless_docs.extend(headless.map(|doc| format!("{path}: {}", doc.trim().lines().next().unwrap_or_default())));
    }

    /// Imports against the table, unused permissions, doc comments without a subject, tests with vague names, and
    /// exceeded limits.
    pub fn findings(&self) -> Vec<String> {
        let counts = [
            ("imports that run upwards", self.structure.upwards.len(), MAX_UPWARDS),
            ("circles between files", self.structure.circles.len(), MAX_CIRCLES),
        ];
        let exceeded = counts.into_iter().filter(|(_, count, limit)| count > limit);
        let exceeded = exceeded.map(|(what, count, limit)| format!("src/: {count} {what}; at most {limit} (xtask/src/figures/mod.rs)"));
        let Structure { forbidden, unused, .. } = &self.structure;
        let unused = unused.iter().map(|permission| format!("xtask/src/modules.rs: no code needs the permission {permission}"));
        let vague = self.vague_tests.iter().map(|test| format!("{test}: the name of a test begins with its subject"));
        let headless = self.headless_docs.iter().map(|doc| format!("{doc}: a doc comment begins with its subject"));
        forbidden.iter().cloned().chain(unused).chain(headless).chain(vague).chain(exceeded).collect()
    }

    /// All figures, for people.
    pub fn table(&self) -> String {
        let mut table = String::new();
        self.add_structure(&mut table);
        self.add_lines(&mut table);
        self.add_words(&mut table);
        table
    }

    fn add_structure(&self, table: &mut String) {
        let Structure { rooms, longest_way, n_arrows, upwards, circles, used_by_tests, .. } = &self.structure;
        let mut row = |what: &str, count: usize, note: &str| {
            let line = format!("{what:<34} {count:>7}   {note}");
            let _ = writeln!(table, "{}", line.trim_end());
        };
        row("rooms", rooms.len(), "");
        row("floors", longest_way.len(), &longest_way.join(" > "));
        row("arrows between rooms", *n_arrows, "");
        row("imports that run upwards", upwards.len(), &format!("at most {MAX_UPWARDS}: {}", upwards.join(", ")));
        row("circles between files", circles.len(), &format!("at most {MAX_CIRCLES}"));
        for circle in circles {
            row("", circle.len(), &circle.join(", "));
        }
        row("permissions that tests alone need", used_by_tests.len(), &used_by_tests.join(", "));
    }

    fn add_lines(&self, table: &mut String) {
        let mut row = |room: &str, cells: [&str; 5]| {
            let _ = writeln!(table, "{room:<14} {:>7} {:>7} {:>7} {:>7} {:>7}", cells[0], cells[1], cells[2], cells[3], cells[4]);
        };
        row("\nlines of src", ["files", "code", "docs", "tests", "total"]);
        let mut sum = Lines::default();
        for (room, lines) in &self.lines {
            sum += *lines;
            row(room, lines.cells().each_ref().map(String::as_str));
        }
        row("all", sum.cells().each_ref().map(String::as_str));
        let (n_lines, path) = &self.longest_file;
        let _ = writeln!(table, "longest file: {path}, {n_lines} lines");
        let at = |percent: usize| self.functions.get(self.functions.len().saturating_sub(1) * percent / 100);
        if let (Some(median), Some(p90), Some(longest)) = (at(50), at(90), self.functions.last()) {
            let _ = writeln!(
                table,
                "functions without tests: {}; lines: median {}, p90 {}, longest {} (`{}`, src/{})",
                self.functions.len(),
                median.n_lines,
                p90.n_lines,
                longest.n_lines,
                longest.name,
                longest.file
            );
        }
    }

    fn add_words(&self, table: &mut String) {
        let words = DOC_BEGINNINGS.join("/");
        let _ = writeln!(table, "\ndoc comments: {}; beginning with {words}: {}", self.n_docs, self.headless_docs.len());
        let words = TEST_BEGINNINGS.join("/");
        let _ = writeln!(table, "tests in Rust: {}; with a name beginning with {words}: {}", self.n_tests, self.vague_tests.len());
    }
}

impl Lines {
    fn cells(self) -> [String; 5] {
        [self.files, self.code, self.docs, self.tests, self.total].map(|count| count.to_string())
    }
}

#[cfg(test)]
mod tests;
