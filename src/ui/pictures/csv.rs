//! The charts' data as CSV (RFC 4180).

use crate::terms::{ArmKind, Candidate, ConfirmArm, Spike};

/// A CSV text with a head and rows.
pub fn csv(head: &[String], rows: &[Vec<String>]) -> String {
    let mut csv = Csv(String::new());
    csv.row(head.iter().cloned());
    rows.iter().for_each(|row| csv.row(row.iter().cloned()));
    csv.0
}

pub fn spikes_csv(spikes: &[Spike], after: &[Spike]) -> String {
    let mut csv = Csv::new(&["layer", "channel", "token", "token_text", "value", "ratio_to_median", "value_after_removal"]);
    for spike in spikes {
        let after = after.iter().find(|other| other.layer == spike.layer).map(|spike| spike.value.to_string());
        csv.row([
            spike.layer.to_string(),
            spike.channel.to_string(),
            spike.token.to_string(),
            text(&spike.token_text),
            spike.value.to_string(),
            spike.ratio.to_string(),
            after.unwrap_or_default(),
        ]);
    }
    csv.0
}

pub fn candidates_csv(candidates: &[Candidate]) -> String {
    let mut csv =
        Csv::new(&["layer", "row", "col", "weight", "input", "output", "token", "ratio_to_median", "share_of_output", "iteration"]);
    for c in candidates {
        csv.row([
            c.at.layer.to_string(),
            c.at.row.to_string(),
            c.at.col.to_string(),
            c.weight.to_string(),
            c.input.to_string(),
            c.output.to_string(),
            c.token.to_string(),
            c.ratio.to_string(),
            c.share.to_string(),
            c.iteration.to_string(),
        ]);
    }
    csv.0
}

pub fn arms_csv(arms: &[ConfirmArm]) -> String {
    let mut csv = Csv::new(&["kind", "label", "layer", "row", "col", "n_zeroed", "loss_nats", "delta_nats"]);
    for arm in arms {
        let at = |get: fn(&crate::terms::WeightCoord) -> usize| arm.at.as_ref().map(|at| get(at).to_string()).unwrap_or_default();
        csv.row([
            kind(arm.kind),
            text(&arm.label),
            at(|at| at.layer),
            at(|at| at.row),
            at(|at| at.col),
            arm.n_zeroed.to_string(),
            arm.loss_nats.to_string(),
            arm.delta_nats.to_string(),
        ]);
    }
    csv.0
}

/// The kind's name in the JSON export.
fn kind(kind: ArmKind) -> String {
    serde_json::to_string(&kind).unwrap_or_default().trim_matches('"').into()
}

/// Model text as a JSON string: line breaks stay on one line, and no spreadsheet takes it for a formula.
fn text(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

struct Csv(String);

impl Csv {
    fn new(head: &[&str]) -> Self {
        let mut csv = Self(String::new());
        csv.row(head.iter().map(ToString::to_string));
        csv
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        for (i, cell) in cells.into_iter().enumerate() {
            if i > 0 {
                self.0.push(',');
            }
            if cell.contains([',', '"', '\n', '\r']) {
                self.0.push_str(&format!("\"{}\"", cell.replace('"', "\"\"")));
            } else {
                self.0.push_str(&cell);
            }
        }
        self.0.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_text_stays_in_its_cell_and_is_no_formula() {
        let spike = Spike { layer: 1, token: 0, token_text: "=1,\"\n".into(), channel: 2, value: -3.5, ratio: 7.0 };
        let csv = spikes_csv(std::slice::from_ref(&spike), &[]);
        assert_eq!(csv.lines().nth(1).unwrap(), r#"1,2,0,"""=1,\""\n""",-3.5,7,"#);
    }
    #[test]
    fn kinds_of_arms_are_called_as_in_the_json() {
        let arm = |kind| ConfirmArm { kind, label: "l".into(), at: None, n_zeroed: 1, loss_nats: 3.5, delta_nats: 0.5 };
        let csv = arms_csv(&[arm(ArmKind::RandomScalar), arm(ArmKind::Intact)]);
        let kinds: Vec<_> = csv.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
        assert_eq!(kinds, ["random_scalar", "intact"]);
    }
}
