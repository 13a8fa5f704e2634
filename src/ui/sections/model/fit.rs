//! The fit of a model, shown before its weights are downloaded.

use leptos::prelude::*;

use crate::catalog::hub::HubModel;
use crate::terms::FitCheck;
use crate::ui::page::context::app;
use crate::ui::state::fit::{Fit, enough, that_fit};
use crate::words::{bytes, grouped};

#[component]
pub fn FitReport() -> impl IntoView {
    let app = app();
    let fit = app.part(|state| state.model.fit.clone());
    view! {
        <div class="fit">
            // Screen readers announce the verdict, but not the table.
            <div role="status">{move || fit.get().map(verdict)}</div>
            {move || fit.get().map(report)}
        </div>
    }
}

fn verdict(fit: Fit) -> AnyView {
    let verdict = fit.verdict();
    let Fit { title, inspection, .. } = fit;
    let sentence = format!(
        " {} parameters, {} on the device ({}), {} to download.",
        grouped(inspection.num_parameters as i64),
        bytes(inspection.weight_bytes as f64),
        inspection.backend.kind,
        bytes(inspection.to_fetch as f64)
    );
    view! {
        <p data-testid="fit" data-fits=inspection.fits.to_string()><strong class:error=!inspection.fits>{title}" "{verdict}</strong>{sentence}</p>
    }
    .into_any()
}

fn report(Fit { inspection, .. }: Fit) -> AnyView {
    let others = if inspection.fits { Vec::new() } else { that_fit(&inspection) };
    view! {
            <div class="scroll" tabindex="0" role="region" aria-label="Required sizes">
                <table data-testid="fit-checks">
                    <thead><tr><th scope="col">"what"</th><th scope="col">"needed"</th><th scope="col">"available"</th><th scope="col">"enough"</th></tr></thead>
                    <tbody>{inspection.checks.into_iter().map(|check| row(check, inspection.fits)).collect_view()}</tbody>
                </table>
            </div>
            <p class="note" data-testid="fit-advice">{inspection.advice}</p>
            {(!others.is_empty()).then(|| view! {
                <div class="chips" role="group" aria-label="Models that would fit">
                    <span class="hint">"These would fit:"</span>
                    {others.into_iter().map(other).collect_view()}
                </div>
            })}
    }
    .into_any()
}

fn row(check: FitCheck, fits: bool) -> AnyView {
    let word = enough(&check, fits);
    let FitCheck { what, needed, limit, .. } = check;
    view! {
        <tr>
            <th scope="row">{what}</th>
            <td class="number">{bytes(needed as f64)}</td>
            <td class="number">{limit.map_or_else(|| "unknown".into(), |limit| bytes(limit as f64))}</td>
            <td class:error=word == "no">{word}</td>
        </tr>
    }
    .into_any()
}

/// A button that chooses another model, without downloading it.
fn other(model: &'static HubModel) -> AnyView {
    let app = app();
    view! {
        <button type="button" class="chip" data-testid="fit-alternative" on:click=move |_| app.client.act(|state| state.choose(model.id))>
            {model.title}<span class="because">{bytes(model.download_bytes() as f64)}</span>
        </button>
    }
    .into_any()
}
