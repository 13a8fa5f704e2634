//! Draws a table as a heatmap.

use super::marks::{Anchor, Chart, Paint};
use super::plot::WIDTH;
use super::points::{Point, distinct, place, value_text};
use super::scale::Scale;
use crate::language::plot_title;
use crate::terms::DataPlot;
use crate::words::cut;

/// Approximate width of a letter.
const LETTER: f32 = 6.4;

/// A map of the points: names across, names down, and their values as shades; `None` without points.
pub(super) fn heatmap(plot: &DataPlot, points: &[Point], label: &str) -> Option<Chart> {
    const TOP: f32 = 20.0;
    let [across, down] = [distinct(points.iter().map(|point| &point.name)), distinct(points.iter().map(|point| &point.by))];
    let usable = || points.iter().map(|point| point.y).filter(|y| y.abs() < f32::MAX && (!plot.log_y || *y > 0.0));
    let (least, most) = usable().fold((f32::MAX, f32::MIN), |(a, b), y| (a.min(y), b.max(y)));
    let (least, most) = if least > most { (0.0, 1.0) } else { (least, most) };
    // Values below 0 have a separate colour, which also gets darker with the distance from 0.
    let has_negative = least < 0.0;
    let furthest = most.max(-least).min(1e38);
    let scale = if plot.log_y && least > 0.0 { Scale::decades(least, most) } else { Scale::between(0.0, furthest) };
    let left = letters(&down, 14) as f32 * LETTER + 8.0;
    let (width, height) = ((WIDTH - left) / across.len().max(1) as f32, (260.0 / down.len().max(1) as f32).clamp(2.0, 16.0));
    let bottom = TOP + height * down.len() as f32;
    let mut chart = Chart::new(plot_title(plot), WIDTH, bottom + 56.0);
    chart.text(Paint::Muted, 0.0, 12.0, Anchor::Start, plot.by.as_deref().unwrap_or_default().replace('_', " "));
    for point in points {
        let (x, y) = (left + width * place(&across, &point.name) as f32, TOP + height * place(&down, &point.by) as f32);
        let paint = match point.y {
            value if value.abs() >= f32::MAX => Paint::Ink,
            value if value < 0.0 && !plot.log_y => Paint::Ablated,
            _ => Paint::Intact,
        };
        chart.field(paint, (x, y), (width, height), scale.position(if plot.log_y { point.y } else { point.y.abs() }));
    }
    for (row, name) in down.iter().enumerate().step_by((13.0 / height).ceil() as usize) {
        chart.text(Paint::Muted, left - 4.0, TOP + height * row as f32 + height.min(13.0) - 3.0 + 2.0, Anchor::End, cut(name, 14));
    }
    let every = ((letters(&across, 8) as f32 * LETTER + 5.0) / width).ceil() as usize;
    for (column, name) in across.iter().enumerate().step_by(every.max(1)) {
        chart.text(Paint::Muted, left + width * (column as f32 + 0.5), bottom + 14.0, Anchor::Middle, cut(name, 8));
    }
    chart.text(Paint::Muted, WIDTH, bottom + 30.0, Anchor::End, plot.x.replace('_', " "));
    range(&mut chart, bottom, label, scale.ends(), has_negative);
    Some(chart).filter(|_| !points.is_empty())
}

/// Letters of the longest text, at most `most`.
fn letters(texts: &[&String], most: usize) -> usize {
    texts.iter().map(|text| text.chars().count()).fold(1, usize::max).min(most)
}

/// The legend of the shades, from the palest to the darkest; before them those below 0, in reverse.
fn range(chart: &mut Chart, bottom: f32, label: &str, (low, high): (f32, f32), has_negative: bool) {
    let low = format!("{label}: {}", value_text(if has_negative { -high } else { low }));
    let mut x = (low.chars().count() as f32 * LETTER + 6.0).min(220.0);
    chart.text(Paint::Muted, 0.0, bottom + 50.0, Anchor::Start, low);
    let mut steps = |paint: Paint, shares: [u8; 6]| {
        for share in shares {
            chart.field(paint, (x, bottom + 41.0), (12.0, 10.0), f32::from(share) / 5.0);
            x += 12.0;
        }
    };
    if has_negative {
        steps(Paint::Ablated, [5, 4, 3, 2, 1, 0]);
    }
    steps(Paint::Intact, [0, 1, 2, 3, 4, 5]);
    chart.text(Paint::Muted, x + 6.0, bottom + 50.0, Anchor::Start, value_text(high));
}

#[cfg(test)]
mod tests {
    use super::super::data::chart;
    use super::super::marks::Shape;
    use super::super::palette::light;
    use super::*;
    use crate::terms::{Cell, DataTable, PlotKind};

    fn map(rows: Vec<[Cell; 3]>) -> Chart {
        let mut table = DataTable::new("loss", "Loss", &["factor", "loss (nats)", "arm"]);
        rows.into_iter().for_each(|row| table.push(row));
        chart(&DataPlot::new(PlotKind::Heatmap, "t", "loss", "factor", "loss").split_by("arm"), Some(&table))
    }

    fn fields(chart: &Chart) -> Vec<(Paint, f32)> {
        let field = |(paint, shape): &(Paint, Shape)| if let Shape::Field { share, .. } = shape { Some((*paint, *share)) } else { None };
        chart.marks.iter().filter_map(field).collect()
    }

    fn has_text(chart: &Chart, wanted: &str) -> bool {
        chart.marks.iter().any(|(_, shape)| matches!(shape, Shape::Text { text, .. } if text == wanted))
    }

    #[test]
    fn negative_cells_are_as_dark_and_of_another_colour() {
        let rows = [(0_usize, -32.0_f64), (1, 16.0), (2, 0.0)].map(|(x, y)| [x.into(), y.into(), "a".into()]);
        let chart = map(rows.into_iter().collect());
        let fields = fields(&chart);
        assert_eq!(fields[..3], [(Paint::Ablated, 1.0), (Paint::Intact, 0.5), (Paint::Intact, 0.0)]);
        // The legend has fields on both sides of 0.
        assert_eq!(fields.len(), 3 + 12);
        assert!(has_text(&chart, "loss, nats: -32") && has_text(&chart, "32"));
    }

    #[test]
    fn largest_cell_is_the_darkest() {
        let rows = (0..3_usize).flat_map(|x| (0..2_usize).map(move |y| [x.into(), (x + 10 * y).into(), y.into()]));
        let chart = map(rows.collect());
        let fields = fields(&chart);
        // There are six fields and six more in the legend.
        assert_eq!(fields.len(), 12);
        assert_eq!((fields[5], fields[0]), ((Paint::Intact, 1.0), (Paint::Intact, 0.0)));
        assert!(has_text(&chart, "loss, nats: 0") && has_text(&chart, "12"));
        assert!(chart.to_svg(light).contains("fill-opacity=\"1.00\""));
    }
}
