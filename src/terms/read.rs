//! How the nouns are read from a [`Tree`], field by field as their derived readers do; a test compares the two.

use super::{
    Ablation, Action, ArmKind, BackendInfo, Calibration, Candidate, ChannelScores, Concentration, ConfirmArm, ConfirmReport, Deletion,
    DeletionCorrelation, DeletionReport, EditTarget, Evaluation, Fields, FileProof, Finish, FitCheck, FitKind, FromTree, Generated,
    Inspection, Intervention, LayerSurroundings, Metric, ModelInfo, ModelRef, Overlap, Pane, Pick, Provenance, Pruned, Pruning, Ranking,
    Replacement, RowCoord, RowVerdict, RunRecord, RunSetup, Sampling, ScanReport, ScoreProgress, ScoreReport, Selection, ShareSummary,
    Site, Spike, StoredModel, SuperWeightRank, Supernodes, SurroundingsReport, SweepPoint, SweepReport, Tree, Verdict, WeightCoord,
    WeightEdit, names, structures,
};

structures! {
    WeightCoord { layer, row, col }
    Ablation { weight_edits, interventions, pruning }
    Sampling { temperature, top_k, top_p, seed, max_new_tokens }
    ModelRef { id, revision }
    RunSetup { model, prompt, sampling, ablation }
    Spike { layer, token, token_text, channel, value, ratio }
    Candidate { at, weight, input, output, token, ratio, share, iteration }
    BackendInfo { kind, name, reason }
    ModelInfo {
        model, architecture, num_parameters, num_hidden_layers, hidden_size, intermediate_size, vocab_size, max_position_embeddings,
        weight_bytes, backend, sampling, provenance
    }
    ScanReport { model, prompt, tokens, inputs, outputs, candidates, stopped, outputs_after }
    ConfirmArm { kind, label, at, n_zeroed, loss_nats, delta_nats }
    Verdict { at, confirmed, because }
    ConfirmReport { model, convention, n_tokens, arms, verdicts, rows }
    Evaluation { loss_nats, perplexity, stopword_mass, n_tokens, convention }
    Generated { token_ids, text, repetition, stopword_mass, tokens_per_sec, finish }
    RunRecord { setup, backend, intact, ablated, first_difference, pruned, digest }
    FileProof { name, size, sha256, verified }
    Inspection { id, architecture, num_parameters, file_bytes, to_fetch, weight_bytes, backend, fits, checks, advice }
    FitCheck { kind, what, needed, limit, ok }
    StoredModel { key, origin, commit, bytes, total }
    RowCoord { layer, row }
    RowVerdict { at, confirmed, delta_nats, control_nats }
    Selection { pick, rho, eta, support, layer, seed }
    Pruning { selection, replacement }
    Pruned { pruning, calibration, by_layer, n_channels, digest }
    ChannelScores {
        layer, loss_proxy, mean_activation, activation_power, variance, peak_activation, curvature, taylor, down_norm, gate_norm, up_norm, wanda
    }
    Concentration { layer, shares, curve }
    ShareSummary { rho, median, smallest, largest }
    Supernodes { layer, channels }
    Overlap { layer, metric, jaccard, spearman }
    SuperWeightRank { at, rank, share }
    Calibration { convention, text_digest, length, n_sequences, n_requested, n_tokens, loss_nats }
    ScoreProgress { calibration, concentration }
    ScoreReport { model, calibration, rhos, core_sizes, concentration, summary, supernodes, overlaps, super_weights, channels }
    LayerSurroundings { layer, core, support, halo, connections, redundancy, protect, plane }
    SurroundingsReport { model, calibration, rho, eta, n_support, layers }
    SweepPoint { pruned, evaluation }
    SweepReport { model, intact, points }
    Deletion { layer, channel, loss_proxy, quantile, delta_nats }
    DeletionCorrelation { layer, n, spearman, n_positive, spearman_positive }
    DeletionReport { model, calibration, intact, n_quantiles, seed, replacement, deletions, correlations }
}

