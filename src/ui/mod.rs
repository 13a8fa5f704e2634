//! The page: eight sections over one state, and a client of the engine's worker.
//!
//! | layer | holds | may import |
//! |---|---|---|
//! | [`state`] | the page's data, and the reducer: pure, tested natively | nothing of the page |
//! | [`pictures`] | texts for the page: pure, tested natively; tables and charts come from `tables` and `draw` | |
//! | [`page`] | the browser (`dom`), the engine's client, the context, the sections' shared parts | `state` |
//! | [`sections`] | one file or folder for each section, named after its heading | all of them |
//!
//! # Test ids
//!
//! Every control and every result has a stable `data-testid`; a number field's fault has the field's with `-error`:
//!
//! | where | ids |
//! |---|---|
//! | head | `theme-toggle` |
//! | failure | `failure`, `failure-dismiss`, `failure-restart` |
//! | link | `link-panel`, `link-error`, `link-contents`, `link-restore`, `link-recompute`, `link-verdict`, `link-channels`, `link-unjudged`, `link-mismatch`, `link-download`, `link-dismiss` |
//! | story | `recorded`, `recorded-number`, `recorded-intact`, `recorded-ablated` |
//! | load | `load`, `model-status`, `model-kept`, `model-facts`, `model-story`, `backend`, `provenance`, `provenance-file` (with `data-verified`), `provenance-note`, `progress`, `progress-text`, `load-cancel`, `engine-restart`, `quiet` |
//! | choose | `model-select`, `backend-choice`, `model-load`, `model-fit`, `model-card`, `model-published`, `server-options`, `hub-endpoint`, `hub-token`, `hub-repo`, `hub-revision`, `folder-url`, `open-own`, `open-files`, `open-folder`, `open-error` |
//! | fit | `fit` (with `data-fits`), `fit-checks`, `fit-advice`, `fit-alternative` |
//! | stored | `stored`, `stored-none`, `stored-model`, `stored-delete`, `stored-total`, `stored-delete-all` |
//! | scan | `scan-prompt`, `scan-prompt-<n>`, `scan-run`, `scan-log`, `scan-results`, `scan-stopped`, `scan-tokens`, `candidates`, `candidate`, `candidate-pull`, `candidate-verdict`, `candidates-csv` |
//! | charts | `scan-inputs-chart`, `scan-outputs-chart`, `confirm-arms`, `confirm-apart`, `lp-share`, `lp-mass`, `lp-agreement`, `halo-plane`, `halo-connection`, `removal-chart`, `pruning-chart`, `deletions-chart`, `training-shares`, `training-rise`; each with `-svg`, `-csv`, `-table` appended, the first two and `lp-share` with `-readout` |
//! | confirm | `confirm-run`, `confirm-stop`, `published-run`, `confirm-arms`, `verdicts`, `verdict`, `published-claim`, `confirm-convention` |
//! | weigh | `score-sequences`, `score-length`, `score-run`, `score-stop`, `score-resume`, `score-text`, `score-text-bundled`, `score-text-error`, `score-status`, `score-rho`, `score-layer`, `score-lorenz`, `score-findings`, `channels-csv` |
//! | halo | `halo-support`, `halo-eta`, `halo-redundancy`, `halo-run`, `halo-support-error`, `halo-eta-error`, `halo-line` |
//! | channels | `prune-pick`, `prune-by`, `prune-layer`, `prune-replace`, `prune-sparsity`, `prune-rho`, `prune-eta`, `prune-seed`, `prune-switch`, `prune-status` |
//! | compare | `compare-replace`, `compare-removal`, `compare-pruning`, `compare-stop`, `deletions-per-layer`, `deletions-run`, `deletions-line` |
//! | surgery | `suggestion-<n>`, `edit-list`, `edit`, `edit-switch`, `edit-scale`, `edit-value`, `edit-remove`, `edit-unit`, `edit-layer`, `edit-row`, `edit-col`, `edit-add`, `edit-error`, `edit-reset`, `applied` |
//! | panes | `prompt`, `prompt-<n>`, `temperature`, `top-k`, `top-p`, `seed`, `max-tokens`, `live`, `generate`, `stop`, `evaluate`, `pane-intact`, `pane-ablated`, `first-difference`, `first-token-intact`, `first-token-ablated`, `stale`, `generate-status`; metrics as `<metric>-<pane>` with `perplexity`, `repetition`, `stopwords`, `speed` |
//! | experiments | `experiment-<kind>` (with underscores, as in JSON), `experiment-scalars`, `experiment-named`, `experiment-scan`, `setting-<field>`, `experiment-text`, `experiment-tasks` (each with `-fold` appended; `experiment-no-text`, `experiment-no-tasks`), `experiment-error`, `experiment-run`, `experiment-stop`, `experiment-progress`, `experiment-result`, `experiment-findings`, `experiment-figures`, `experiment-status`, `experiment-plot-<n>` (with `-svg`), `experiment-table-<n>` (with `-csv`), `experiment-link`, `experiment-made`, `experiment-made-error`; in the scan's section `cold-candidates` |
//! | shared experiment | `try-panel`, `try-error`, `try-contents`, `try-needs`, `try-figure` (with `data-agrees`), `try-note`, `experiment-load`, `experiment-recompute`, `experiment-close` |
//! | share | `share-copy`, `share-link`, `share-status`, `share-error` |
//! | export | `export-json` |

mod page;
mod pictures;
mod sections;
mod state;

use leptos::prelude::*;

use page::context::App as Context;
use page::{failure, frame, theme};
use sections::{compare, experiments, find, keep, model, prove, pull, shared_run, story, weigh};

/// The whole page.
#[component]
pub fn App() -> impl IntoView {
    let context = Context::new();
    provide_context(context);
    shared_run::open_address(context);
    // The shell in index.html is only for browsers that have not started this program.
    if let Some(shell) = document().get_element_by_id("shell") {
        shell.remove();
    }
    view! {
        <a class="skip" href="#instrument">"Skip to the instrument"</a>
        <header class="bar">
            <a class="wordmark" href="#top" aria-label="Linchpin, top of the page">
                {theme::mark()}
                <span>"Linchpin"</span>
            </a>
            <nav aria-label="Sections">
                <a href="#scan">"Find"</a>
                <a href="#confirm">"Prove"</a>
                <a href="#weigh">"Weigh"</a>
                <a href="#pull">"Pull"</a>
                <a href="#compare">"Compare"</a>
                <a href="#experiments">"Experiments"</a>
                <a href="#keep">"Keep"</a>
            </nav>
            {theme::ThemeToggle()}
        </header>
        {failure::Banner()}
        <main id="top">
            {frame::FrameNote().into_any()}
            {shared_run::Panel().into_any()}
            {experiments::panel()}
            {story::Story().into_any()}
            <div id="instrument" class="instrument">
                {model::Load().into_any()}
                {find::Scan().into_any()}
                {prove::Confirm().into_any()}
                {weigh::Weigh().into_any()}
                {pull::Pull().into_any()}
                {compare::Compare().into_any()}
                {experiments::Experiments().into_any()}
                {keep::Keep().into_any()}
            </div>
        </main>
        {story::Colophon()}
    }
}
