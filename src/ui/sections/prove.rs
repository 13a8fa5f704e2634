//! Prove: a scalar counts as a super weight only after its removal was compared with controls.

use leptos::prelude::*;

use crate::draw::spikes::{arm_name, arms_apart, arms_chart};
use crate::language;
use crate::protocol::Request;
use crate::tables::scan::arms as arms_table;
use crate::terms::{ConfirmArm, ConfirmReport, EditTarget, RowVerdict, Verdict};
use crate::ui::page::chart::ChartView;
use crate::ui::page::context::app;
use crate::ui::state::entry::agrees;
use crate::words::{grouped, short, signed};

#[component]
pub fn Confirm() -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let n_candidates = app.part(|state| state.scan.report.as_ref().map_or(0, |scan| scan.candidates.len()));
    let running = app.part(|state| state.queue.any(|request| matches!(request, Request::Confirm { .. })));
    let published =
        app.part(|state| state.model.info.is_some() && state.model.entry().is_some_and(|entry| entry.published().next().is_some()));
    // Before anything is loaded, the text is about the page's own model.
    let is_bundled = app.part(|state| state.model.entry().map_or(state.model.info.is_none(), |entry| entry.hub().is_none()));
    let has_arms = app.part(|state| !state.scan.arms.is_empty());
    view! {
        <section id="confirm" aria-labelledby="confirm-title">
            <p class="step" aria-hidden="true">"2"</p>
            <h2 id="confirm-title">"Prove: does anything break?"</h2>
            <p class="lead">
                "A spike is not proof. Every candidate is set to zero, alone and together with the others. So are controls that should not matter: \
                 random scalars of the same matrices, and the largest of the whole model. The measure is the loss on "
                {move || if is_bundled.get() { "books that the model has not seen." } else { "passages of public-domain books, which it may have read in training." }}
            </p>
            <div class="row">
                <button
                    type="button" class="primary" data-testid="confirm-run" on:click=move |_| app.client.act(|state| state.confirm())
                    disabled=move || !live.get() || running.get() || n_candidates.get() == 0
                >
                    {move || if running.get() { "Confirming…" } else { "Confirm" }}
                </button>
                {move || published.get().then(|| view! {
                    <button
                        type="button" data-testid="published-run" disabled=move || !live.get() || running.get()
                        on:click=move |_| app.client.act(|state| state.confirm_published())
                    >
                        "Check the published coordinates"
                    </button>
                })}
                {move || (n_candidates.get() == 0).then(|| view! { <span class="hint">"Scan first: there is no candidate yet."</span> })}
                {move || running.get().then(|| view! { <button type="button" data-testid="confirm-stop" on:click=move |_| app.client.stop()>"Stop"</button> })}
            </div>
            <Workers />
            {move || has_arms.get().then(|| arms().into_any())}
            <Verdicts />
        </section>
    }
}

/// The choice of the number of workers that share the arms, where there are several.
#[component]
fn Workers() -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let sharing = app.part(|state| state.model.sharing.filter(|sharing| sharing.most > 1));
    let most = Memo::new(move |_| sharing.get().map(|sharing| sharing.most));
    let workers = Memo::new(move |_| sharing.get().map_or(1, |sharing| sharing.workers));
    let works = app.part(|state| state.queue.running.is_some());
    let choose = move |event| {
        if let Ok(workers) = event_target_value(&event).parse() {
            app.client.act(|state| state.use_workers(workers));
        }
    };
    let options = move |most: usize| {
        (1..=most).map(|n| view! { <option value=n.to_string() selected=move || workers.get() == n>{n}</option> }).collect_view()
    };
    move || {
        most.get().map(|most| {
            view! {
                <div class="row">
                    <label class="field">
                        "Workers that share the arms"
                        <select
                            data-testid="workers" aria-describedby="workers-help" disabled=move || !live.get() || works.get()
                            prop:value=move || workers.get().to_string() on:change=choose
                        >
                            {options(most)}
                        </select>
                    </label>
                </div>
                <p class="hint" id="workers-help" data-testid="workers-help">{move || sharing.get().as_ref().map(language::sharing)}</p>
            }
        })
    }
}

