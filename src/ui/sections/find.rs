//! Find: one pass over a text, the spikes of every layer, and the candidate scalars.

use leptos::prelude::*;

use crate::draw::spikes::{layer_chart, spike_line};
use crate::language;
use crate::protocol::Request;
use crate::tables::scan::{candidates as candidates_table, spikes as spikes_table};
use crate::terms::{Candidate, EditTarget, ScanReport, Spike};
use crate::ui::page::chart::ChartView;
use crate::ui::page::context::app;
use crate::ui::page::dom;
use crate::ui::page::sampling::Openings;
use crate::ui::state::edits::Origin;
use crate::words::{percent, short, visible};

#[component]
pub fn Scan() -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let prompt = app.part(|state| state.scan.prompt.clone());
    let running = app.part(|state| state.queue.any(|request| matches!(request, Request::Scan { .. })));
    let scan = app.part(|state| state.scan.report.clone());
    view! {
        <section id="scan" aria-labelledby="scan-title">
            <p class="step" aria-hidden="true">"1"</p>
            <h2 id="scan-title">"Find: where do the numbers spike?"</h2>
            <p class="lead">
                "The model reads a text once. In every block the last matrix of the feed-forward part, down_proj, turns hidden channels into a contribution to \
                 the model's running state. If a huge output is nearly all one product of a huge input and one weight, that weight is a suspect."
            </p>
            <label class="field">
                "Text to read"
                <textarea
                    data-testid="scan-prompt" rows="2" maxlength="2000" prop:value=move || prompt.get()
                    on:input=move |event| app.state.update(|state| state.scan.prompt = event_target_value(&event))
                ></textarea>
            </label>
            <p class="hint">{language::searched()}</p>
            <Openings name="scan-prompt" pick=Callback::new(move |text: &'static str| app.state.update(|state| state.scan.prompt = text.into())) />
            <button
                type="button" class="primary" data-testid="scan-run" on:click=move |_| app.client.act(|state| state.scan())
                disabled=move || !live.get() || running.get() || prompt.with(|text| text.trim().is_empty())
            >
                {move || if running.get() { "Scanning…" } else { "Scan" }}
            </button>
            {crate::ui::sections::experiments::cold()}
            {move || scan.get().map(|scan| results(scan).into_any())}
        </section>
    }
}

fn results(scan: ScanReport) -> impl IntoView {
    let log = RwSignal::new(false);
    let n_tokens = scan.tokens.len();
    let ScanReport { inputs, outputs, outputs_after, candidates, stopped, tokens, .. } = scan;
    let tokens = tokens.iter().map(|token| view! { <span class="token">{visible(token)}</span> }).collect_view();
    view! {
        <div data-testid="scan-results">
            <label class="check"><input type="checkbox" data-testid="scan-log" prop:checked=move || log.get() on:change=move |event| log.set(event_target_checked(&event)) />"logarithmic scale"</label>
            <div class="pair">
                {spikes_view("scan-inputs-chart", "largest_inputs", inputs, Vec::new(), log)}
                {spikes_view("scan-outputs-chart", "largest_down_proj_outputs", outputs, outputs_after, log)}
            </div>
            <p class="legend">
                <span class="key intact">"intact"</span>
                <span class="key ablated">"outputs with all candidates removed"</span>
            </p>
            <details class="tokens" data-testid="scan-tokens"><summary>{format!("The text as {n_tokens} tokens")}</summary><p>{tokens}</p></details>
            <Candidates candidates />
            <p class="note" data-testid="scan-stopped">"The search zeroes the scalars with the largest products of each layer, one at a time, and keeps those without which the predictions for this text change. It ended here: "{language::stopped(&stopped)}"."</p>
        </div>
    }
}

