//! Compares two outcomes of one experiment cell by cell.
//!
//! The comparison covers every table of either outcome, by columns of the same name and rows at the same index; the
//! figures of the headline; the convention; and the list of plots. Findings and titles are left out: they tell nothing
//! that the figures do not.

use serde::Serialize;

use super::print;
use crate::terms::{Cell, Column, DataPlot, DataTable, Evaluation, Message, Outcome};

/// The comparison of one column.
#[derive(Debug, Serialize)]
pub struct Compared {
    kind: &'static str,
    /// The table's name; `headline`, `convention` and `plots` are compared as tables, too.
    table: String,
    column: String,
    cells: usize,
    /// Number of texts that differ, numbers that differ by more than the tolerance, and cells that one outcome lacks.
    differing: usize,
    /// The largest distance of two numbers, relative to the larger of both or to their column's median magnitude, if
    /// that is larger; 1 if only one of them overflowed.
    largest: f64,
}

pub fn compare(before: &Outcome, again: &Outcome, tolerance: f64) -> Vec<Compared> {
    let kind = before.experiment.kind().name();
    let [theirs, ours] = [before, again].map(all_tables);
    let names = |tables: &[DataTable], other: &[DataTable]| {
        let is_new = |table: &&DataTable| other.iter().all(|known| known.name != table.name);
        tables.iter().filter(is_new).map(|table| table.name.clone()).collect::<Vec<_>>()
    };
    // Tables that only the repetition has come last. If the earlier run was stopped, they are not a difference.
    let added = if before.is_partial { Vec::new() } else { names(&ours, &theirs) };
    let find = |tables: &[DataTable], name: &str| tables.iter().find(|table| table.name == name).cloned();
    let mut compared = Vec::new();
    for name in names(&theirs, &[]).into_iter().chain(added) {
        let [mut theirs, mut ours] = [&theirs, &ours].map(|tables| find(tables, &name).unwrap_or_default());
        theirs.name = name;
        if before.is_partial {
            ours.rows.truncate(theirs.rows.len());
        }
        let added = ours.columns.iter().filter(|column| theirs.column(&column.name).is_none());
        let columns = theirs.columns.iter().chain(added);
        compared.extend(columns.map(|Column { name, .. }| column(kind, (&theirs, &ours), name, tolerance)));
    }
    compared
}

/// Returns the outcome's tables, and its headline, convention and plots as tables.
fn all_tables(outcome: &Outcome) -> Vec<DataTable> {
    let mut headline = DataTable::new("headline", "", &["name", "value"]);
    outcome.headline.iter().for_each(|of| headline.push([of.name.as_str().into(), of.value.into()]));
    let mut convention = DataTable::new("convention", "", &["convention"]);
    convention.push([outcome.convention.as_ref().map(Message::id).into()]);
    let mut plots = DataTable::new("plots", "", &["table", "x", "y", "by"]);
    for DataPlot { table, x, y, by, .. } in &outcome.plots {
        plots.push([table, x, y].map(|text| Cell::from(text.as_str())).into_iter().chain([by.clone().into()]).collect::<Vec<_>>());
    }
    outcome.tables.iter().cloned().chain([headline, convention, plots]).collect()
}

fn column(kind: &'static str, (before, again): (&DataTable, &DataTable), name: &str, tolerance: f64) -> Compared {
    let cells = before.rows.len().max(again.rows.len());
    // The headline's figures have different units, so they have no median.
    let median = if before.name == "headline" { 0.0 } else { median_magnitude(before, name) };
    let (mut differing, mut largest) = (0, 0.0_f64);
    for row in 0..cells {
        let agrees = match (before.cell(row, name), again.cell(row, name)) {
            (Some(Cell::Number(a)), Some(Cell::Number(b))) => {
                let apart = apart(*a, *b, median);
                largest = largest.max(apart);
                apart <= tolerance
            }
            (Some(a), Some(b)) => a == b,
            _ => false,
        };
        differing += usize::from(!agrees);
    }
    Compared { kind, table: before.name.clone(), column: name.into(), cells, differing, largest }
}

/// Relative error, in the last digit, of reading a number from JSON.
const READ: f64 = 1e-15;

fn apart(a: f64, b: f64, median: f64) -> f64 {
    let has_overflowed = |number: f64| number.abs() >= f64::from(Evaluation::OVERFLOW);
    match (has_overflowed(a), has_overflowed(b)) {
        (false, false) if (a - b).abs() <= READ * a.abs() => 0.0,
        (false, false) => (a - b).abs() / a.abs().max(b.abs()).max(median),
        (true, true) if a.signum() == b.signum() => 0.0,
        _ => 1.0,
    }
}

/// Returns the median magnitude of a column's numbers that are neither 0 nor overflowed; 0 if there are none.
fn median_magnitude(table: &DataTable, name: &str) -> f64 {
    let numbers = (0..table.rows.len()).filter_map(|row| table.cell(row, name)?.number());
    let mut sizes =
        numbers.map(f64::abs).filter(|size| (f64::MIN_POSITIVE..f64::from(Evaluation::OVERFLOW)).contains(size)).collect::<Vec<_>>();
    sizes.sort_by(f64::total_cmp);
    sizes.get(sizes.len() / 2).copied().unwrap_or_default()
}