fn arms() -> impl IntoView {
    let app = app();
    let arms = app.part(|state| state.scan.arms.clone());
    let apart = Memo::new(move |_| arms.with(|arms| arms_apart(arms)));
    view! {
        <div class="narrow">
            {arms_view("confirm-arms", "Held-out loss, nats per token", arms)}
            {move || apart.with(|arms| !arms.is_empty()).then(|| view! {
                {arms_view("confirm-apart", "A scalar, its whole channel, and the channel without the scalar", apart)}
            })}
        </div>
    }
}

/// Arms, drawn and as a table.
fn arms_view(name: &'static str, caption: &'static str, arms: Memo<Vec<ConfirmArm>>) -> impl IntoView {
    let chart = Signal::derive(move || arms.with(|arms| arms_chart(arms)));
    let csv = Callback::new(move |()| arms.with_untracked(|arms| arms_table(arms).to_csv()));
    let row = |arm: ConfirmArm| {
        view! {
            <tr>
                <th scope="row">{arm_name(&arm)}</th>
                <td class="number">{grouped(arm.n_zeroed as i64)}</td>
                <td class="number">{short(arm.loss_nats)}</td>
                <td class="number">{signed(arm.delta_nats)}</td>
            </tr>
        }
    };
    view! {
        <ChartView name caption chart lines=Signal::stored(Vec::new()) csv>
            <table>
                <thead><tr><th scope="col">"arm"</th><th scope="col">"scalars set to zero"</th><th scope="col">"loss"</th><th scope="col">"change"</th></tr></thead>
                <tbody>{move || arms.get().into_iter().map(row).collect_view()}</tbody>
            </table>
        </ChartView>
    }
}

#[component]
fn Verdicts() -> impl IntoView {
    let app = app();
    let report = app.part(|state| state.scan.confirm.clone());
    let entry = app.entry();
    let claim = move |at: EditTarget, report: &ConfirmReport| {
        let fact = entry.get_untracked()?.fact_on(at)?;
        let agrees = match agrees(fact, report) {
            Some(true) => " Here: as published.",
            Some(false) => " Here: not as published.",
            None => "",
        };
        Some(format!(" Published: {} ({}){agrees}", fact.known, fact.source))
    };
    let told = move |report: ConfirmReport| {
        let scalars = report.verdicts.iter().map(|Verdict { at, confirmed, because }| {
            let word = if *confirmed { "is a super weight." } else { "is not a super weight." };
            verdict(at.to_string(), *confirmed, word, language::verdict(because), claim((*at).into(), &report))
        });
        let rows = report.rows.iter().map(|row| {
            let word = if row.confirmed { "is critical as a whole." } else { "is not critical." };
            verdict(row.at.to_string(), row.confirmed, word, costs(row), claim(row.at.into(), &report))
        });
        view! {
            <ul class="verdicts" data-testid="verdicts">{scalars.chain(rows).collect_view()}</ul>
            <p class="note" data-testid="confirm-convention">{format!("Measured on {} tokens: {}", grouped(report.n_tokens as i64), language::convention(&report.convention))}</p>
        }
    };
    view! { <div role="status">{move || report.get().map(told)}</div> }
}

fn costs(row: &RowVerdict) -> String {
    let (delta, control) = (signed(row.delta_nats), short(row.control_nats));
    format!("Zeroing it changes the held-out loss by {delta} nats; the rows that follow it by at most {control}.")
}

/// The verdict on one removed target, and the published claim about it.
fn verdict(at: String, confirmed: bool, word: &'static str, because: String, claim: Option<String>) -> AnyView {
    view! {
        <li data-testid="verdict" data-confirmed=confirmed.to_string() class:confirmed=confirmed>
            <strong><span class="coordinate">{at}</span>" "{word}</strong>
            " "{because}
            {claim.map(|claim| view! { <span data-testid="published-claim">{claim}</span> })}
        </li>
    }
    .into_any()
}
