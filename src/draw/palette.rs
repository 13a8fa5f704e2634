//! Colours of pictures outside the page, copied from the page's light mode (`style/main.css`).

/// Returns the light-mode colour of a paint or of `paper`, for [`Chart::to_svg`](super::marks::Chart::to_svg).
pub fn light(name: &str) -> String {
    match name {
        "paper" => "#fbfaf6",
        "ink" => "#1f1e1b",
        "line" => "#dedacf",
        "intact" | "series-1" => "#2f5d7c",
        "ablated" => "#b03a1e",
        "series-2" => "#6a4c93",
        "series-3" => "#2e7d5b",
        "series-4" => "#8a6d1b",
        "series-5" => "#a23b72",
        // `muted`, and any new name.
        _ => "#66625a",
    }
    .into()
}

/// Returns the dark-mode colour of a paint or of `paper`.
#[cfg(feature = "cli")]
pub fn dark(name: &str) -> String {
    match name {
        "paper" => "#16171a",
        "ink" => "#ebe8e1",
        "line" => "#383a40",
        "intact" | "series-1" => "#8dbbd9",
        "ablated" => "#f28d6c",
        "series-2" => "#b9a0e0",
        "series-3" => "#7fcfa9",
        "series-4" => "#d9bd6a",
        "series-5" => "#e596be",
        _ => "#a5a198",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::super::marks::Paint;
    use super::light;

    #[test]
    fn palette_has_the_colours_of_the_style_sheet() {
        let css = include_str!("../../style/main.css");
        let by_day = css.split("@media").next().unwrap();
        let series = (0..5).map(Paint::Series);
        let paints = [Paint::Ink, Paint::Muted, Paint::Line, Paint::Intact, Paint::Ablated].into_iter().chain(series);
        for name in paints.map(Paint::name).chain(["paper"]) {
            assert!(by_day.contains(&format!("--{name}: {};", light(name))), "{name}");
            #[cfg(feature = "cli")]
            assert_eq!(css.matches(&format!("--{name}: {};", super::dark(name))).count(), 2, "{name}");
        }
    }
}
