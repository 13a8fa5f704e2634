//! A picture with two axes: the frame of every chart of points or lines.

use super::marks::{Anchor, Chart, Paint};
use super::scale::Scale;

pub const WIDTH: f32 = 400.0;
pub const HEIGHT: f32 = 258.0;
pub const LEFT: f32 = 44.0;
const TOP: f32 = 24.0;
const BOTTOM: f32 = HEIGHT - 36.0;
/// Approximate height of a line of letters.
const LINE_HEIGHT: f32 = 12.5;

/// One axis with its name and the format of its ticks.
pub struct Axis<'a> {
    pub scale: Scale,
    pub label: &'a str,
    pub tick: fn(f32) -> String,
}

/// A chart with its axes.
pub struct Plot {
    pub chart: Chart,
    x: Scale,
    y: Scale,
    right: f32,
}

/// A line of a chart: `(x, y, lowest y, highest y)` from left to right.
pub struct Series {
    pub name: String,
    pub paint: Paint,
    pub dashed: bool,
    pub points: Vec<(f32, f32, f32, f32)>,
}

impl Plot {
    /// Draws axes, ticks and names; `margin` is left free on the right for the names of lines.
    pub fn new(title: &str, x: Axis<'_>, y: Axis<'_>, margin: f32) -> Self {
        let mut plot = Self { chart: Chart::new(title.into(), WIDTH, HEIGHT), x: x.scale, y: y.scale, right: WIDTH - margin };
        for tick in y.scale.ticks() {
            let at = plot.y(tick);
            plot.chart.line(Paint::Line, (LEFT, at), (plot.right, at), false);
            plot.chart.text(Paint::Muted, LEFT - 6.0, at + 4.0, Anchor::End, (y.tick)(tick));
        }
        for tick in x.scale.ticks() {
            plot.chart.text(Paint::Muted, plot.x(tick), BOTTOM + 14.0, Anchor::Middle, (x.tick)(tick));
        }
        plot.chart.line(Paint::Muted, (LEFT, BOTTOM), (plot.right, BOTTOM), false);
        plot.chart.text(Paint::Muted, f32::midpoint(LEFT, plot.right), BOTTOM + 30.0, Anchor::Middle, x.label);
        plot.chart.text(Paint::Muted, LEFT - 38.0, TOP - 12.0, Anchor::Start, y.label);
        plot
    }

    pub fn x(&self, value: f32) -> f32 {
        LEFT + (self.right - LEFT) * self.x.position(value)
    }

    pub fn y(&self, value: f32) -> f32 {
        BOTTOM - (BOTTOM - TOP) * self.y.position(value)
    }

    pub fn at(&self, (x, y): (f32, f32)) -> (f32, f32) {
        (self.x(x), self.y(y))
    }

    pub fn dots(&mut self, paint: Paint, points: impl IntoIterator<Item = (f32, f32)>) {
        let points = points.into_iter().map(|point| self.at(point)).collect();
        self.chart.dots(paint, points);
    }

    pub fn path(&mut self, paint: Paint, points: impl IntoIterator<Item = (f32, f32)>, dashed: bool) {
        let points = points.into_iter().map(|point| self.at(point)).collect();
        self.chart.path(paint, points, dashed);
    }

    /// Draws a dashed horizontal line at a value, with its name below it at the left.
    pub fn level(&mut self, value: f32, name: &str) {
        let y = self.y(value);
        self.chart.line(Paint::Ink, (LEFT, y), (self.right, y), true);
        self.chart.text(Paint::Muted, LEFT + 4.0, y + 13.0, Anchor::Start, name);
    }

    /// Draws a dashed vertical line at a value, with its name next to it at the top.
    pub fn mark(&mut self, value: f32, name: &str) {
        let x = self.x(value);
        self.chart.line(Paint::Ink, (x, TOP), (x, BOTTOM), true);
        let anchor = if x > f32::midpoint(LEFT, self.right) { Anchor::End } else { Anchor::Start };
        let beside = if anchor == Anchor::End { -4.0 } else { 4.0 };
        self.chart.text(Paint::Muted, x + beside, TOP + 10.0, anchor, name);
    }

    /// Draws lines with their ranges, each named at its end; names that would overlap are moved apart.
    pub fn series(&mut self, series: &[Series]) {
        let mut ends = Vec::new();
        for Series { paint, dashed, points, .. } in series {
            let line = points.iter().map(|(x, y, ..)| (*x, *y));
            match points.len() {
                0 | 1 => self.dots(*paint, line),
                _ => self.path(*paint, line, *dashed),
            }
            for (x, _, low, high) in points.iter().filter(|(.., low, high)| high > low) {
                self.path(*paint, [(*x, *low), (*x, *high)], false);
            }
            ends.push(points.last().map_or(BOTTOM, |(_, y, ..)| self.y(*y)));
        }
        for (series, y) in series.iter().zip(apart(&ends)).filter(|(series, _)| !series.points.is_empty()) {
            let x = series.points.last().map_or(0.0, |(x, ..)| self.x(*x));
            self.chart.text(series.paint, x.min(self.right) + 5.0, y + 4.0, Anchor::Start, series.name.clone());
        }
    }
}

/// Moves heights apart by at least the height of a line, in the same order and inside the picture.
fn apart(heights: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    order.sort_by(|a, b| heights[*a].total_cmp(&heights[*b]));
    let mut placed = heights.to_vec();
    let mut free = TOP;
    for at in &order {
        placed[*at] = placed[*at].max(free);
        free = placed[*at] + LINE_HEIGHT;
    }
    // Heights below the picture push the others up.
    let mut limit = BOTTOM;
    for at in order.iter().rev() {
        placed[*at] = placed[*at].min(limit).max(TOP);
        limit = placed[*at] - LINE_HEIGHT;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::marks::tests::inside;
    use crate::words::short;

    #[test]
    fn names_do_not_meet() {
        let placed = apart(&[100.0, 101.0, 99.0, 30.0]);
        assert_eq!(placed, [99.0 + LINE_HEIGHT, 99.0 + 2.0 * LINE_HEIGHT, 99.0, 30.0]);
        let low = apart(&[BOTTOM, BOTTOM, BOTTOM]);
        assert_eq!(low, [BOTTOM - 2.0 * LINE_HEIGHT, BOTTOM - LINE_HEIGHT, BOTTOM]);
    }

    #[test]
    fn plots_lie_inside_their_picture() {
        let axis = |scale| Axis { scale, label: "l", tick: short };
        let mut plot = Plot::new("t", axis(Scale::between(0.0, 1.0)), axis(Scale::new([1e-9, 3.0].into_iter(), true)), 90.0);
        let line = |y: f32| Series {
            name: "n".into(),
            paint: Paint::Series(7),
            dashed: false,
            points: vec![(0.2, y, y * 0.5, y * 2.0), (2.0, y, y, y)],
        };
        plot.series(&[line(1.0), line(0.0), line(f32::INFINITY), Series { points: Vec::new(), ..line(1.0) }]);
        plot.level(9e9, "above");
        plot.mark(-5.0, "left");
        plot.dots(Paint::Ink, [(f32::NAN, -1.0)]);
        inside(&plot.chart);
    }
}
