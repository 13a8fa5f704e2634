//! The rows of a table as points of a picture, and its cells as text.

use crate::language;
use crate::terms::{Cell, DataPlot, DataTable};
use crate::words::{short, visible};

/// The most points in a readable picture; the table has all of them.
const MAX_POINTS: usize = 4096;
/// A row of the table.
pub(super) struct Point {
    pub name: String,
    pub x: Option<f32>,
    pub y: f32,
    pub by: String,
}

/// A cell, for people.
pub fn cell_text(cell: &Cell) -> String {
    match cell {
        Cell::Number(number) => value_text(narrow(*number)),
        Cell::Text(text) => visible(text),
        Cell::Nothing => "–".into(),
    }
}

/// A cell of this column, for people: codes have labels.
pub fn cell_in(column: &str, cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => visible(&language::label(column, text)),
        cell => cell_text(cell),
    }
}

/// A number, for people, and a word for an overflowed one.
pub(super) fn value_text(value: f32) -> String {
    if value.abs() < f32::MAX { short(value) } else { "overflow".into() }
}

/// A number as an `f32`; a number too large for it becomes an overflow.
pub(super) fn narrow(number: f64) -> f32 {
    (number as f32).clamp(-f32::MAX, f32::MAX)
}

/// The rows of the table with a place in the picture; `None` if there is nothing to draw.
pub(super) fn points(plot: &DataPlot, table: &DataTable) -> Option<Vec<Point>> {
    let (x, y) = (table.column(&plot.x)?, table.column(&plot.y)?);
    let by = plot.by.as_ref().and_then(|by| table.column(by));
    let only = plot.only.as_ref().map(|(column, text)| (table.column(column), text));
    let cell = |row: &[Cell], at: usize| Some(cell_in(&table.columns.get(at)?.name, row.get(at)?));
    let text = |row: &[Cell], at: Option<usize>| at.and_then(|at| cell(row, at)).unwrap_or_default();
    let mut points = Vec::new();
    for row in &table.rows {
        let is_other = |(column, only): (Option<usize>, &String)| match column.and_then(|at| row.get(at)) {
            Some(Cell::Text(text)) => text != only,
            cell => cell.map(cell_text).as_ref() != Some(only),
        };
        if only.is_some_and(is_other) {
            continue;
        }
        let number = |at: usize| row.get(at).and_then(Cell::number).filter(|number| !number.is_nan()).map(narrow);
        let Some(y) = number(y) else { continue };
        let x_value = number(x).filter(|x| !plot.log_x || *x > 0.0);
        points.push(Point { name: text(row, Some(x)), x: x_value, y, by: text(row, by) });
        if points.len() == MAX_POINTS {
            break;
        }
    }
    Some(points).filter(|points| !points.is_empty())
}

/// Every distinct text, in the order of first occurrence.
pub(super) fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut found: Vec<&String> = Vec::new();
    for text in texts {
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// The index of a name among the names.
pub(super) fn place(names: &[&String], name: &String) -> usize {
    names.iter().position(|known| *known == name).unwrap_or(0)
}
