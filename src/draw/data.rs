//! Draws any [`DataPlot`] from its [`DataTable`].
//!
//! A table may still be growing, or come from elsewhere: rows without a figure are left out, overflowed values are
//! drawn at the far end, and an empty picture says that it is empty. A logarithmic axis has no place for values that
//! are not positive: on the x-axis such rows are left out; on the y-axis they are at the bottom.

use super::heatmap::heatmap;
use super::marks::{Anchor, Chart, Paint};
use super::plot::{Axis, HEIGHT, LEFT, Plot, WIDTH};
use super::points::{Point, distinct, narrow, place, points, value_text};
use super::scale::Scale;
use crate::language::{mark, plot_title};
use crate::terms::{Column, DataPlot, DataTable, PlotKind};
use crate::words::{cut, short, visible};

/// The most lines in a readable picture; the table has all of them.
const MAX_LINES: usize = 10;
const MAX_BARS: usize = 60;

/// Draws the picture; without its table, the picture is empty.
pub fn chart(plot: &DataPlot, table: Option<&DataTable>) -> Chart {
    let points = table.and_then(|table| points(plot, table)).unwrap_or_default();
    let label = table.map_or_else(String::new, |table| label(table, &plot.y, plot.log_y));
    let drawn = match plot.kind {
        PlotKind::Lines => lines(plot, &points, &table.map_or_else(String::new, |table| self::label(table, &plot.x, plot.log_x)), &label),
        PlotKind::Bars => bars(plot, &points, &label),
        PlotKind::Heatmap => heatmap(plot, &points, &label),
    };
    drawn.unwrap_or_else(|| {
        let mut chart = Chart::new(plot_title(plot), WIDTH, 30.0);
        chart.text(Paint::Muted, 0.0, 18.0, Anchor::Start, "There is nothing to draw yet.");
        chart
    })
}

/// A column's label: its name and unit.
fn label(table: &DataTable, column: &str, log: bool) -> String {
    let known = table.columns.iter().find(|known| known.name == column);
    let label = known.map_or_else(|| column.replace('_', " "), Column::label);
    if log { format!("{label}, logarithmic") } else { label }
}

fn tick(value: f32) -> String {
    if value.abs() >= 1e5 { format!("{value:.1e}") } else { short(value) }
}

fn lines(plot: &DataPlot, points: &[Point], x_label: &str, y_label: &str) -> Option<Chart> {
    // If no x value is a number, the texts are spaced evenly.
    let names = distinct(points.iter().map(|point| &point.name));
    let is_named = points.iter().all(|point| point.x.is_none()) && !plot.log_x;
    let across = |point: &Point| if is_named { Some(place(&names, &point.name) as f32) } else { point.x };
    let drawn = || points.iter().filter_map(across);
    let (least, most) = drawn().filter(|x| x.abs() < f32::MAX).fold((f32::MAX, f32::MIN), |(a, b), x| (a.min(x), b.max(x)));
    if least > most {
        return None;
    }
    let x_scale = if plot.log_x { Scale::decades(least, most) } else { Scale::between(least.max(-1e38), most.min(1e38)) };
    let ys = points.iter().map(|point| point.y);
    let y_scale = if plot.log_y { Scale::new(ys, true) } else { Scale::close(ys.chain(plot.levels.iter().map(|(y, _)| narrow(*y)))) };
    let x = Axis { scale: x_scale, label: x_label, tick: if is_named { |_| String::new() } else { tick } };
    let mut frame = Plot::new(&plot_title(plot), x, Axis { scale: y_scale, label: y_label, tick }, 12.0);
    if is_named {
        let every = names.len().div_ceil(6).max(1);
        for (at, name) in names.iter().enumerate().step_by(every) {
            frame.chart.text(Paint::Muted, frame.x(at as f32), HEIGHT - 22.0, Anchor::Middle, cut(name, 9));
        }
    }
    plot.levels.iter().for_each(|(y, name)| frame.level(narrow(*y), &cut(&visible(name), 50)));
    plot.marks.iter().for_each(|(x, name)| frame.mark(narrow(*x), &cut(&visible(&mark(name, *x)), 30)));
    let groups = distinct(points.iter().map(|point| &point.by));
    let mut before: Vec<Vec<(f32, f32)>> = Vec::new();
    for (at, group) in groups.iter().enumerate().take(MAX_LINES) {
        let own = points.iter().filter(|point| point.by == **group);
        let own: Vec<_> = own.filter_map(|point| Some((across(point)?, point.y))).collect();
        let paint = if groups.len() > 1 { Paint::Series(at) } else { Paint::Intact };
        let places: Vec<_> = own.iter().map(|point| frame.at(*point)).collect();
        let dashed = at > 4 || before.iter().any(|other| is_over(&places, other));
        before.push(places);
        if own.len() < 60 {
            frame.dots(paint, own.iter().copied());
        }
        frame.path(paint, own, dashed);
        if plot.by.is_some() {
            let y = frame.chart.height + 10.0;
            frame.chart.path(paint, vec![(LEFT, y - 4.0), (LEFT + 22.0, y - 4.0)], dashed);
            legend(&mut frame.chart, y, cut(group, 50));
        }
    }
    if groups.len() > MAX_LINES {
        let y = frame.chart.height + 10.0;
        legend(&mut frame.chart, y, format!("and {} more in the table", groups.len() - MAX_LINES));
    }
    Some(frame.chart)
}

