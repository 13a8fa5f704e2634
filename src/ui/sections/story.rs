//! The first view: an introduction with a recording, before anything is loaded.

use leptos::prelude::*;
use serde::Deserialize;

use crate::terms::{Evaluation, ModelInfo, Pane, RunRecord, read_json};
use crate::words::{grouped, short};

/// The recording of the default model, written by the native command. It is parsed here, so that story and live run
/// share one schema.
const RECORDED: &str = include_str!("../../../public/recorded/linchpin-13m.json");

/// The part of an export that the story shows.
#[derive(Deserialize)]
struct Recording {
    info: Option<ModelInfo>,
    run: Option<RunRecord>,
    evaluations: Vec<(Pane, Evaluation)>,
}

fn evaluation(export: &Recording, of: Pane) -> Option<&Evaluation> {
    export.evaluations.iter().find(|(pane, _)| *pane == of).map(|(_, evaluation)| evaluation)
}

#[component]
pub fn Story() -> impl IntoView {
    let export = read_json::<Recording>(RECORDED).ok();
    let recording = export.and_then(|export| {
        let perplexities = (evaluation(&export, Pane::Intact)?.perplexity, evaluation(&export, Pane::Ablated)?.perplexity);
        let parameters = export.info.as_ref().map(|info| info.num_parameters);
        Some(recorded(export.run?, perplexities, parameters))
    });
    view! {
        <section class="story" aria-labelledby="title">
            <h1 id="title">"One number holds this language model up. Pull it."</h1>
            <p class="lede">
                "Linchpin finds the few numbers that a language model cannot do without, lets you pull them, and shows the text fall apart, \
                 live, in your own browser."
            </p>
            {recording}
        </section>
    }
}

fn recorded(run: RunRecord, (before, after): (f32, f32), parameters: Option<u64>) -> impl IntoView {
    let pin = run.setup.ablation.weight_edits.first().map(|edit| edit.target.to_string()).unwrap_or_default();
    let of = parameters.map(|n| format!(" of its {} weights", grouped(n as i64))).unwrap_or_default();
    let prompt = run.setup.prompt;
    view! {
        <figure class="recorded" data-testid="recorded">
            <figcaption>
                <span class="tag">"Recorded"</span>
                " The bundled model, before and after one"{of}" is set to zero: "<span class="coordinate">{pin}</span>
            </figcaption>
            <div class="pair">
                <blockquote class="pane" data-testid="recorded-intact">
                    <p class="pane-name">"Intact"</p>
                    <p class="prose"><span class="prompt">{prompt.clone()}</span>{run.intact.text}</p>
                </blockquote>
                <blockquote class="pane pulled" data-testid="recorded-ablated">
                    <p class="pane-name">"Without that one number"</p>
                    <p class="prose"><span class="prompt">{prompt}</span><span class="after">{run.ablated.text}</span></p>
                </blockquote>
            </div>
            <p class="figure-number" data-testid="recorded-number">
                <span class="big intact">{short(before.round())}</span>
                <span class="arrow" aria-hidden="true">"→"</span>
                <span class="sr">" becomes "</span>
                <span class="big pulled">{short(after.round())}</span>
                <span class="what">
                    "perplexity on unseen books: the number of tokens it hesitates between, on average. "
                    {format!("Every other number stays the same, and the perplexity is {:.0} times as high.", after / before)}
                </span>
            </p>
        </figure>
    }
}

#[component]
pub fn Colophon() -> impl IntoView {
    view! {
        <footer class="colophon">
            <h2>"Words"</h2>
            <dl class="glossary">
                <dt>"channel"</dt>
                <dd>"One hidden unit of a feed-forward block: a column of its down_proj matrix."</dd>
                <dt>"spike"</dt>
                <dd>"The largest input or output of a down_proj in one pass over the text."</dd>
                <dt>"super weight"</dt>
                <dd>
                    "One scalar, down_proj.weight[row, column], whose removal collapses the model while the removal of others does not. \
                     The name is used only after a test against controls."
                </dd>
                <dt>"loss proxy, LP"</dt>
                <dd>"½ · mean over tokens of (u · ∂L/∂u)² for the channel's value u at the input of down_proj: an estimate of its removal's cost."</dd>
                <dt>"supernode, core"</dt>
                <dd>"A supernode is a channel among the top 1 % of its layer by loss proxy; the core is all of them."</dd>
                <dt>"halo"</dt>
                <dd>"A tenth of the other channels: those with the largest share of writing (Conn) to the core's write support, the few residual channels that the core writes to most."</dd>
                <dt>"redundancy"</dt>
                <dd>"How well the core's effect on the loss predicts a halo channel's, in nats: 0 if they are unrelated."</dd>
                <dt>"Jaccard, Spearman"</dt>
                <dd>"Jaccard: the size of two sets' intersection over that of their union. Spearman: two rankings' correlation, 1 if equal, 0 if unrelated, −1 if opposite."</dd>
                <dt>"perplexity"</dt>
                <dd>"e to the power of the mean loss on held-out text. Lower is better; compare it only for one text and one way of cutting it."</dd>
            </dl>
            <p>
                "Layers, rows and columns count from 0, as in Hugging Face checkpoints: [output, input]. Super weights were described in \
                 arXiv:2411.07191, supernodes and halos in arXiv:2604.23475. Nothing you type or open leaves this page, and there is no server behind it: the model runs here. Only a model \
                 that you request is downloaded, from the Hub or your chosen server."
            </p>
        </footer>
    }
}
