//! The concentration of the loss proxy over the training of one model, drawn from a recording.

use leptos::prelude::*;

use crate::draw::training::{rise_chart, share_chart};
use crate::protocol::Export;
use crate::tables::training::checkpoints as table;
use crate::terms::{Checkpoint, DataTable, read_json};
use crate::ui::page::chart::{ChartView, rows};

/// The output of `linchpin training` for the run described in training/README.md.
const RECORDED: &str = include_str!("../../../../public/recorded/training.json");

/// The columns in the page's table: those that are drawn.
const READ: [&str; 5] = ["step", "median_share_0.01", "smallest_share_0.01", "largest_share_0.01", "scalar_delta_nats"];

/// The checkpoints of the recording in the order of training, and their measuring device.
fn recorded() -> (Vec<Checkpoint>, Option<String>) {
    let recording = read_json::<Export>(RECORDED);
    recording.map(|export| (export.checkpoints, export.info.map(|info| info.backend.kind))).unwrap_or_default()
}

#[component]
pub fn Training() -> impl IntoView {
    let (checkpoints, backend) = recorded();
    let (shares, rise) = (share_chart(&checkpoints), rise_chart(&checkpoints));
    let table = StoredValue::new(table(&checkpoints, backend.as_deref()));
    let csv = Callback::new(move |()| table.with_value(DataTable::to_csv));
    let body = move || table.with_value(|table| rows(&table.select(&READ)));
    view! {
        <h3><span class="tag">"Recorded"</span>" Over training"</h3>
        <p class="note">
            "A model of the bundled one's shape, trained on 171 million tokens and scored at fourteen checkpoints. In the paper, the concentration of OLMo-2-7B grows over \
             pretraining. Here it grows in some layers only: the most concentrated goes from 12 % to 90 % and ends at 78 %, while the median layer rises from 7 % to 13 % and \
             falls back to 7 %. One scalar becomes critical only later: +0.56 nats without it at the end."
        </p>
        <div class="pair">
            <ChartView name="training-shares" caption="Loss proxy in the top 1 %: median layer, and range over the layers" chart=Signal::stored(shares) lines=Signal::stored(Vec::new()) csv>{body}</ChartView>
            <ChartView name="training-rise" caption="Rise of the held-out loss, nats, with the scalar layer 3, [135, 195] zeroed" chart=Signal::stored(rise) lines=Signal::stored(Vec::new()) csv>{body}</ChartView>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::marks::tests::inside;
    use crate::terms::RHOS;

    #[test]
    fn recording_holds_what_the_page_says_of_it() {
        let (checkpoints, backend) = recorded();
        assert_eq!((checkpoints.len(), backend.as_deref(), RHOS[1]), (14, Some("vulkan"), 0.01));
        let table = table(&checkpoints, backend.as_deref()).select(&READ);
        let column = |name| (0..14).map(|row| table.cell(row, name).unwrap().number().unwrap()).collect::<Vec<_>>();
        let in_percent = |name| column(name).into_iter().map(|share| (share * 100.0).round()).collect::<Vec<_>>();
        let (medians, largest, rises) = (in_percent(READ[1]), in_percent(READ[3]), column(READ[4]));
        assert_eq!(column("step")[13], 12_363.0);
        assert_eq!((medians[0], medians.iter().copied().fold(0.0, f64::max), medians[13]), (7.0, 13.0, 7.0));
        assert_eq!((largest[0], largest.iter().copied().fold(0.0, f64::max), largest[13]), (12.0, 90.0, 78.0));
        assert!(rises[5] < 0.01 && rises[13] > 0.5);
        inside(&share_chart(&checkpoints));
        inside(&rise_chart(&checkpoints));
    }
}
