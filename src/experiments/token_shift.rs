//! Figures 5 and 11: the shift of the next token's probabilities, as means over prompts that lack their last word.
//!
//! Stopwords are those of [`stopwords`], our own list, because the paper publishes none.

use super::{Bench, Draft, ExperimentError};
use crate::analysis::AnalysisError;
use crate::analysis::next_token::{NextToken, next_token};
use crate::analysis::tasks::EncodedTask;
use crate::analysis::{prompts, stopwords};
use crate::terms::{Ablation, Cell, DataPlot, DataTable, Message, PlotKind, Settings, TokenShift, text_digest};

const ARMS: [&str; 2] = ["intact", "removed"];
/// Number of reported tokens, ranked by probability in the intact model.
const BEFORE: usize = 50;
/// Number of reported tokens, ranked by probability without the super weights.
const AFTER: usize = 20;

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>, settings: &TokenShift) -> Result<(), ExperimentError> {
    let (prompts, convention) = prompts_of(bench, settings.n_prompts.unwrap_or(usize::MAX))?;
    if let Some(asked) = settings.n_prompts.filter(|asked| *asked > prompts.len()) {
        draft.find(Message::new("fewer_prompts").with("asked", asked).with("found", prompts.len()));
    }
    let n_prompts = Some(prompts.len());
    draft.outcome.convention = Some(convention);
    draft.outcome.experiment.settings = Settings::TokenShift(TokenShift { n_prompts, ..settings.clone() });
    let super_weights = draft.outcome.experiment.super_weights.clone();
    begin(draft);
    let stopwords = stopwords::token_ids(bench.tokenizer);
    let mut measured = Vec::new();
    for (index, arm) in ARMS.into_iter().enumerate() {
        let zeroed = if index == 0 { Vec::new() } else { super_weights.clone() };
        let model = bench.model.with_ablation(&Ablation::zeroing(zeroed))?;
        let (doing, n) = (Message::new("next_tokens").with("arm", arm), prompts.len());
        let progress = |done: usize| bench.control.progress(doing.clone(), (index * n + done) as f64, (2 * n) as f64, "sequences");
        let found = next_token(&model, &prompts, bench.control, progress).await?;
        bench.check_gpu()?;
        push(bench, draft, (arm, prompts.len()), &found, &stopwords);
        draft.send();
        measured.push(found);
    }
    if let [intact, removed] = &measured[..] {
        push_tokens(bench, draft, [intact, removed], &stopwords);
        conclude(bench, draft, [intact, removed], &stopwords);
    }
    Ok(())
}

/// At most `n` prompts as token ids, and the name of their text and cut. They are the contexts of the requested tasks
/// (LAMBADA's are passages without their last word), or the bundled prompts. If one is longer than the model's
/// context, only its end is kept.
fn prompts_of(bench: &Bench<'_>, n: usize) -> Result<(Vec<Vec<u32>>, Message), ExperimentError> {
    if !bench.tasks.is_empty() {
        return Ok(of_tasks(&bench.tasks, n));
    }
    let limit = bench.info.max_position_embeddings;
    let (mut prompts, mut n_cut) = (Vec::new(), 0);
    let texts = prompts::bundled();
    let digest = text_digest(&texts.join("\n"));
    for text in texts.into_iter().take(n) {
        let ids = bench.tokenizer.encode(&text)?;
        let excess = ids.len().saturating_sub(limit);
        n_cut += usize::from(excess > 0);
        prompts.push(ids[excess..].to_vec());
    }
    prompts.retain(|ids| !ids.is_empty());
    if prompts.is_empty() {
        return Err(AnalysisError::EmptyText.into());
    }
    let convention = Message::new(prompts::BUNDLED_NAME).with("prompts", prompts.len()).with("digest", digest);
    let convention = if n_cut > 0 { convention.with("n_cut", n_cut).with("limit", limit) } else { convention };
    Ok((prompts, convention))
}

/// Returns the context of each item's first choice. The tasks take turns, so that none is left out of the first `n`.
fn of_tasks(tasks: &[EncodedTask], n: usize) -> (Vec<Vec<u32>>, Message) {
    let mut taken = vec![0_usize; tasks.len()];
    let longest = tasks.iter().map(|task| task.items.len()).max().unwrap_or(0);
    let turns = (0..longest).flat_map(|index| tasks.iter().enumerate().map(move |(task, of)| (task, of.items.get(index))));
    let contexts = turns.filter_map(|(task, item)| Some((task, item?.choices.first()?.context.clone())));
    let contexts = contexts.take(n).map(|(task, context)| {
        taken[task] += 1;
        context
    });
    let contexts = contexts.collect::<Vec<_>>();
    let counts = tasks.iter().zip(&taken).filter(|(_, n)| **n > 0).map(|(task, n)| (task.kind.name(), *n));
    let convention = Message::new("task_contexts_1").with("prompts", contexts.len());
    (contexts, counts.fold(convention, |convention, (task, n)| convention.with(&format!("of_{task}"), n)))
}

