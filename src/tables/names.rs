//! Names of metrics, rankings and rules: for people in the papers' spelling, and for tables in the command's.

use crate::terms::{Metric, Pick, Ranking, Replacement};

/// The metric's name, for people.
pub fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::LossProxy => "loss proxy",
        Metric::ActivationPower => "activation power",
        Metric::PeakActivation => "activation outliers",
        Metric::Curvature => "gradient power",
        Metric::Taylor => "Taylor, |u·g|",
        Metric::DownNorm => "norm of down column",
        Metric::GateNorm => "norm of gate row",
        Metric::UpNorm => "norm of up row",
        Metric::Wanda => "Wanda",
    }
}

/// The metric's name in tables and exports: its field of [`ChannelScores`](crate::terms::ChannelScores).
pub fn metric_id(metric: Metric) -> &'static str {
    match metric {
        Metric::LossProxy => "loss_proxy",
        Metric::ActivationPower => "activation_power",
        Metric::PeakActivation => "peak_activation",
        Metric::Curvature => "curvature",
        Metric::Taylor => "taylor",
        Metric::DownNorm => "down_norm",
        Metric::GateNorm => "gate_norm",
        Metric::UpNorm => "up_norm",
        Metric::Wanda => "wanda",
    }
}

/// The ranking's name in the paper, or its measure's name, to follow "by".
pub fn ranking_name(ranking: Ranking) -> &'static str {
    match ranking {
        Ranking::LossProxy => "SCAR-LP",
        Ranking::Protected => "SCAR-Prot",
        Ranking::Connected => "SCAR-Conn",
        Ranking::Random => "random",
        Ranking::Magnitude => "weight norms",
        Ranking::ActivationPower => "activation power",
        Ranking::Wanda => "Wanda",
        Ranking::Taylor => "Taylor",
        Ranking::Fluctuation => "FLAP's fluctuation",
    }
}

/// The ranking's name in tables and in the command's `--method`.
pub fn ranking_id(ranking: Ranking) -> &'static str {
    match ranking {
        Ranking::LossProxy => "lp",
        Ranking::Protected => "scar-prot",
        Ranking::Connected => "scar-conn",
        Ranking::Random => "random",
        Ranking::Magnitude => "magnitude",
        Ranking::ActivationPower => "activation",
        Ranking::Wanda => "wanda",
        Ranking::Taylor => "taylor",
        Ranking::Fluctuation => "flap",
    }
}

/// The replacement's name in tables and in the command's `--replace`.
pub fn replacement_id(replacement: Replacement) -> &'static str {
    match replacement {
        Replacement::Zero => "zero",
        Replacement::Mean => "mean",
    }
}

/// A rule in tables: its name, and, for the lowest and the highest channels, the ranking and the share of each layer.
pub fn pick_fields(pick: Pick) -> (&'static str, Option<&'static str>, Option<f64>) {
    match pick {
        Pick::Core => ("core", None, None),
        Pick::Halo => ("halo", None, None),
        Pick::Matched => ("matched", None, None),
        Pick::Random => ("random", None, None),
        Pick::Lowest { by, share } => ("lowest", Some(ranking_id(by)), Some(share)),
        Pick::Highest { by, share } => ("highest", Some(ranking_id(by)), Some(share)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_metric_or_ranking_is_its_own() {
        let metrics = [Metric::ALL.map(metric_name), Metric::ALL.map(metric_id)];
        for mut names in metrics.into_iter().chain([Ranking::ALL.map(ranking_name), Ranking::ALL.map(ranking_id)]).map(Vec::from) {
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), 9);
        }
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric_id(metric));
        }
    }
}
