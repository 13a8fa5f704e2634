//! The table of checkpoints.

use super::Measurement;
use crate::terms::{Cell, Checkpoint, DataTable, EditTarget, Notation, RHOS, WeightCoord};

/// The table without rows. A row has the cells of [`key`], then those of [`figures`].
pub fn columns() -> DataTable {
    let keys = ["name", "step", "revision", "backend", "scalar", "sequences", "length", "text", "text_digest"];
    let figures = [
        "held_out_loss_nats (nats)",
        "held_out_perplexity",
        "scalar_loss_nats (nats)",
        "scalar_delta_nats (nats)",
        "calibration_loss_nats (nats)",
    ];
    let shares = RHOS.map(|rho| ["median", "smallest", "largest"].map(|which| format!("{which}_share_{rho}")));
    let shares = shares.iter().flatten().map(String::as_str);
    let names = keys.into_iter().chain(figures).chain(shares).collect::<Vec<_>>();
    let table = DataTable::new("checkpoints", "checkpoints", &names);
    table.with_notation(Notation::Quoted, &["name", "backend", "scalar", "text"])
}

/// The key of a checkpoint, with its folder and its weights' revision; `scalar` is the zeroed one, in typed form.
pub fn key(name: &str, step: Option<u64>, scalar: Option<&str>, of: &Measurement<'_>) -> Vec<Cell> {
    let scalar = scalar.unwrap_or_default();
    let mut cells = vec![name.into(), step.into(), of.model.reading().into(), of.backend.into(), scalar.into()];
    cells.extend(of.texts());
    cells
}

pub fn figures(Checkpoint { calibration, summary, evaluation, zeroed, .. }: &Checkpoint) -> Vec<Cell> {
    let mut cells = vec![
        evaluation.loss_nats.into(),
        evaluation.perplexity.into(),
        zeroed.map(|zeroed| zeroed.loss_nats).into(),
        zeroed.map(|zeroed| zeroed.delta_nats).into(),
        calibration.loss_nats.into(),
    ];
    for rho in RHOS {
        let share = summary.iter().find(|share| share.rho == rho);
        cells
            .extend([share.map(|share| share.median), share.map(|share| share.smallest), share.map(|share| share.largest)].map(Cell::from));
    }
    cells
}

/// The checkpoints of a report. Their calibrations replace the requested numbers of sequences.
pub fn checkpoints(checkpoints: &[Checkpoint], backend: Option<&str>) -> DataTable {
    let mut table = columns();
    for checkpoint in checkpoints {
        let Checkpoint { name, step, model, calibration, evaluation, zeroed, .. } = checkpoint;
        let (sequences, length, text) = (calibration.n_requested, calibration.length, &evaluation.convention);
        let of = Measurement { model, backend, sequences, length, text, text_digest: None };
        let scalar = zeroed.map(|zeroed| named(zeroed.at));
        table.push([key(name, *step, scalar.as_deref(), &of), figures(checkpoint)].concat());
    }
    table
}

/// A scalar in the command's form.
fn named(at: WeightCoord) -> String {
    EditTarget::from(at).place().typed()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calibration, evaluation, model};
    use super::*;
    use crate::terms::{ShareSummary, Zeroed};

    #[test]
    fn checkpoints_are_rows_as_the_command_appends_them() {
        let summary = RHOS.map(|rho| ShareSummary { rho, median: 0.07, smallest: 0.04, largest: 1.0 / 3.0 }).to_vec();
        let zeroed = Zeroed { at: WeightCoord::new(1, 5, 17), loss_nats: 4.5, delta_nats: 0.5 };
        let first = Checkpoint {
            name: "seed-1/step-20".into(),
            step: Some(20),
            model: model(),
            calibration: calibration(),
            summary,
            evaluation: evaluation(4.0),
            zeroed: Some(zeroed),
        };
        let second = Checkpoint { name: "best".into(), step: None, zeroed: None, ..first.clone() };
        let csv = checkpoints(&[first, second], Some("cpu")).to_csv();
        let lines = csv.lines().collect::<Vec<_>>();
        assert_eq!(
            lines[0],
            "name,step,revision,backend,scalar,sequences,length,text,text_digest,held_out_loss_nats,held_out_perplexity,scalar_loss_nats,\
             scalar_delta_nats,calibration_loss_nats,median_share_0.005,smallest_share_0.005,largest_share_0.005,median_share_0.01,\
             smallest_share_0.01,largest_share_0.01,median_share_0.02,smallest_share_0.02,largest_share_0.02,median_share_0.05,\
             smallest_share_0.05,largest_share_0.05"
        );
        let (text, shares) = ("64,512,\"h, \"\"t\"\"\",", ",0.07,0.04,0.33333334".repeat(4));
        assert_eq!(lines[1], format!("\"seed-1/step-20\",20,0011223344556677,\"cpu\",\"1,5,17\",{text},4,54.59815,4.5,0.5,3.5{shares}"));
        assert_eq!(lines[2], format!("\"best\",,0011223344556677,\"cpu\",\"\",{text},4,54.59815,,,3.5{shares}"));
    }
}
