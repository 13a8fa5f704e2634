//! Appendix A.5: attention sinks and massive activations, with and without the super weights.
//! [`analysis::sinks`](crate::analysis::sinks) defines both.

use super::{Bench, Draft, ExperimentError};
use crate::analysis::sinks::{self, MASSIVE, SINK_THRESHOLD, Sinks};
use crate::job::SettingError;
use crate::terms::{Ablation, Cell, DataPlot, DataTable, PlotKind};

const ARMS: [&str; 2] = ["intact", "removed"];

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>) -> Result<(), ExperimentError> {
    let experiment = draft.outcome.experiment.clone();
    let ids = bench.tokenizer.encode(&experiment.prompt)?;
    if ids.len() < 2 {
        return Err(SettingError { key: "the number of the prompt's tokens", got: ids.len().to_string(), expected: "2 or more" }.into());
    }
    begin(draft);
    let n_layers = bench.model.layers.len();
    let mut measured = Vec::new();
    for (index, arm) in ARMS.into_iter().enumerate() {
        let zeroed = if index == 0 { Vec::new() } else { experiment.super_weights.clone() };
        let model = bench.model.with_ablation(&Ablation::zeroing(zeroed))?;
        let doing = format!("attention and residual stream, {arm}");
        let progress = |done: usize| bench.control.progress(&doing, (index * n_layers + done) as f64, (2 * n_layers) as f64, "steps");
        let found = sinks::sinks(&model, &ids, bench.control, progress).await?;
        bench.check_gpu()?;
        push(draft, arm, &found);
        draft.tell();
        measured.push(found);
    }
    if let [intact, removed] = &measured[..] {
        conclude(draft, intact, removed);
    }
    let windows = &bench.model.config.sliding_window;
    let hidden = windows.iter().filter(|window| window.is_some_and(|window| window < ids.len())).count();
    if hidden > 0 {
        draft.find(format!(
            "In {hidden} of {n_layers} layers a window hides the first token from the last ones, which counts as no attention."
        ));
    }
    Ok(())
}

fn begin(draft: &mut Draft<'_>) {
    let on_first = DataTable::new(
        "sinks",
        "Mean attention on the first token, of all queries but the first",
        &["layer", "head", "intact (probability)", "removed (probability)"],
    );
    let columns = ["arm", "layer", "token", "channel", "value", "median", "ratio", "is_massive"];
    let massive = DataTable::new("massive", "The largest value behind each layer, and the median magnitude there", &columns);
    draft.outcome.tables.extend([on_first, massive]);
    let map = |title, y| DataPlot::new(PlotKind::Heatmap, title, "sinks", "layer", y).by("head");
    let mut ratio = DataPlot::new(PlotKind::Lines, "Largest value over the median", "massive", "layer", "ratio").by("arm");
    (ratio.log_y, ratio.levels) = (true, vec![(f64::from(MASSIVE.1), "massive".into())]);
    draft.outcome.plots.extend([
        map("Attention on the first token: intact", "intact"),
        map("The same: super weights removed", "removed"),
        ratio,
    ]);
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
    let verdict = match (before, after) {
        (0, 0) => "this model has no attention sinks on this prompt".to_owned(),
        (0, _) => "sinks appear that were not there".to_owned(),
        (_, 0) => "no sink is left".to_owned(),
        _ if after >= before => "the sinks persist, all of them in number".to_owned(),
        _ => format!("{:.0} % of their number persist", 100.0 * after as f64 / before as f64),
    };
    let persisting = intact.on_first.iter().flatten().zip(removed.on_first.iter().flatten());
    let same = persisting.filter(|(before, after)| **before > SINK_THRESHOLD && **after > SINK_THRESHOLD).count();
    draft.find(format!(
        "{before} of {heads} heads are sinks of the first token, and {after} with the super weights removed ({same} of them the same heads): {verdict}. (The paper: sinks persist.)"
    ));
    draft.find(format!(
        "A sink's mean attention on the first token is above {SINK_THRESHOLD}; a head that looks everywhere alike has {:.3} over these {} \
         tokens. With the first query, which sees only itself, counted as in arXiv:2410.10781, the sinks are {} and {}; there texts have 64 tokens.",
        sinks::uniform(intact.n_tokens),
        intact.n_tokens,
        intact.as_published(),
        removed.as_published()
    ));
    draft.headline("sink heads, intact", before as f64);
    draft.headline("sink heads, removed", after as f64);
    for (arm, found) in ARMS.into_iter().zip([intact, removed]) {
        let Some((layer, most)) = found.massive.iter().enumerate().max_by(|a, b| a.1.ratio().total_cmp(&b.1.ratio())) else { continue };
        let count = found.massive.iter().filter(|most| most.is_massive()).count();
        draft.find(format!(
            "{}, the largest value stands out most behind layer {layer}: {:.2} at token {}, channel {}, {:.0} times the median. By the criterion \
             of arXiv:2402.17762 (above {} and {} times the median) {} massive.",
            if arm == ARMS[0] { "Intact" } else { "With the super weights removed" },
            most.value,
            most.token,
            most.channel,
            most.ratio(),
            MASSIVE.0,
            MASSIVE.1,
            if count == 0 { "no layer's is".into() } else { format!("those of {count} of {} layers are", found.massive.len()) }
        ));
        draft.headline(format!("largest value over the median, {arm}"), f64::from(most.ratio()));
        draft.headline(format!("layers with massive activations, {arm}"), count as f64);
    }
}
