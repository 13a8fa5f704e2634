//! Tables of a scan and of a confirmation.

use crate::terms::{ArmKind, Candidate, Cell, ConfirmArm, DataTable, Message, Spike};

/// One spike of each layer; `after` has the spikes that remain with every candidate removed.
pub fn spikes(name: &str, title: impl Into<Message>, spikes: &[Spike], after: &[Spike]) -> DataTable {
    let columns = ["layer", "channel", "token", "token_text", "value", "ratio_to_median", "value_after_removal"];
    let mut table = DataTable::new(name, title, &columns);
    for spike in spikes {
        let after = after.iter().find(|other| other.layer == spike.layer).map(|spike| spike.value);
        table.push([
            spike.layer.into(),
            spike.channel.into(),
            spike.token.into(),
            text(&spike.token_text),
            spike.value.into(),
            spike.ratio.into(),
            after.into(),
        ]);
    }
    table
}

pub fn candidates(candidates: &[Candidate]) -> DataTable {
    let columns =
        ["layer", "row", "col", "weight", "input", "output", "token", "ratio_to_median", "share_of_output", "effect (nats)", "iteration"];
    let mut table = DataTable::new("candidates", "candidates", &columns);
    for c in candidates {
        table.push([
            c.at.layer.into(),
            c.at.row.into(),
            c.at.col.into(),
            c.weight.into(),
            c.input.into(),
            c.output.into(),
            c.token.into(),
            c.ratio.into(),
            c.share.into(),
            c.effect_nats.into(),
            c.iteration.into(),
        ]);
    }
    table
}

pub fn arms(arms: &[ConfirmArm]) -> DataTable {
    let columns = ["kind", "label", "layer", "row", "col", "n_zeroed", "loss_nats (nats)", "delta_nats (nats)"];
    let mut table = DataTable::new("arms", "loss_of_arms", &columns);
    for arm in arms {
        table.push([
            kind(arm.kind),
            arm.label.id().into(),
            arm.at.map(|at| at.layer).into(),
            arm.at.map(|at| at.row).into(),
            arm.at.map(|at| at.col).into(),
            arm.n_zeroed.into(),
            arm.loss_nats.into(),
            arm.delta_nats.into(),
        ]);
    }
    table
}

/// The kind's name in the JSON export.
fn kind(kind: ArmKind) -> Cell {
    serde_json::to_string(&kind).unwrap_or_default().trim_matches('"').into()
}

/// Model text as a JSON string, so that line breaks stay on one line and no spreadsheet reads it as a formula.
fn text(text: &str) -> Cell {
    serde_json::to_string(text).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_text_stays_in_its_cell_and_is_no_formula() {
        let spike = Spike { layer: 1, token: 0, token_text: "=1,\"\n".into(), channel: 2, value: -3.5, ratio: 7.0 };
        let csv = spikes("inputs", "", std::slice::from_ref(&spike), &[]).to_csv();
        assert_eq!(csv.lines().nth(1).unwrap(), r#"1,2,0,"""=1,\""\n""",-3.5,7,"#);
    }

    #[test]
    fn kinds_of_arms_are_called_as_in_the_json() {
        let arm = |kind| ConfirmArm { kind, label: "random".into(), at: None, n_zeroed: 1, loss_nats: 3.5, delta_nats: 0.5 };
        let csv = arms(&[arm(ArmKind::RandomScalar), arm(ArmKind::Intact)]).to_csv();
        assert_eq!(csv.lines().nth(1).unwrap(), "random_scalar,random,,,,1,3.5,0.5");
        assert!(csv.lines().nth(2).unwrap().starts_with("intact,"));
    }
}