/// Prints the comparison in words, and returns `true` if everything agrees.
pub fn report(compared: &[Compared], tolerance: f64) -> bool {
    for of in compared.iter().filter(|of| of.differing > 0) {
        let by = if of.largest > tolerance { format!(", by {:.1e} at most", of.largest) } else { String::new() };
        print::text(&format!("{}, table {}, {}: {} of {} cells differ{by}", of.kind, of.table, of.column, of.differing, of.cells));
    }
    let cells = compared.iter().map(|of| of.cells).sum::<usize>();
    let differing = compared.iter().map(|of| of.differing).sum::<usize>();
    let largest = compared.iter().map(|of| of.largest).fold(0.0, f64::max);
    print::text(&match (differing, largest) {
        (0, 0.0) => format!("reproduced: all of {cells} cells are the same"),
        (0, _) => format!("reproduced: 0 of {cells} cells differ by more than {tolerance:.0e}; the largest distance is {largest:.1e}"),
        _ => format!(
            "not reproduced: {differing} of {cells} cells differ by more than {tolerance:.0e}; the largest distance is {largest:.1e}"
        ),
    });
    agrees(compared)
}

pub fn agrees(compared: &[Compared]) -> bool {
    compared.iter().all(|of| of.differing == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::{BackendInfo, Experiment, ExperimentKind, ModelRef, PlotKind};

    fn table(rows: &[(f64, &str)]) -> DataTable {
        let mut table = DataTable::new("loss", "Loss", &["arm", "loss (nats)"]);
        rows.iter().for_each(|(loss, arm)| table.push([(*arm).into(), (*loss).into()]));
        table
    }

    fn outcome(tables: Vec<DataTable>) -> Outcome {
        Outcome {
            experiment: Experiment::with_defaults(ExperimentKind::Scaling, Vec::new()),
            model: ModelRef::new("m", "r"),
            backend: BackendInfo { kind: "cpu".into(), name: "cpu".into(), reason: String::new() },
            software: "linchpin".into(),
            convention: Some("concat".into()),
            findings: Vec::new(),
            headline: Vec::new(),
            tables,
            plots: vec![DataPlot::new(PlotKind::Lines, "Loss", "loss", "arm", "loss")],
            is_partial: false,
        }
    }

    fn differing(before: &Outcome, again: &Outcome) -> Vec<(String, String, usize, usize)> {
        let compared = compare(before, again, 1e-3).into_iter().filter(|of| of.differing > 0);
        compared.map(|of| (of.table, of.column, of.differing, of.cells)).collect()
    }

    #[test]
    fn figure_is_compared_by_itself_or_its_column() {
        let before = table(&[(10.0, "a"), (0.001, "b"), (9.0, "c"), (1e5, "d")]);
        let of = |rows: &[(f64, &str)], name: &str| column("scaling", (&before, &table(rows)), name, 1e-3).differing;
        let with = |at: usize, loss: f64| {
            let mut rows = [(10.0, "a"), (0.001, "b"), (9.0, "c"), (1e5, "d")];
            rows[at].0 = loss;
            of(&rows, "loss")
        };
        assert_eq!([with(0, 10.009), with(0, 10.011), with(1, 0.002), with(3, 1e5 + 99.0), with(3, 1e5 + 101.0)], [0, 1, 0, 0, 1]);
        // An overflowed number does not count in the median.
        assert_eq!(with(0, f64::from(f32::MAX)), 1);
        let before = table(&[(f64::from(f32::MAX), "a"), (3.0, "b")]);
        let again = |loss| column("scaling", (&before, &table(&[(f64::from(f32::MAX), "a"), (loss, "b")])), "loss", 1e-3).differing;
        assert_eq!([again(3.0), again(4.0)], [0, 1]);
    }

    #[test]
    fn parts_that_only_one_export_has_differ() {
        let rows = [(1.0, "a"), (2.0, "b")];
        let before = outcome(vec![table(&rows)]);
        assert!(differing(&before, &before).is_empty());
        let expected = [("loss".into(), "arm".into(), 2, 2), ("loss".into(), "loss".into(), 2, 2)];
        assert_eq!(differing(&before, &outcome(Vec::new())), expected);
        assert_eq!(differing(&outcome(Vec::new()), &before), expected);
        let mut wider = before.clone();
        wider.tables[0].columns.push(Column::new("tokens", ""));
        wider.tables[0].rows.iter_mut().for_each(|row| row.push(Cell::Nothing));
        assert_eq!(differing(&before, &wider), [("loss".into(), "tokens".into(), 2, 2)]);
        let longer = outcome(vec![table(&[(1.0, "a"), (2.0, "b"), (3.0, "c")])]);
        assert_eq!(differing(&before, &longer).len(), 2);
        assert!(differing(&Outcome { is_partial: true, ..before.clone() }, &longer).is_empty());
        assert_eq!(differing(&before, &Outcome { plots: Vec::new(), ..before.clone() })[0], ("plots".into(), "table".into(), 1, 1));
        let other = Outcome { convention: Some("passages".into()), ..before.clone() };
        assert_eq!(differing(&before, &other), [("convention".into(), "convention".into(), 1, 1)]);
    }
}
