//! Appendix A.5: attention sinks and massive activations, with and without the super weights.
//! [`analysis::sinks`](crate::analysis::sinks) defines both.

use super::{Bench, Draft, ExperimentError};
use crate::analysis::sinks::{self, MASSIVE, SINK_THRESHOLD, Sinks};
use crate::job::SettingError;
use crate::terms::Sinks as Settings;
use crate::terms::{Ablation, Cell, DataPlot, DataTable, Message, PlotKind};

const ARMS: [&str; 2] = ["intact", "removed"];

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>, settings: &Settings) -> Result<(), ExperimentError> {
    let super_weights = draft.outcome.experiment.super_weights.clone();
    let ids = bench.tokenizer.encode(&settings.prompt)?;
    if ids.len() < 2 {
        return Err(SettingError { key: "the number of the prompt's tokens", got: ids.len().to_string(), expected: "2 or more" }.into());
    }
    begin(draft);
    let n_layers = bench.model.layers.len();
    let mut measured = Vec::new();
    for (index, arm) in ARMS.into_iter().enumerate() {
        let zeroed = if index == 0 { Vec::new() } else { super_weights.clone() };
        let model = bench.model.with_ablation(&Ablation::zeroing(zeroed))?;
        let doing = Message::new("sinks").with("arm", arm);
        let progress =
            |done: usize| bench.control.progress(doing.clone(), (index * n_layers + done) as f64, (2 * n_layers) as f64, "steps");
        let found = sinks::sinks(&model, &ids, bench.control, progress).await?;
        bench.check_gpu()?;
        push(draft, arm, &found);
        draft.send();
        measured.push(found);
    }
    if let [intact, removed] = &measured[..] {
        conclude(draft, intact, removed);
    }
    let windows = &bench.model.config.sliding_window;
    let hidden = windows.iter().filter(|window| window.is_some_and(|window| window < ids.len())).count();
    if hidden > 0 {
        draft.find(Message::new("sinks_hidden").with("hidden", hidden).with("layers", n_layers));
    }
    Ok(())
}

fn begin(draft: &mut Draft<'_>) {
    let on_first =
        DataTable::new("sinks", "attention_on_first_by_head", &["layer", "head", "intact (probability)", "removed (probability)"]);
    let columns = ["arm", "layer", "token", "channel", "value", "median", "ratio", "is_massive"];
    let massive = DataTable::new("massive", "massive_activations", &columns);
    draft.outcome.tables.extend([on_first, massive]);
    let map =
        |arm| DataPlot::new(PlotKind::Heatmap, Message::new("attention_on_first").with("arm", arm), "sinks", "layer", arm).split_by("head");
    let mut ratio = DataPlot::new(PlotKind::Lines, "largest_over_median", "massive", "layer", "ratio").split_by("arm");
    (ratio.log_y, ratio.levels) = (true, vec![(f64::from(MASSIVE.1), "massive".into())]);
    draft.outcome.plots.extend([map("intact"), map("removed"), ratio]);
}

fn push(draft: &mut Draft<'_>, arm: &str, found: &Sinks) {
    let [sinks, massive] = &mut draft.outcome.tables[..] else { return };
    let heads =
        found.on_first.iter().enumerate().flat_map(|(layer, heads)| heads.iter().enumerate().map(move |(head, on)| (layer, head, *on)));
    for (index, (layer, head, on_first)) in heads.enumerate() {
        match sinks.rows.get_mut(index) {
            Some(row) => row[3] = on_first.into(),
            None => sinks.push([layer.into(), head.into(), on_first.into(), Cell::Nothing]),
        }
    }
    for (layer, most) in found.massive.iter().enumerate() {
        let mut cells = vec![arm.into(), layer.into(), most.token.into(), most.channel.into()];
        cells.extend([most.value.into(), most.median.into(), most.ratio().into(), usize::from(most.is_massive()).into()]);
        massive.push(cells);
    }
}

fn conclude(draft: &mut Draft<'_>, intact: &Sinks, removed: &Sinks) {
    let (before, after, heads) = (intact.count(), removed.count(), intact.on_first.iter().flatten().count());
    let persisting = intact.on_first.iter().flatten().zip(removed.on_first.iter().flatten());
    let same = persisting.filter(|(before, after)| **before > SINK_THRESHOLD && **after > SINK_THRESHOLD).count();
    let found = Message::new("sink_heads").with("before", before).with("after", after).with("heads", heads);
    draft.find(found.with("same", same));
    let found = Message::new("sink_definition").with("threshold", SINK_THRESHOLD).with("uniform", sinks::uniform(intact.n_tokens));
    let found = found.with("tokens", intact.n_tokens);
    draft.find(found.with("published_before", intact.as_published()).with("published_after", removed.as_published()));
    draft.headline("sink_heads/intact", before as f64);
    draft.headline("sink_heads/removed", after as f64);
    for (arm, found) in ARMS.into_iter().zip([intact, removed]) {
        let Some((layer, most)) = found.massive.iter().enumerate().max_by(|a, b| a.1.ratio().total_cmp(&b.1.ratio())) else { continue };
        let count = found.massive.iter().filter(|most| most.is_massive()).count();
        let massive = Message::new("massive").with("arm", arm).with("layer", layer).with("value", most.value).with("token", most.token);
        let massive = massive.with("channel", most.channel).with("ratio", most.ratio());
        let massive = massive.with("least_value", MASSIVE.0).with("least_ratio", MASSIVE.1);
        draft.find(massive.with("count", count).with("layers", found.massive.len()));
        draft.headline(format!("massive_ratio/{arm}"), f64::from(most.ratio()));
        draft.headline(format!("massive_layers/{arm}"), count as f64);
    }
}
