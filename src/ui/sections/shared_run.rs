//! A run from a link: shown first; loaded and recomputed only when the reader presses a button.

use leptos::prelude::*;

use crate::language;
use crate::protocol::Request;
use crate::share::{Recomputed, ShareError, ShareLink};
use crate::terms::{CalibrationText, Pane};
use crate::ui::page::context::{App, app};
use crate::ui::page::dom;
use crate::ui::state::entry::Entry;
use crate::ui::state::experiments::Shared;
use crate::ui::state::link::{LinkStage, LinkState, OtherChannels, loadable_entry};
use crate::words::{sentence, short, visible};

/// Reads the address. If it holds no run, the default model is loaded; otherwise nothing is loaded.
pub fn open_address(app: App) {
    read_link(app);
    if app.state.with_untracked(|state| state.link == LinkState::None && state.experiments.shared == Shared::None) {
        app.load_default();
    }
    let listener = window_event_listener(leptos::ev::hashchange, move |_| read_link(app));
    on_cleanup(move || listener.remove());
}

fn read_link(app: App) {
    let link = match ShareLink::decode(&dom::fragment()) {
        // An anchor of the page itself is not a link to a run, and an open run stays.
        Err(ShareError::NoRun) => return crate::ui::sections::experiments::read_link(app),
        Err(error) => LinkState::Refused(error.to_string()),
        Ok(link) => LinkState::Held { link: Box::new(link), stage: LinkStage::Waiting },
    };
    app.state.update(|state| state.open_link(link));
}

#[component]
pub fn Panel() -> impl IntoView {
    let app = app();
    let link = app.part(|state| match &state.link {
        LinkState::None => None,
        LinkState::Refused(why) => Some(Err(why.clone())),
        LinkState::Held { link, .. } => Some(Ok((**link).clone())),
    });
    let dismiss = move |_| {
        dom::clear_fragment();
        app.state.update(|state| state.link = LinkState::None);
        if app.state.with_untracked(|state| state.model.requested.is_none()) {
            app.load_default();
        }
    };
    let shown = move |link: Result<ShareLink, String>| {
        view! {
            <section class="link-panel" data-testid="link-panel" aria-labelledby="link-title">
                <h2 id="link-title">"Somebody shared a run with you"</h2>
                {match link {
                    Err(why) => view! { <p class="error" data-testid="link-error">{sentence(&format!("It cannot be opened: {why}"))}</p> }.into_any(),
                    Ok(link) => held(link).into_any(),
                }}
                <button type="button" class="quiet" data-testid="link-dismiss" on:click=dismiss>"Close and start afresh"</button>
            </section>
        }
    };
    move || link.get().map(shown)
}

fn held(link: ShareLink) -> impl IntoView {
    let app = app();
    let stage = app.part(|state| match &state.link {
        LinkState::Held { stage, .. } => Some(stage.clone()),
        _ => None,
    });
    let model = loadable_entry(&link.setup.model);
    let (id, bos) = (link.setup.model.id.clone(), link.setup.model.added_bos.is_some());
    let restore = move |_| {
        let mut restored = false;
        app.client.act(|state| restored = state.restore_link());
        if let (false, Some(model)) = (restored, model) {
            app.load_entry(model, bos);
        }
    };
    let waiting = move || matches!(stage.get(), Some(LinkStage::Waiting | LinkStage::Loading));
    let is_here = app.part(|state| state.is_live() && state.holds_model_of_link());
    // If the loaded model has this name but other weights, loading it again would not help.
    let wanted = id.clone();
    let other = app.part(move |state| state.model.info.as_ref().is_some_and(|info| info.model.id != wanted));
    let loadable = move || model.is_some() && (waiting() || other.get() && matches!(stage.get(), Some(LinkStage::Mismatch(_))));
    let loading = app.part(|state| state.queue.any(|request| matches!(request, Request::Load { .. })));
    let restored = move || {
        matches!(stage.get(), Some(LinkStage::Restored | LinkStage::Unjudged(_) | LinkStage::Recomputing | LinkStage::Verdict { .. }))
    };
    let live = app.is_live();
    view! {
        {contents(&link)}
        {move || (stage.get() == Some(LinkStage::Waiting)).then(|| view! {
            <p class="hint">"Nothing was downloaded or run yet."</p>
            {model.filter(|_| !is_here.get()).and_then(to_download)}
        })}
        {move || (loadable() || waiting() && is_here.get()).then(|| view! {
            <button type="button" class="primary" data-testid="link-restore" disabled=move || loading.get() on:click=restore>
                {move || match model.and_then(Entry::download) {
                    _ if loading.get() => "Loading…".into(),
                    Some(size) if !is_here.get() => format!("Download and restore, {size}"),
                    _ => "Load and restore".to_string(),
                }}
            </button>
        })}
        {move || (model.is_none() && waiting() && !is_here.get()).then(|| view! {
            <p class="error" data-testid="link-mismatch">{format!("This page does not know the model “{id}”. If you have its files or its repository's name, open it below. The run is restored if the model is the same.")}</p>
        })}
        {move || restored().then(|| view! {
            <button type="button" class="primary" data-testid="link-recompute" disabled=move || !live.get() || stage.get() == Some(LinkStage::Recomputing) on:click=move |_| app.client.act(|state| state.recompute())>
                {move || if stage.get() == Some(LinkStage::Recomputing) { "Recomputing…" } else { "Recompute" }}
            </button>
        })}
        <div role="status">{move || stage.get().and_then(outcome)}</div>
    }
}

