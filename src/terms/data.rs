//! Tables of figures, and plots that name the columns they are drawn from, so that data and drawing cannot differ.

use serde::{Deserialize, Serialize};

use super::{Cell, Message};

/// A table in long form: the things compared are rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DataTable {
    /// Identifier, used in file names and by [`DataPlot::table`]: `loss`, `samples`.
    pub name: String,
    /// Title, as a code.
    pub title: Message,
    pub columns: Vec<Column>,
    /// Rows, each with one cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// `snake_case`, as in a CSV file's first line.
    pub name: String,
    /// Unit of the values: `nats`, `tokens`, `probability`; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// The form of the cells in a CSV file. A JSON document does not have it.
    #[serde(skip)]
    pub notation: Notation,
}

/// The form of a column's cells in a CSV file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Notation {
    /// Numbers as decimals (`0.00015`), texts in quotes if RFC 4180 requires them.
    #[default]
    Plain,
    /// Numbers as digits and an exponent: `1.5e-4`.
    Scientific,
    /// Texts always in quotes.
    Quoted,
}

/// The kind of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlotKind {
    /// One line for each value of `by`, through its rows in their order.
    Lines,
    /// A bar for each row, from 0: `x` names it, `y` is its length.
    Bars,
    /// A field for each row: `x` across, `by` down, `y` its shade.
    Heatmap,
}

/// A picture of one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataPlot {
    /// Title, as a code; where [`Self::only`] names an arm, the arm is added to it.
    pub title: Message,
    pub table: String,
    pub kind: PlotKind,
    /// Column of the horizontal axis; `y` and `by` are columns, too.
    pub x: String,
    pub y: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default)]
    pub log_x: bool,
    #[serde(default)]
    pub log_y: bool,
    /// The column and the text that a row must have to be drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<(String, String)>,
    /// Named places on the horizontal axis.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<(f64, String)>,
    /// Named places on the vertical axis.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<(f64, String)>,
}

impl DataTable {
    /// A table without rows. Each column is given as `name` or `name (unit)`.
    pub fn new(name: &str, title: impl Into<Message>, columns: &[&str]) -> Self {
        let column = |text: &&str| match text.split_once(" (") {
            Some((name, unit)) => Column::new(name, unit.trim_end_matches(')')),
            None => Column::new(text, ""),
        };
        Self { name: name.into(), title: title.into(), columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    /// # Panics
    ///
    /// In a debug build, if the number of cells is not the number of columns.
    pub fn push(&mut self, cells: impl Into<Vec<Cell>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "{}", self.name);
        self.rows.push(cells);
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The cell of a row in a column; `None` if either is missing.
    pub fn cell(&self, row: usize, column: &str) -> Option<&Cell> {
        self.rows.get(row)?.get(self.column(column)?)
    }

    /// Sets the notation of the named columns.
    #[must_use]
    pub fn with_notation(mut self, notation: Notation, names: &[&str]) -> Self {
        for column in self.columns.iter_mut().filter(|column| names.contains(&column.name.as_str())) {
            column.notation = notation;
        }
        self
    }

    /// The table with only these columns, in this order. Missing names are ignored.
    #[must_use]
    pub fn select(&self, names: &[&str]) -> Self {
        let places = names.iter().filter_map(|name| self.column(name)).collect::<Vec<_>>();
        let rows = self.rows.iter().map(|row| places.iter().filter_map(|at| row.get(*at).cloned()).collect());
        let (name, title) = (self.name.clone(), self.title.clone());
        Self { name, title, columns: places.iter().map(|at| self.columns[*at].clone()).collect(), rows: rows.collect() }
    }
}

impl Column {
    pub fn new(name: &str, unit: &str) -> Self {
        Self { name: name.into(), unit: unit.into(), notation: Notation::default() }
    }

    /// Name and unit for people: `loss, nats`. The unit is left out if the name contains it.
    pub fn label(&self) -> String {
        let name = self.name.replace('_', " ");
        let unit = if self.unit.is_empty() || name.contains(&self.unit) { String::new() } else { format!(", {}", self.unit) };
        name + &unit
    }
}

impl DataPlot {
    pub fn new(kind: PlotKind, title: impl Into<Message>, table: &str, x: &str, y: &str) -> Self {
        Self {
            title: title.into(),
            table: table.into(),
            kind,
            x: x.into(),
            y: y.into(),
            by: None,
            log_x: false,
            log_y: false,
            only: None,
            marks: Vec::new(),
            levels: Vec::new(),
        }
    }

    #[must_use]
    pub fn split_by(mut self, column: &str) -> Self {
        self.by = Some(column.into());
        self
    }
}