/// `true` if a line hides most of another; a dashed line lets the other show through.
fn is_over(places: &[(f32, f32)], other: &[(f32, f32)]) -> bool {
    let near = |((x, y), (other_x, other_y)): (&(f32, f32), &(f32, f32))| (x - other_x).abs() < 1.0 && (y - other_y).abs() < 1.5;
    let n_near = places.iter().zip(other).filter(|pair| near(*pair)).count();
    places.len() > 1 && 2 * n_near > places.len()
}

/// Adds a line of text below a picture.
fn legend(chart: &mut Chart, y: f32, text: String) {
    chart.text(Paint::Ink, LEFT + 28.0, y, Anchor::Start, text);
    chart.height += 16.0;
}

fn bars(plot: &DataPlot, points: &[Point], label: &str) -> Option<Chart> {
    const ROW: f32 = 34.0;
    let shown = &points[..points.len().min(MAX_BARS)];
    let bottom = ROW * shown.len() as f32 + 4.0;
    let mut chart = Chart::new(plot_title(plot), WIDTH, bottom + 34.0);
    let values = shown.iter().map(|point| point.y).chain(plot.levels.iter().map(|(value, _)| narrow(*value)));
    let scale = if plot.log_y { Scale::new(values, true) } else { Scale::around(values) };
    let at = |value: f32| WIDTH * scale.position(value);
    let is_close = are_close(shown);
    let groups = distinct(shown.iter().map(|point| &point.by));
    for (row, point) in shown.iter().enumerate() {
        let y = 4.0 + ROW * row as f32;
        let paint = match groups.len() {
            _ if point.y.abs() >= f32::MAX => Paint::Ablated,
            1 => Paint::Intact,
            _ => Paint::Series(place(&groups, &point.by)),
        };
        let name = if point.by.is_empty() { point.name.clone() } else { format!("{}, {}", point.name, point.by) };
        chart.text(Paint::Ink, 0.0, y + 11.0, Anchor::Start, cut(&name, 50));
        chart.text(paint, WIDTH, y + 11.0, Anchor::End, if is_close { finer(point.y) } else { value_text(point.y) });
        let (zero, end) = (at(0.0), at(point.y));
        chart.rect(Paint::Line, 0.0, y + 16.0, WIDTH, 9.0);
        chart.rect(paint, zero.min(end), y + 16.0, (zero - end).abs(), 9.0);
        for (level, _) in &plot.levels {
            chart.line(Paint::Ink, (at(narrow(*level)), y + 14.0), (at(narrow(*level)), y + 27.0), true);
        }
    }
    let levels: Vec<_> = plot.levels.iter().map(|(level, name)| format!("{name}: {}", value_text(narrow(*level)))).collect();
    if !levels.is_empty() {
        chart.text(Paint::Muted, 0.0, bottom + 12.0, Anchor::Start, cut(&visible(&format!("dashed, {}", levels.join("; "))), 64));
    }
    let rest = if points.len() > shown.len() { format!("; {} more in the table", points.len() - shown.len()) } else { String::new() };
    chart.text(Paint::Muted, 0.0, bottom + 28.0, Anchor::Start, format!("{label}{rest}"));
    Some(chart).filter(|_| !points.is_empty())
}