names! {
    ArmKind {
        "intact" Intact, "candidate" Candidate, "jointly" Jointly, "random_scalar" RandomScalar, "largest_weights" LargestWeights,
        "channel" Channel, "channel_mean" ChannelMean, "row" Row, "next_row" NextRow
    }
    Pane { "intact" Intact, "ablated" Ablated }
    Finish { "length" Length, "eos" Eos, "stopped" Stopped, "context" Context }
    FitKind { "buffer" Buffer, "memory" Memory, "storage" Storage }
    Site {
        "resid_pre" ResidPre, "down_proj_input" DownProjInput, "down_proj_output" DownProjOutput, "resid_post" ResidPost
    }
    Ranking {
        "loss_proxy" LossProxy, "protected" Protected, "connected" Connected, "random" Random, "magnitude" Magnitude,
        "activation_power" ActivationPower, "wanda" Wanda, "taylor" Taylor, "fluctuation" Fluctuation
    }
    Metric {
        "loss_proxy" LossProxy, "activation_power" ActivationPower, "peak_activation" PeakActivation, "curvature" Curvature,
        "taylor" Taylor, "down_norm" DownNorm, "gate_norm" GateNorm, "up_norm" UpNorm, "wanda" Wanda
    }
}

impl FromTree for Replacement {
    /// Documents of before there was a choice have none.
    fn from_tree(tree: Tree) -> Option<Self> {
        match tree {
            Tree::Nothing => Some(Self::Zero),
            Tree::Text(name) if name == "zero" => Some(Self::Zero),
            Tree::Text(name) if name == "mean" => Some(Self::Mean),
            _ => None,
        }
    }
}

impl FromTree for Provenance {
    /// Recordings of before it was kept have none.
    fn from_tree(tree: Tree) -> Option<Self> {
        if tree == Tree::Nothing {
            return Some(Self::default());
        }
        let mut fields = Fields::from(tree);
        let (origin, commit, files) = (fields.get("origin")?, fields.get("commit")?, fields.get("files")?);
        let (stored, notes) = (fields.get("stored")?, fields.get("notes")?);
        fields.done(Self { origin, commit, files, stored, notes })
    }
}

impl FromTree for WeightEdit {
    fn from_tree(tree: Tree) -> Option<Self> {
        let mut fields = Fields::from(tree);
        let (layer, scale) = (fields.get("layer")?, fields.get("scale")?);
        let target = match fields.text("unit").as_str() {
            "scalar" => EditTarget::Scalar { layer, row: fields.get("row")?, col: fields.get("col")? },
            "row" => EditTarget::Row { layer, row: fields.get("row")? },
            "column" => EditTarget::Column { layer, col: fields.get("col")? },
            "channel" => EditTarget::Channel { layer, channel: fields.get("channel")? },
            "channel_mean" => EditTarget::ChannelMean { layer, channel: fields.get("channel")? },
            _ => return None,
        };
        Some(Self { target, scale })
    }
}

impl FromTree for Intervention {
    fn from_tree(tree: Tree) -> Option<Self> {
        let mut fields = Fields::from(tree);
        let value = fields.get("value")?;
        let action = match fields.text("action").as_str() {
            "scale" => Action::Scale(value),
            "set" => Action::Set(value),
            _ => return None,
        };
        let [layer, token, channel] = ["layer", "token", "channel"].map(|name| fields.get(name));
        Some(Self { site: fields.get("site")?, layer: layer?, token: token?, channel: channel?, action })
    }
}

