//! The table of removals by rules.

use super::Measurement;
use super::names::{pick_fields, replacement_id};
use crate::terms::{Cell, DataTable, Evaluation, ModelRef, Notation, Pruning, Selection, SweepPoint};

/// The columns that identify the removal and its measurement. No two rows of a table agree in all of them.
const KEYS: [&str; 16] = [
    "model",
    "revision",
    "backend",
    "pick",
    "method",
    "share",
    "replace",
    "seed",
    "layer",
    "rho",
    "eta",
    "support",
    "sequences",
    "length",
    "text",
    "text_digest",
];
const FIGURES: [&str; 8] = [
    "n_removed",
    "digest",
    "loss_nats (nats)",
    "perplexity",
    "stopword_mass (probability)",
    "intact_loss_nats (nats)",
    "intact_perplexity",
    "calibration_digest",
];

/// The table without rows. A row has the cells of [`key`], then those of [`figures`].
pub fn columns() -> DataTable {
    let table = DataTable::new("points", "removals_by_rules", &[&KEYS[..], &FIGURES].concat());
    table.with_notation(Notation::Quoted, &["model", "backend", "text"])
}

pub fn key(Pruning { selection, replacement }: &Pruning, of: &Measurement<'_>) -> Vec<Cell> {
    let Selection { pick, rho, eta, support, layer, seed } = *selection;
    let (pick, method, share) = pick_fields(pick);
    let mut cells = vec![of.model.id.as_str().into(), of.model.reading().into(), of.backend.into()];
    cells.extend::<[Cell; 4]>([pick.into(), method.into(), share.into(), replacement_id(*replacement).into()]);
    cells.extend::<[Cell; 5]>([seed.into(), layer.into(), rho.into(), eta.into(), support.into()]);
    cells.extend(of.texts());
    cells
}

pub fn figures(SweepPoint { pruned, evaluation }: &SweepPoint, intact: Option<&Evaluation>) -> Vec<Cell> {
    let Evaluation { loss_nats, perplexity, stopword_mass, .. } = *evaluation;
    vec![
        pruned.n_channels.into(),
        pruned.digest.as_str().into(),
        loss_nats.into(),
        perplexity.into(),
        stopword_mass.into(),
        intact.map(|intact| intact.loss_nats).into(),
        intact.map(|intact| intact.perplexity).into(),
        pruned.calibration.text_digest.as_str().into(),
    ]
}

/// The points of a report. Their calibrations replace the requested numbers of sequences.
pub fn points(points: &[SweepPoint], model: &ModelRef, backend: Option<&str>, intact: Option<&Evaluation>) -> DataTable {
    let mut table = columns();
    for point in points {
        let calibration = &point.pruned.calibration;
        let (sequences, length, text) = (calibration.n_requested, calibration.length, &point.evaluation.convention);
        let of = Measurement { model, backend, sequences, length, text, text_digest: None };
        table.push([key(&point.pruned.pruning, &of), figures(point, intact)].concat());
    }
    table
}

/// The columns in which the points of one report differ.
pub const DIFFERING: [&str; 11] =
    ["pick", "method", "share", "eta", "replace", "seed", "layer", "n_removed", "loss_nats", "perplexity", "digest"];

#[cfg(test)]
mod tests {
    use super::super::tests::{calibration, evaluation, model};
    use super::*;
    use crate::terms::{Pick, Pruned, Ranking, Replacement};

    #[test]
    fn points_are_rows_as_the_command_appends_them() {
        let ranked = Selection { support: Some(12), ..Selection::new(Pick::Lowest { by: Ranking::Protected, share: 0.5 }) };
        let halo = Selection { layer: Some(2), seed: u64::MAX, ..Selection::new(Pick::Halo) };
        let prunings = [(ranked, Replacement::Zero), (halo, Replacement::Mean)];
        let point = |(selection, replacement)| {
            let pruned = Pruned::of(Pruning { selection, replacement }, calibration(), &[vec![3, 4]]);
            SweepPoint { pruned, evaluation: Evaluation { perplexity: Evaluation::OVERFLOW, ..evaluation(3.5) } }
        };
        let csv = points(&prunings.map(point), &model(), Some("cpu"), Some(&evaluation(3.0))).to_csv();
        let lines = csv.lines().collect::<Vec<_>>();
        let (digest, rest) = (
            Pruned::of(Pruning { selection: ranked, replacement: Replacement::Zero }, calibration(), &[vec![3, 4]]).digest,
            "3.5,340282350000000000000000000000000000000,0,3,20.085537,00112233445566aa",
        );
        assert_eq!(
            lines[0],
            "model,revision,backend,pick,method,share,replace,seed,layer,rho,eta,support,sequences,length,text,text_digest,n_removed,digest,\
             loss_nats,perplexity,stopword_mass,intact_loss_nats,intact_perplexity,calibration_digest"
        );
        let text = "64,512,\"h, \"\"t\"\"\",";
        assert_eq!(lines[1], format!("\"m\",0011223344556677,\"cpu\",lowest,scar-prot,0.5,zero,1,,0.01,0.1,12,{text},2,{digest},{rest}"));
        assert_eq!(
            lines[2],
            format!("\"m\",0011223344556677,\"cpu\",halo,,,mean,18446744073709551615,2,0.01,0.1,,{text},2,{digest},{rest}")
        );
        assert!(DIFFERING.iter().all(|name| columns().column(name).is_some()));
    }
}
