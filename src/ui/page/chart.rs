//! Draws a [`Chart`], lets pointer and arrow keys move over its items, and offers it as SVG and CSV.

use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::html;
use leptos::prelude::*;

use crate::draw::marks::{Chart, Mark, RING_RADIUS, Shape};
use crate::draw::points::cell_text;
use crate::terms::{Cell, DataTable};
use crate::ui::page::dom;

/// One chart with its caption, its readout and its table.
#[component]
pub fn ChartView(
    /// Test id, and stem of the file names.
    name: &'static str,
    #[prop(into)] caption: String,
    #[prop(into)] chart: Signal<Chart>,
    /// Description of each item in one line; empty if items cannot be selected.
    #[prop(into)]
    lines: Signal<Vec<String>>,
    csv: Callback<(), String>,
    /// The table, created only while it is open.
    children: ChildrenFn,
) -> impl IntoView {
    let is_open = RwSignal::new(false);
    let toggle = move |event: leptos::ev::Event| is_open.set(event_target::<web_sys::HtmlDetailsElement>(&event).open());
    let save_svg =
        move |_| dom::download(&format!("linchpin-{name}.svg"), "image/svg+xml", &chart.with(|chart| chart.to_svg(dom::css_colour)));
    let save_csv = move |_| dom::download(&format!("linchpin-{name}.csv"), "text/csv", &csv.run(()));
    view! {
        <figure class="chart">
            <figcaption>{caption.clone()}</figcaption>
            <Picture name caption=caption.clone() chart lines />
            <div class="chart-foot">
                <details data-testid=format!("{name}-table") on:toggle=toggle>
                    <summary>"Table"</summary>
                    <div class="scroll" tabindex="0" role="region" aria-label=format!("{caption}, table")>{move || is_open.get().then(|| children())}</div>
                </details>
                <div class="saves">
                    <button type="button" class="link" data-testid=format!("{name}-svg") on:click=save_svg aria-label=format!("{caption}: save as SVG")>"SVG"</button>
                    <button type="button" class="link" data-testid=format!("{name}-csv") on:click=save_csv aria-label=format!("{caption}: save as CSV")>"CSV"</button>
                </div>
            </div>
        </figure>
    }
}

/// The table's HTML: a head and rows, each with its first cell as its header.
pub fn rows(table: &DataTable) -> AnyView {
    let head = table.columns.iter().map(|column| view! { <th scope="col">{column.label()}</th> }).collect_view();
    let row = |cells: &Vec<Cell>| {
        let first = cells.first().map(text).unwrap_or_default();
        let rest = cells.iter().skip(1).map(|cell| view! { <td class="number">{text(cell)}</td> }).collect_view();
        view! { <tr><th scope="row">{first}</th>{rest}</tr> }
    };
    let body = table.rows.iter().map(row).collect_view();
    view! { <table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table> }.into_any()
}

/// A cell for people: layers, channels and seeds with all digits.
fn text(cell: &Cell) -> String {
    match cell {
        Cell::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => number.to_string(),
        Cell::Nothing => String::new(),
        cell => cell_text(cell),
    }
}

#[component]
fn Picture(name: &'static str, caption: String, chart: Signal<Chart>, lines: Signal<Vec<String>>) -> AnyView {
    let view_box = move || chart.with(|chart| format!("0 0 {} {}", chart.width, chart.height));
    let marks = move || chart.with(|chart| chart.marks.iter().map(draw).collect_view());
    if lines.with_untracked(Vec::is_empty) {
        let title = move || chart.with(|chart| chart.title.clone());
        return view! { <svg class="drawing" data-testid=name viewBox=view_box role="img" aria-label=title>{marks}</svg> }.into_any();
    }
    let active = RwSignal::new(chart.with_untracked(|chart| chart.peak));
    let frame = NodeRef::<html::Div>::new();
    let count = move || lines.with(Vec::len);
    let point = move |event: PointerEvent| {
        let Some(frame) = frame.get_untracked() else { return };
        let rect = frame.get_bounding_client_rect();
        let at = chart.with_untracked(|chart| {
            let x = (f64::from(event.client_x()) - rect.left()) / rect.width().max(1.0) * f64::from(chart.width);
            chart.hits.iter().position(|hit| x >= f64::from(hit.x) && x < f64::from(hit.x + hit.width))
        });
        if let Some(at) = at {
            active.set(at);
        }
    };
    let step = move |event: KeyboardEvent| {
        let (last, now) = (count().saturating_sub(1), active.get_untracked());
        let next = match event.key().as_str() {
            "ArrowRight" | "ArrowUp" => (now + 1).min(last),
            "ArrowLeft" | "ArrowDown" => now.saturating_sub(1),
            "Home" => 0,
            "End" => last,
            _ => return,
        };
        event.prevent_default();
        active.set(next);
    };
    let line = move || lines.with(|lines| lines.get(active.get()).cloned().unwrap_or_default());
    let highlight = move || {
        chart.with(|chart| {
            chart.hits.get(active.get()).map(|hit| view! { <rect class="active" x=hit.x y="0" width=hit.width height=chart.height></rect> })
        })
    };
    view! {
        <div
            class="walk" data-testid=name node_ref=frame tabindex="0" role="slider" aria-label=format!("{caption}: layer")
            aria-valuemin="0" aria-valuemax=move || count().saturating_sub(1) aria-valuenow=move || active.get() aria-valuetext=line
            on:pointermove=point on:pointerdown=point on:keydown=step
        >
            <svg class="drawing" viewBox=view_box aria-hidden="true">{highlight}{marks}</svg>
        </div>
        <p class="readout" data-testid=format!("{name}-readout")>{line}</p>
    }
    .into_any()
}

fn draw((paint, shape): &Mark) -> AnyView {
    let class = |kind: &str| format!("{kind} {}", paint.name());
    match shape.clone() {
        Shape::Rect { x, y, width, height } => view! { <rect class=class("fill") x=x y=y width=width height=height></rect> }.into_any(),
        Shape::Field { x, y, width, height, share } => {
            view! { <rect class=class("fill") x=x y=y width=width height=height fill-opacity=share></rect> }.into_any()
        }
        Shape::Line { x1, y1, x2, y2, dashed } => {
            view! { <line class=class(if dashed { "stroke dashed" } else { "stroke" }) x1=x1 y1=y1 x2=x2 y2=y2></line> }.into_any()
        }
        shape @ Shape::Path { dashed, .. } => {
            view! { <path class=class(if dashed { "path dashed" } else { "path" }) d=shape.commands()></path> }.into_any()
        }
        shape @ Shape::Dots { .. } => view! { <path class=class("dots") d=shape.commands()></path> }.into_any(),
        Shape::Ring { x, y } => view! { <circle class=class("ring") cx=x cy=y r=RING_RADIUS></circle> }.into_any(),
        Shape::Text { x, y, anchor, text } => {
            view! { <text class=class("fill") x=x y=y text-anchor=anchor.name()>{text}</text> }.into_any()
        }
    }
}