/// `true` if three digits would make many figures equal.
fn are_close(points: &[Point]) -> bool {
    let sizes = points.iter().map(|point| point.y.abs()).filter(|size| *size < f32::MAX);
    let (least, most) = sizes.fold((f32::MAX, 0.0_f32), |(a, b), size| (a.min(size), b.max(size)));
    points.len() > 1 && (10.0..1000.0).contains(&least) && most < 1.1 * least
}

fn finer(value: f32) -> String {
    if value.abs() < f32::MAX { format!("{value:.3}") } else { value_text(value) }
}

#[cfg(test)]
mod tests {
    use super::super::marks::Shape;
    use super::super::marks::tests::inside;
    use super::super::palette::light;
    use super::*;
    use crate::terms::Cell;

    const KINDS: [PlotKind; 3] = [PlotKind::Lines, PlotKind::Bars, PlotKind::Heatmap];

    fn table(rows: Vec<[Cell; 3]>) -> DataTable {
        let mut table = DataTable::new("loss", "Loss", &["factor", "loss (nats)", "arm"]);
        rows.into_iter().for_each(|row| table.push(row));
        table
    }

    fn texts(chart: &Chart) -> Vec<&str> {
        let text = |(_, shape): &'_ (Paint, Shape)| matches!(shape, Shape::Text { .. });
        let shown = chart.marks.iter().filter(|mark| text(mark));
        shown.map(|(_, shape)| if let Shape::Text { text, .. } = shape { text.as_str() } else { "" }).collect()
    }

    fn paths(chart: &Chart) -> usize {
        chart
            .marks
            .iter()
            .filter(|(_, shape)| matches!(shape, Shape::Path { points, .. } if points[0].0 > LEFT || points.len() > 2))
            .count()
    }

    #[test]
    fn charts_of_any_table_lie_inside_their_picture() {
        let cells = || {
            let numbers = [0.0, -3.5, 1e-30, 7.0, 512.0, 1e38, f64::from(f32::MAX), 1e300, -1e300];
            let mut cells: Vec<Cell> = numbers.into_iter().map(Cell::Number).collect();
            cells.extend([Cell::Number(f64::NAN), Cell::Nothing, "text\n".into(), "a very long name of an arm, ".repeat(9).into()]);
            cells
        };
        let mut tables = vec![table(Vec::new())];
        for x in cells() {
            tables.push(table(cells().into_iter().map(|y| [x.clone(), y, "a".into()]).collect()));
            tables.push(table(cells().into_iter().map(|y| [y.clone(), x.clone(), y]).collect()));
            tables.extend(cells().into_iter().map(|y| table(vec![[x.clone(), y, Cell::Nothing]])));
        }
        for kind in KINDS {
            for (log_x, log_y) in [(false, false), (true, false), (false, true), (true, true)] {
                let marks = vec![(0.5, "m".to_string()), (-1e300, "n".into()), (f64::NAN, "o".into())];
                let plot = DataPlot { log_x, log_y, levels: marks.clone(), marks, ..DataPlot::new(kind, "t", "loss", "factor", "loss") };
                for by in [plot.clone(), plot.split_by("arm")] {
                    tables.iter().for_each(|table| inside(&chart(&by, Some(table))));
                }
            }
        }
    }