fn begin(draft: &mut Draft<'_>) {
    let columns = ["arm", "stopwords (probability)", "other (probability)", "entropy (nats)", "largest (probability)", "prompts"];
    let mass = DataTable::new("mass", "next_token_mass", &columns);
    let columns = ["arm", "rank", "token", "id", "probability (probability)"];
    let likeliest = DataTable::new("likeliest", "likeliest_tokens", &columns);
    let columns = ["token", "id", "is_stopword", "rank_before", "rank_after", "before (probability)", "after (probability)", "ratio"];
    let tokens = DataTable::new("tokens", "likeliest_before_and_after", &columns);
    draft.outcome.tables.extend([mass, likeliest, tokens]);
}

fn push(bench: &Bench<'_>, draft: &mut Draft<'_>, (arm, n): (&str, usize), found: &NextToken, stopwords: &[u32]) {
    let mass = mass_on(found, stopwords);
    let rest = (1.0 - mass).max(0.0);
    draft.outcome.tables[0].push([arm.into(), mass.into(), rest.into(), found.entropy.into(), found.largest.into(), n.into()]);
    for (rank, id) in found.ranked().into_iter().take(AFTER).enumerate() {
        let text = bench.tokenizer.token_text(id as u32);
        draft.outcome.tables[1].push([arm.into(), (rank + 1).into(), text.into(), id.into(), found.probabilities[id].into()]);
    }
    let mut bars = DataPlot::new(PlotKind::Bars, "likeliest_next", "likeliest", "token", "probability");
    bars.only = Some(("arm".into(), arm.into()));
    draft.outcome.plots.push(bars);
}

fn push_tokens(bench: &Bench<'_>, draft: &mut Draft<'_>, [intact, removed]: [&NextToken; 2], stopwords: &[u32]) {
    let (before, after) = (ranks(intact), ranks(removed));
    let mut told = intact.ranked().into_iter().take(BEFORE).collect::<Vec<_>>();
    let new = removed.ranked().into_iter().take(AFTER).filter(|id| before[*id] >= BEFORE);
    told.extend(new);
    for id in told {
        let (p, q) = (intact.probabilities[id], removed.probabilities[id]);
        let is_stopword = usize::from(stopwords.binary_search(&(id as u32)).is_ok());
        let mut cells: Vec<Cell> = vec![bench.tokenizer.token_text(id as u32).into(), id.into(), is_stopword.into()];
        cells.extend([(before[id] + 1).into(), (after[id] + 1).into(), p.into(), q.into(), (q / p).into()]);
        draft.outcome.tables[2].push(cells);
    }
}

fn conclude(bench: &Bench<'_>, draft: &mut Draft<'_>, [intact, removed]: [&NextToken; 2], stopwords: &[u32]) {
    let (before, after) = (mass_on(intact, stopwords), mass_on(removed, stopwords));
    draft.find(Message::new("stopwords").with("before", before).with("after", after));
    let top = intact.ranked();
    let likely = top.iter().take(BEFORE).filter(|id| stopwords.binary_search(&(**id as u32)).is_ok()).collect::<Vec<_>>();
    let risen = likely.iter().filter(|id| removed.probabilities[***id] > intact.probabilities[***id]).count();
    draft.find(Message::new("stopwords_risen").with("stopwords", likely.len()).with("of", BEFORE).with("risen", risen));
    let last = removed.ranked();
    if let (Some(first), Some(then)) = (top.first(), last.first()) {
        let text = |id: &usize| bench.tokenizer.token_text(*id as u32);
        let (before, after) = (intact.probabilities[*first], removed.probabilities[*then]);
        let found = Message::new("likeliest_token").with("before", text(first)).with("p_before", before);
        draft.find(found.with("after", text(then)).with("p_after", after));
        draft.headline("likeliest_probability/intact", before);
        draft.headline("likeliest_probability/removed", after);
    }
    draft.find(Message::new("entropy").with("before", intact.entropy).with("after", removed.entropy));
    draft.headline("stopword_mass/intact", before);
    draft.headline("stopword_mass/removed", after);
    draft.headline("entropy/intact", intact.entropy);
    draft.headline("entropy/removed", removed.entropy);
}

fn mass_on(found: &NextToken, stopwords: &[u32]) -> f64 {
    stopwords.iter().filter_map(|id| found.probabilities.get(*id as usize)).sum()
}

/// Returns the rank of each token, from 0.
fn ranks(found: &NextToken) -> Vec<usize> {
    let mut ranks = vec![0; found.probabilities.len()];
    found.ranked().into_iter().enumerate().for_each(|(rank, id)| ranks[id] = rank);
    ranks
}
