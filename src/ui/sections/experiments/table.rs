//! A table of an outcome, collapsed, and its CSV file.

use leptos::prelude::*;

use crate::draw::points::cell_in;
use crate::language;
use crate::terms::{Column, DataTable};
use crate::ui::sections::experiments::growing::Growing;

/// The most rows of a table on the page; larger tables are for programs.
const MAX_ROWS: usize = 200;

/// A table prepared for people.
#[derive(Debug, Clone, Default, PartialEq)]
struct Shown {
    title: String,
    /// Number of all rows.
    n_rows: usize,
    head: Vec<String>,
    /// The first rows, at most [`MAX_ROWS`].
    rows: Vec<Vec<String>>,
}

impl Shown {
    fn new(table: &DataTable) -> Self {
        let column = |Column { name, unit, .. }: &Column| {
            let name = name.replace('_', " ");
            if unit.is_empty() { name } else { format!("{name}, {unit}") }
        };
        Self {
            title: language::table_title(table),
            n_rows: table.rows.len(),
            head: table.columns.iter().map(column).collect(),
            rows: table
                .rows
                .iter()
                .take(MAX_ROWS)
                .map(|row| row.iter().zip(&table.columns).map(|(cell, column)| cell_in(&column.name, cell)).collect())
                .collect(),
        }
    }

    fn summary(&self) -> String {
        format!("Table: {} ({} rows)", self.title, self.n_rows)
    }

    /// A note on left-out rows, if there are any.
    fn note(&self) -> Option<String> {
        (self.n_rows > MAX_ROWS).then(|| format!("The first {MAX_ROWS} rows; the CSV file has all."))
    }
}

pub fn table(of: Growing, number: usize) -> AnyView {
    let table = of.part(move |outcome| outcome.tables.get(number).map(Shown::new).unwrap_or_default());
    let title = move || table.with(|table| table.title.clone());
    let head = move || {
        let cell = |name: &String| view! { <th scope="col">{name.clone()}</th> };
        table.with(|table| table.head.iter().map(cell).collect_view())
    };
    let rows = move || {
        let cell = |text: &String| view! { <td class="number">{text.clone()}</td> };
        let row = |row: &Vec<String>| view! { <tr>{row.iter().map(cell).collect_view()}</tr> };
        table.with(|table| table.rows.iter().map(row).collect_view())
    };
    let note = move || table.with(Shown::note).map(|note| view! { <p class="note">{note}</p> });
    let save = move |_| of.save(number, "csv", "text/csv", |outcome, number| Some(outcome.tables.get(number)?.to_csv()));
    view! {
        <div class="chart-foot">
            <details data-testid=format!("experiment-table-{number}")>
                <summary>{move || table.with(Shown::summary)}</summary>
                <div class="scroll" tabindex="0" role="region" aria-label=title>
                    <table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>
                    {note}
                </div>
            </details>
            <button
                type="button" class="link" data-testid=format!("experiment-table-{number}-csv") aria-label=move || format!("{}: save as CSV", title()) on:click=save
            >
                "CSV"
            </button>
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Cell;

    #[test]
    fn table_shows_its_first_rows_and_says_how_many_there_are() {
        let mut table = DataTable::new("loss", "Loss", &["block_size", "loss (nats)"]);
        let rows = |table: &mut DataTable, n: usize| (0..n).for_each(|at| table.push([at.into(), at.into()]));
        rows(&mut table, MAX_ROWS);
        let shown = Shown::new(&table);
        assert_eq!((shown.head.as_slice(), shown.rows.len(), shown.note()), (&["block size".into(), "loss, nats".into()][..], 200, None));
        rows(&mut table, 100);
        let shown = Shown::new(&table);
        assert_eq!((shown.rows.len(), shown.summary().as_str()), (200, "Table: Loss (300 rows)"));
        assert_eq!(shown.note().unwrap(), "The first 200 rows; the CSV file has all.");
    }

    #[test]
    fn cells_without_a_number_are_told_from_numbers() {
        let mut table = DataTable::new("t", "T", &["name", "y"]);
        table.push([Cell::Text("a\u{7}".into()), Cell::Nothing]);
        assert_eq!(Shown::new(&table).rows, [["a[U+0007]", "–"]]);
    }
}