    #[test]
    fn charts_without_data_say_so() {
        let full = table(vec![[1.0_f64.into(), 2.0_f64.into(), "a".into()]]);
        for kind in KINDS {
            let nothing = |plot: DataPlot, table: Option<&DataTable>| {
                assert_eq!(texts(&chart(&plot, table)), ["There is nothing to draw yet."], "{kind:?}");
            };
            nothing(DataPlot::new(kind, "t", "loss", "factor", "loss"), None);
            nothing(DataPlot::new(kind, "t", "loss", "none", "loss"), Some(&full));
            nothing(DataPlot::new(kind, "t", "loss", "factor", "arm"), Some(&full));
            nothing(DataPlot::new(kind, "t", "loss", "factor", "loss"), Some(&table(Vec::new())));
            let only = Some(("arm".into(), "b".into()));
            nothing(DataPlot { only, ..DataPlot::new(kind, "t", "loss", "factor", "loss") }, Some(&full));
        }
    }

    #[test]
    fn there_is_a_line_for_each_value_and_a_name_for_each_line() {
        let rows = ["one", "two", "one", "two", "one"].iter().enumerate().map(|(x, arm)| [x.into(), (x * x).into(), (*arm).into()]);
        let table = table(rows.collect());
        let plot = DataPlot::new(PlotKind::Lines, "t", "loss", "factor", "loss");
        assert_eq!(paths(&chart(&plot, Some(&table))), 1);
        let by = chart(&plot.clone().split_by("arm"), Some(&table));
        assert!(texts(&by).contains(&"one") && texts(&by).contains(&"two") && texts(&by).contains(&"loss, nats"));
        let only = DataPlot { only: Some(("arm".into(), "two".into())), ..plot };
        let dots = |chart: &Chart| {
            let points = |shape: &Shape| if let Shape::Dots { points } = shape { points.len() } else { 0 };
            chart.marks.iter().map(|(_, shape)| points(shape)).sum::<usize>()
        };
        assert_eq!((dots(&by), dots(&chart(&only, Some(&table)))), (5, 2));
    }

    #[test]
    fn lines_over_names_keep_their_order() {
        let table = table(vec![["first".into(), 2.0_f64.into(), "a".into()], ["then".into(), 1.0_f64.into(), "a".into()]]);
        let chart = chart(&DataPlot::new(PlotKind::Lines, "t", "loss", "factor", "loss"), Some(&table));
        assert!(texts(&chart).contains(&"first") && texts(&chart).contains(&"then"));
    }

    #[test]
    fn bars_tell_their_value_and_what_overflowed() {
        let table = table(vec![["Prune SW".into(), f32::MAX.into(), "a".into()], ["intact".into(), 3.5_f64.into(), "a".into()]]);
        let chart = chart(&DataPlot::new(PlotKind::Bars, "t", "loss", "factor", "loss"), Some(&table));
        assert_eq!(texts(&chart), ["Prune SW", "overflow", "intact", "3.5", "loss, nats"]);
        let svg = chart.to_svg(light);
        assert!(svg.contains("#b03a1e") && svg.contains("#2f5d7c"));
    }

    #[test]
    fn line_over_another_is_dashed() {
        let rows = (0..4_usize).flat_map(|x| ["a", "b", "c"].map(|by| [x.into(), (if by == "b" { 9 - x } else { x }).into(), by.into()]));
        let chart = chart(&DataPlot::new(PlotKind::Lines, "t", "loss", "factor", "loss").split_by("arm"), Some(&table(rows.collect())));
        let path = |(_, shape): &(Paint, Shape)| {
            if let Shape::Path { points, dashed } = shape { (points.len() > 2).then_some(*dashed) } else { None }
        };
        assert_eq!(chart.marks.iter().filter_map(path).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn figures_that_are_close_have_more_digits() {
        let rows = vec![["a".into(), 32.019_f64.into(), "a".into()], ["b".into(), 32.099_f64.into(), "a".into()]];
        let chart = chart(&DataPlot::new(PlotKind::Bars, "t", "loss", "factor", "loss"), Some(&table(rows)));
        assert!(texts(&chart).contains(&"32.019") && texts(&chart).contains(&"32.099"));
    }
}