/// One spike of each layer, drawn and as a table; `title` is the code of their title.
fn spikes_view(name: &'static str, title: &'static str, spikes: Vec<Spike>, after: Vec<Spike>, log: RwSignal<bool>) -> impl IntoView {
    let data = StoredValue::new((spikes, after));
    let caption = language::caption(&title.into());
    let chart = Signal::derive(move || data.with_value(|(spikes, after)| layer_chart(title, spikes, after, log.get())));
    let lines = Signal::derive(move || data.with_value(|(spikes, _)| spikes.iter().map(spike_line).collect::<Vec<_>>()));
    let csv = Callback::new(move |()| data.with_value(|(spikes, after)| spikes_table(name, title, spikes, after).to_csv()));
    let rows = move || {
        data.with_value(|(spikes, after)| {
            let row = |(i, spike): (usize, &Spike)| {
                let after = (!after.is_empty()).then(|| after.get(i).map(|spike| short(spike.value)).unwrap_or_default());
                view! {
                    <tr>
                        <th scope="row">{spike.layer}</th>
                        <td>{spike.channel}</td>
                        <td>{format!("{} “{}”", spike.token, visible(&spike.token_text))}</td>
                        <td class="number">{short(spike.value)}</td>
                        <td class="number">{short(spike.ratio)}</td>
                        {after.map(|value| view! { <td class="number">{value}</td> })}
                    </tr>
                }
            };
            spikes.iter().enumerate().map(row).collect_view()
        })
    };
    let has_after = data.with_value(|(_, after)| !after.is_empty());
    view! {
        <ChartView name caption chart lines csv>
            <table>
                <thead>
                    <tr>
                        <th scope="col">"layer"</th><th scope="col">"channel"</th><th scope="col">"token"</th><th scope="col">"value"</th>
                        <th scope="col">"× median"</th>
                        {has_after.then(|| view! { <th scope="col">"removed"</th> })}
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </ChartView>
    }
}

#[component]
fn Candidates(candidates: Vec<Candidate>) -> impl IntoView {
    if candidates.is_empty() {
        return view! { <p data-testid="candidates">"No candidate: no scalar among the largest products of each layer changes the predictions for this text alone, and no output spike is explained by one product."</p> }
            .into_any();
    }
    let csv = candidates_table(&candidates).to_csv();
    let rows = candidates.into_iter().map(candidate_row).collect_view();
    view! {
        <h3>"Candidates"</h3>
        <div class="scroll" tabindex="0" role="region" aria-label="Candidates">
            <table data-testid="candidates">
                <thead>
                    <tr>
                        <th scope="col">"where"</th><th scope="col">"weight"</th><th scope="col">"input"</th><th scope="col">"output"</th>
                        <th scope="col">"× median"</th><th scope="col">"share of output"</th><th scope="col">"effect, nats"</th><th scope="col">"verdict"</th><th scope="col"><span class="sr">"action"</span></th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
        <button type="button" class="link" data-testid="candidates-csv" on:click=move |_| dom::download("linchpin-candidates.csv", "text/csv", &csv)>"Candidates as CSV"</button>
    }
    .into_any()
}

fn candidate_row(candidate: Candidate) -> impl IntoView {
    let app = app();
    let at = candidate.at;
    let pulled = app.part(move |state| state.edits.rows.iter().any(|row| row.target == EditTarget::from(at) && row.on));
    let verdict = app.part(move |state| {
        let report = state.scan.confirm.as_ref()?;
        report.verdicts.iter().find(|verdict| verdict.at == at).map(|verdict| verdict.confirmed)
    });
    let toggle = move |_| {
        let pulls = !pulled.get_untracked();
        app.client.edit(move |state| {
            let Some(info) = &state.model.info else { return };
            let _ = state.edits.add(at.into(), 0.0, true, Origin::Scan, info);
            if let Some(row) = state.edits.rows.iter_mut().find(|row| row.target == EditTarget::from(at)) {
                row.on = pulls;
            }
        });
    };
    let word = move || match verdict.get() {
        Some(true) => "super weight",
        Some(false) => "not one",
        None => "not tested",
    };
    view! {
        <tr data-testid="candidate">
            <th scope="row" class="coordinate">{at.to_string()}</th>
            <td class="number">{short(candidate.weight)}</td>
            <td class="number">{short(candidate.input)}</td>
            <td class="number">{short(candidate.output)}</td>
            <td class="number">{short(candidate.ratio)}</td>
            <td class="number">{percent(candidate.share)}</td>
            <td class="number">{candidate.effect_nats.map(short)}{language::effect_against(candidate.iteration)}</td>
            <td data-testid="candidate-verdict" class:confirmed=move || verdict.get() == Some(true)>{word}</td>
            <td>
                <button type="button" class="small" data-testid="candidate-pull" aria-pressed=move || pulled.get().to_string() on:click=toggle aria-label=move || format!("{} {at}", if pulled.get() { "Put back" } else { "Pull" })>
                    {move || if pulled.get() { "Put back" } else { "Pull" }}
                </button>
            </td>
        </tr>
    }
}