impl FromTree for Pick {
    fn from_tree(tree: Tree) -> Option<Self> {
        let mut fields = Fields::from(tree);
        Some(match fields.text("type").as_str() {
            "core" => Self::Core,
            "halo" => Self::Halo,
            "matched" => Self::Matched,
            "random" => Self::Random,
            "lowest" => Self::Lowest { by: fields.get("by")?, share: fields.get("share")? },
            "highest" => Self::Highest { by: fields.get("by")?, share: fields.get("share")? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    /// Both readers make of this JSON what was written; the tree's refuses it without any of its numbers.
    fn both<T: FromTree + DeserializeOwned + Serialize + PartialEq + Debug>(json: &str) {
        let derived = serde_json::from_str::<T>(json).unwrap();
        let read = |json: &str| T::from_tree(Tree::read(&mut serde_json::Deserializer::from_str(json), "tree", Some).unwrap());
        assert_eq!(read(json).as_ref(), Some(&derived), "{json}");
        assert_eq!(read(&serde_json::to_string(&derived).unwrap()), Some(derived));
        assert_eq!(read("7"), None);
    }

    #[test]
    fn both_readers_read_the_same() {
        let calibration =
            r#"{"convention":"c","text_digest":"d","length":4,"n_sequences":2,"n_requested":3,"n_tokens":8,"loss_nats":3.25}"#;
        let model = r#"{"id":"a","revision":"b"}"#;
        let evaluation = r#"{"loss_nats":1.5,"perplexity":4.5,"stopword_mass":0.25,"n_tokens":9,"convention":"c"}"#;
        let pick = r#"{"type":"highest","by":"activation_power","share":0.125}"#;
        let pruning =
            format!(r#"{{"selection":{{"pick":{pick},"rho":0.01,"eta":0.1,"support":16,"layer":2,"seed":7}},"replacement":"mean"}}"#);
        let pruned = format!(r#"{{"pruning":{pruning},"calibration":{calibration},"by_layer":[1,0],"n_channels":1,"digest":"d"}}"#);
        both::<Calibration>(calibration);
        both::<SweepReport>(&format!(
            r#"{{"model":{model},"intact":{evaluation},"points":[{{"pruned":{pruned},"evaluation":{evaluation}}}]}}"#
        ));
        both::<Ablation>("{}");
        both::<Ablation>(&format!(
            r#"{{"weight_edits":[{{"unit":"scalar","layer":2,"row":12,"col":86,"scale":0.1}},{{"unit":"channel","layer":3,"channel":9,"scale":1}},{{"unit":"channel_mean","layer":3,"channel":9,"scale":0}},
            {{"unit":"row","layer":3,"row":9,"scale":1}},{{"unit":"column","layer":3,"col":9,"scale":1}}],
            "interventions":[{{"site":"resid_post","layer":1,"token":0,"channel":7,"action":"set","value":-2.5}}],"pruning":{pruning}}}"#
        ));
        both::<ScoreReport>(&format!(
            r#"{{"model":{model},"calibration":{calibration},"rhos":[0.01],"core_sizes":[4],"concentration":[{{"layer":1,"shares":[0.5],"curve":[[0,0],[1,1]]}}],
            "summary":[{{"rho":0.01,"median":0.5,"smallest":0.25,"largest":0.75}}],"supernodes":[{{"layer":0,"channels":[3]}}],
            "overlaps":[{{"layer":0,"metric":"up_norm","jaccard":[0.5],"spearman":null}}],"super_weights":[{{"at":{{"layer":2,"row":12,"col":86}},"rank":1,"share":0.5}}],
            "channels":[{{"layer":0,"loss_proxy":[1],"mean_activation":[2],"activation_power":[3],"variance":[4],"peak_activation":[5],"curvature":[6],
            "taylor":[7],"down_norm":[8],"gate_norm":[9],"up_norm":[10],"wanda":[11]}}]}}"#
        ));
        both::<SurroundingsReport>(&format!(
            r#"{{"model":{model},"calibration":{calibration},"rho":0.01,"eta":0.1,"n_support":16,"layers":[{{"layer":1,"core":[1],"support":[2],"halo":[3],
            "connections":[0.5],"redundancy":[0.25],"protect":[0.75],"plane":[[0.5,-0.5]]}}]}}"#
        ));
        both::<DeletionReport>(&format!(
            r#"{{"model":{model},"calibration":{calibration},"intact":{evaluation},"n_quantiles":8,"seed":3,
            "deletions":[{{"layer":1,"channel":2,"loss_proxy":0.5,"quantile":3,"delta_nats":-0.25}}],
            "correlations":[{{"layer":1,"n":2,"spearman":0.5,"n_positive":1,"spearman_positive":null}}]}}"#
        ));
        both::<ConfirmReport>(&format!(
            r#"{{"model":{model},"convention":"c","n_tokens":9,"arms":[{{"kind":"next_row","label":"l","at":null,"n_zeroed":1,"loss_nats":2,"delta_nats":1}}],
            "verdicts":[{{"at":{{"layer":2,"row":12,"col":86}},"confirmed":true,"because":"b"}}],
            "rows":[{{"at":{{"layer":2,"row":12}},"confirmed":false,"delta_nats":0.5,"control_nats":0.25}}]}}"#
        ));
        let backend = r#"{"kind":"cpu","name":"n","reason":"r"}"#;
        both::<Inspection>(&format!(
            r#"{{"id":"a","architecture":"b","num_parameters":1,"file_bytes":2,"to_fetch":3,"weight_bytes":4,"backend":{backend},"fits":true,
            "checks":[{{"kind":"storage","what":"w","needed":5,"limit":6,"ok":false}}],"advice":"d"}}"#
        ));
        both::<StoredModel>(r#"{"key":"k","origin":"o","commit":"c","bytes":1,"total":2}"#);
        both::<Provenance>(
            r#"{"origin":"o","commit":"c","files":[{"name":"n","size":5000000000,"sha256":"s","verified":true}],"stored":true,"notes":["n"]}"#,
        );
        both::<ScanReport>(&format!(
            r#"{{"model":{model},"prompt":"p","tokens":["t"],"inputs":[{{"layer":1,"token":2,"token_text":"x","channel":3,"value":-4.5,"ratio":5}}],"outputs":[],
            "candidates":[{{"at":{{"layer":2,"row":12,"col":86}},"weight":1,"input":2,"output":3,"token":4,"ratio":5,"share":6,"iteration":7}}],"stopped":"s",
            "outputs_after":[]}}"#
        ));
    }

    /// The recording that the page opens with holds a model's facts, a run and its evaluations.
    #[test]
    fn both_readers_read_the_recording() {
        let recorded: serde_json::Value = serde_json::from_str(include_str!("../../public/recorded/linchpin-13m.json")).unwrap();
        both::<ModelInfo>(&recorded["info"].to_string());
        both::<RunRecord>(&recorded["run"].to_string());
        both::<Vec<(Pane, Evaluation)>>(&recorded["evaluations"].to_string());
    }

    #[test]
    fn every_name_is_read() {
        fn all<T: FromTree + Serialize + PartialEq + Debug + Copy>(values: &[T]) {
            for value in values {
                let text = serde_json::to_value(value).unwrap();
                assert_eq!(T::from_tree(Tree::Text(text.as_str().unwrap().into())), Some(*value));
            }
            assert_eq!(T::from_tree(Tree::Text("none".into())), None);
        }
        use ArmKind::{Candidate, Channel, ChannelMean, Intact, Jointly, LargestWeights, NextRow, RandomScalar, Row};
        all(&Ranking::ALL);
        all(&Metric::ALL);
        all(&[Intact, Candidate, Jointly, RandomScalar, LargestWeights, Channel, ChannelMean, Row, NextRow]);
        all(&[Finish::Length, Finish::Eos, Finish::Stopped, Finish::Context]);
        all(&[Site::ResidPre, Site::DownProjInput, Site::DownProjOutput, Site::ResidPost]);
        all(&[FitKind::Buffer, FitKind::Memory, FitKind::Storage]);
        all(&[Replacement::Zero, Replacement::Mean]);
        all(&[Pane::Intact, Pane::Ablated]);
    }
}