/// A note on the download of a Hub model.
fn to_download(model: Entry) -> Option<impl IntoView> {
    let (hub, size) = (model.hub()?, model.download()?);
    let text = format!(
        "Its model, {}, does not come with this page: {size} must be downloaded from {} first, unless this browser has stored it. \
         See below for a description and for other servers.",
        hub.title, hub.repo
    );
    Some(view! { <p class="note" data-testid="link-download">{text}</p> })
}

fn contents(link: &ShareLink) -> impl IntoView + use<> {
    let setup = &link.setup;
    let edits = setup
        .ablation
        .weight_edits
        .iter()
        .map(|edit| view! { <li><span class="coordinate">{edit.target.to_string()}</span>{format!(" × {}", short(edit.scale))}</li> })
        .collect_view();
    let sampling = setup.sampling;
    let bos = setup.model.added_bos.map(|bos| format!(", with its BOS, token {bos}, put before every text"));
    view! {
        <dl class="contents" data-testid="link-contents">
            <dt>"model"</dt><dd>{setup.model.id.clone()}" (revision "{setup.model.revision.clone()}")"{bos}</dd>
            <dt>"opening"</dt><dd class="prose">{visible(&setup.prompt)}</dd>
            <dt>"edits"</dt><dd>{if setup.ablation.weight_edits.is_empty() { view! { "none" }.into_any() } else { view! { <ul>{edits}</ul> }.into_any() }}</dd>
            {removed(link).map(|words| view! { <dt>"channels removed"</dt><dd>{words}</dd> })}
            <dt>"sampling"</dt>
            <dd>{format!("temperature {}, top-k {}, top-p {}, seed {}, at most {} new tokens", sampling.temperature, sampling.top_k, sampling.top_p, sampling.seed, sampling.max_new_tokens)}</dd>
            <dt>"outcome"</dt><dd>{format!("{} tokens intact, {} with the edits; digest {}", link.intact.len(), link.ablated.len(), link.digest)}</dd>
        </dl>
    }
}

/// Description of the removed channels and of the rule that chose them.
fn removed(link: &ShareLink) -> Option<String> {
    let (pruning, selection) = (link.setup.ablation.pruning.as_ref()?, link.selection.as_ref()?);
    let text = match selection.text_digest.as_str() {
        CalibrationText::BUNDLED_DIGEST => "the text that comes with this page".into(),
        digest => format!("a text of the sender's own (digest {digest})"),
    };
    Some(format!(
        "{}; scored over {} sequences of {} tokens of {text}, and scored again here; selection digest {}",
        language::pruning(pruning),
        selection.sequences,
        selection.length,
        selection.digest
    ))
}

fn outcome(stage: LinkStage) -> Option<AnyView> {
    Some(match stage {
        LinkStage::Mismatch(why) => view! { <p class="error" data-testid="link-mismatch">{why}</p> }.into_any(),
        LinkStage::Restored => {
            view! { <p class="note">"Opening, sampling and edits are restored. Recompute to see if the same text comes out here."</p> }
                .into_any()
        }
        LinkStage::Unjudged(why) => view! { <p class="note" data-testid="link-unjudged">{why}</p> }.into_any(),
        LinkStage::Verdict { text, picked } => view! { {picked.map(other_channels)} {verdict(text)} }.into_any(),
        LinkStage::Waiting | LinkStage::Loading | LinkStage::Recomputing => return None,
    })
}

fn other_channels(OtherChannels { here, there }: OtherChannels) -> impl IntoView {
    let text = format!(
        "The same rule picks other channels here (digest {here}, in the link {there}), because devices round differently. The text was \
         recomputed with the channels picked here:"
    );
    view! { <p class="note" data-testid="link-channels">{text}</p> }
}

fn verdict(text: Recomputed) -> impl IntoView {
    let (is_same, words) = match text {
        Recomputed::Same => (true, "The same, token for token.".into()),
        Recomputed::NoClaim => (true, "The link only names edits; it has no text to compare with.".into()),
        Recomputed::Differs { pane, index } => {
            let pane = if pane == Pane::Intact { "intact" } else { "edited" };
            let words = format!(
                "Not the same: in the {pane} pane, new token {} is the first that differs. Devices round differently, which can decide a near tie.",
                index + 1
            );
            (false, words)
        }
    };
    view! { <p class="verdict" class:same=is_same data-testid="link-verdict" data-same=is_same.to_string()>{words}</p> }
}
