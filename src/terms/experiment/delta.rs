//! The growth of an outcome: while an experiment runs, each arm sends only its additions, not the whole outcome
//! again.

use serde::{Deserialize, Serialize};

use super::{Experiment, ExperimentKind, Headline, Outcome};
use crate::terms::{Cell, DataPlot, DataTable, Message};

/// The new end of a list: the first `kept` items stay, and `added` follows. If an item changes, the list is sent
/// again from there on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tail<T> {
    pub kept: usize,
    pub added: Vec<T>,
}

impl<T: Clone + PartialEq> Tail<T> {
    fn between(before: &[T], after: &[T]) -> Self {
        let kept = before.iter().zip(after).take_while(|(before, after)| before == after).count();
        Self { kept, added: after[kept..].to_vec() }
    }

    fn apply(self, list: &mut Vec<T>) {
        list.truncate(self.kept);
        list.extend(self.added);
    }
}

/// The change of one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TableDelta {
    /// The table is new, or its columns changed.
    #[serde(rename = "table")]
    Table(DataTable),
    #[serde(rename = "rows")]
    Rows(Tail<Vec<Cell>>),
}

/// The difference between the outcome that was sent last and the current one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    pub kind: ExperimentKind,
    /// The experiment and the convention, if they became known only now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<(Experiment, Option<Message>)>,
    pub findings: Tail<Message>,
    pub headline: Tail<Headline>,
    /// One for each table of the current outcome.
    pub tables: Vec<TableDelta>,
    pub plots: Tail<DataPlot>,
    pub is_partial: bool,
}

impl Outcome {
    /// The difference from this outcome to a later state of the same one.
    pub fn delta_to(&self, later: &Self) -> Delta {
        let is_same_head = self.experiment == later.experiment && self.convention == later.convention;
        let table = |(at, later): (usize, &DataTable)| match self.tables.get(at).filter(|table| is_same_table(table, later)) {
            Some(table) => TableDelta::Rows(Tail::between(&table.rows, &later.rows)),
            None => TableDelta::Table(later.clone()),
        };
        Delta {
            kind: later.experiment.kind(),
            head: (!is_same_head).then(|| (later.experiment.clone(), later.convention.clone())),
            findings: Tail::between(&self.findings, &later.findings),
            headline: Tail::between(&self.headline, &later.headline),
            tables: later.tables.iter().enumerate().map(table).collect(),
            plots: Tail::between(&self.plots, &later.plots),
            is_partial: later.is_partial,
        }
    }

    /// Applies a difference that [`Self::delta_to`] computed for this state.
    pub fn apply(&mut self, delta: Delta) {
        if let Some(head) = delta.head {
            (self.experiment, self.convention) = head;
        }
        delta.findings.apply(&mut self.findings);
        delta.headline.apply(&mut self.headline);
        delta.plots.apply(&mut self.plots);
        self.tables.truncate(delta.tables.len());
        for (at, change) in delta.tables.into_iter().enumerate() {
            match (change, self.tables.get_mut(at)) {
                (TableDelta::Rows(rows), Some(table)) => rows.apply(&mut table.rows),
                (TableDelta::Table(new), Some(table)) => *table = new,
                (TableDelta::Table(new), None) => self.tables.push(new),
                (TableDelta::Rows(_), None) => {}
            }
        }
        self.is_partial = delta.is_partial;
    }
}

/// Returns `true` if two tables have the same name, title and columns.
fn is_same_table(one: &DataTable, other: &DataTable) -> bool {
    (&one.name, &one.title, &one.columns) == (&other.name, &other.title, &other.columns)
}
