//! Samples of removals that are measured.

use super::{calibration, evaluation, model, parse, pruned};
use crate::terms::{Deletion, DeletionReport, Replacement, SweepPoint};

pub(super) fn sweep_point() -> SweepPoint {
    SweepPoint { pruned: pruned(), evaluation: evaluation() }
}

pub(super) fn deletion() -> Deletion {
    Deletion { layer: 1, channel: 2, loss_proxy: 0.5, quantile: 3, delta_nats: -0.1 }
}

pub(super) fn deletions() -> DeletionReport {
    let correlation = r#"{"layer":1,"n":2,"spearman":0.5,"n_positive":1,"spearman_positive":null}"#;
    DeletionReport {
        model: model(),
        calibration: calibration(),
        intact: evaluation(),
        n_quantiles: 8,
        seed: 3,
        replacement: Replacement::Zero,
        deletions: vec![deletion()],
        correlations: vec![parse(correlation)],
    }
}
