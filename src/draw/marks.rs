//! A chart as a list of marks: one layout that the page draws and the SVG export writes.

use std::fmt::Write as _;

/// A colour by its meaning; the style sheet and the export find its value under [`Paint::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Ink,
    Muted,
    Line,
    Intact,
    Ablated,
    /// One of several compared things, by its index into [`SERIES`].
    Series(usize),
}

impl Paint {
    /// The paint's CSS custom property without the dashes, and the suffix of its class.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ink => "ink",
            Self::Muted => "muted",
            Self::Line => "line",
            Self::Intact => "intact",
            Self::Ablated => "ablated",
            Self::Series(place) => SERIES[place % SERIES.len()],
        }
    }
}

/// Distinguishable colours for things without their own colour.
const SERIES: [&str; 5] = ["series-1", "series-2", "series-3", "series-4", "series-5"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Rect {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
    },
    /// A field of a heatmap with opacity `share`, `0..=1`.
    Field {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        share: f32,
    },
    Line {
        x1: f32,
        y1: f32,
        x2: f32,
        y2: f32,
        dashed: bool,
    },
    /// A ring, so that marks behind it stay visible.
    Ring {
        x: f32,
        y: f32,
    },
    /// Straight lines from point to point.
    Path {
        points: Vec<(f32, f32)>,
        dashed: bool,
    },
    /// Thousands of points as one shape, which a page draws as fast as one.
    Dots {
        points: Vec<(f32, f32)>,
    },
    Text {
        x: f32,
        y: f32,
        anchor: Anchor,
        text: String,
    },
}

impl Shape {
    /// Returns the SVG path commands of a path or of dots. A segment of length 0 with round ends is a dot.
    pub fn commands(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        match self {
            Self::Path { points, .. } => points.iter().enumerate().for_each(|(i, (x, y))| {
                let _ = write!(out, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
            }),
            Self::Dots { points } => points.iter().for_each(|(x, y)| {
                let _ = write!(out, "M{x:.1} {y:.1}h0");
            }),
            _ => {}
        }
        out
    }
}

pub type Mark = (Paint, Shape);

/// The area in which a pointer selects one of the chart's items.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    pub x: f32,
    pub width: f32,
}

/// A picture without its colours.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    pub title: String,
    pub width: f32,
    pub height: f32,
    pub marks: Vec<Mark>,
    /// Areas of the items, one for each, if a pointer can select them.
    pub hits: Vec<Hit>,
    /// Index of the item worth reading first.
    pub peak: usize,
}

/// Font size of a chart, in its own units.
pub const FONT_SIZE: f32 = 11.5;
pub const RING_RADIUS: f32 = 3.2;
/// Stroke widths, in the chart's units.
pub const PATH_WIDTH: f32 = 1.7;
pub const DOT_WIDTH: f32 = 4.4;

impl Chart {
    pub fn new(title: String, width: f32, height: f32) -> Self {
        Self { title, width, height, marks: Vec::new(), hits: Vec::new(), peak: 0 }
    }

    pub fn rect(&mut self, paint: Paint, x: f32, y: f32, width: f32, height: f32) {
        self.marks.push((paint, Shape::Rect { x, y, width, height }));
    }

    pub fn field(&mut self, paint: Paint, (x, y): (f32, f32), (width, height): (f32, f32), share: f32) {
        self.marks.push((paint, Shape::Field { x, y, width, height, share }));
    }

    pub fn line(&mut self, paint: Paint, (x1, y1): (f32, f32), (x2, y2): (f32, f32), dashed: bool) {
        self.marks.push((paint, Shape::Line { x1, y1, x2, y2, dashed }));
    }

    pub fn ring(&mut self, paint: Paint, x: f32, y: f32) {
        self.marks.push((paint, Shape::Ring { x, y }));
    }

    pub fn path(&mut self, paint: Paint, points: Vec<(f32, f32)>, dashed: bool) {
        self.marks.push((paint, Shape::Path { points, dashed }));
    }

    pub fn dots(&mut self, paint: Paint, points: Vec<(f32, f32)>) {
        self.marks.push((paint, Shape::Dots { points }));
    }

    pub fn text(&mut self, paint: Paint, x: f32, y: f32, anchor: Anchor, text: impl Into<String>) {
        self.marks.push((paint, Shape::Text { x, y, anchor, text: text.into() }));
    }

    /// Writes a stand-alone SVG file with the colours and the title inside. `colour` returns the value of a paint or of
    /// `paper`.
    pub fn to_svg(&self, colour: impl Fn(&str) -> String) -> String {
        let (width, height, title) = (self.width, self.height, escape(&self.title));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{}\" height=\"{}\" font-family=\"system-ui, sans-serif\" \
             font-size=\"{FONT_SIZE}\">\n<title>{title}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
            width * 2.0,
            height * 2.0,
            escape(&colour("paper"))
        );
        for (paint, shape) in &self.marks {
            let paint = escape(&colour(paint.name()));
            // Writing to a String cannot fail.
            let _ = match shape {
                Shape::Rect { x, y, width, height } => {
                    writeln!(svg, "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{paint}\"/>")
                }
                Shape::Field { x, y, width, height, share } => writeln!(
                    svg,
                    "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{paint}\" fill-opacity=\"{share:.2}\"/>"
                ),
                Shape::Line { x1, y1, x2, y2, dashed } => {
                    let dash = if *dashed { " stroke-dasharray=\"3 3\"" } else { "" };
                    writeln!(svg, "<line x1=\"{x1:.2}\" y1=\"{y1:.2}\" x2=\"{x2:.2}\" y2=\"{y2:.2}\" stroke=\"{paint}\"{dash}/>")
                }
                Shape::Ring { x, y } => writeln!(
                    svg,
                    "<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{RING_RADIUS}\" fill=\"none\" stroke=\"{paint}\" stroke-width=\"1.6\"/>"
                ),
                Shape::Path { dashed, .. } => {
                    let dash = if *dashed { " stroke-dasharray=\"3 3\"" } else { "" };
                    let d = shape.commands();
                    writeln!(svg, "<path d=\"{d}\" fill=\"none\" stroke=\"{paint}\" stroke-width=\"{PATH_WIDTH}\"{dash}/>")
                }
                Shape::Dots { .. } => {
                    let d = shape.commands();
                    writeln!(
                        svg,
                        "<path d=\"{d}\" fill=\"none\" stroke=\"{paint}\" stroke-width=\"{DOT_WIDTH}\" stroke-linecap=\"round\"/>"
                    )
                }
                Shape::Text { x, y, anchor, text } => {
                    writeln!(
                        svg,
                        "<text x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{}\" fill=\"{paint}\">{}</text>",
                        anchor.name(),
                        escape(text)
                    )
                }
            };
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Escapes text for XML. Text from a model can contain anything, including control characters, which XML 1.0 forbids.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Asserts that every mark is inside the picture.
    pub(crate) fn inside(chart: &Chart) {
        for (_, shape) in &chart.marks {
            let points = match *shape {
                Shape::Rect { x, y, width, height } | Shape::Field { x, y, width, height, .. } => vec![(x, y), (x + width, y + height)],
                Shape::Line { x1, y1, x2, y2, .. } => vec![(x1, y1), (x2, y2)],
                Shape::Ring { x, y } | Shape::Text { x, y, .. } => vec![(x, y)],
                Shape::Path { ref points, .. } | Shape::Dots { ref points } => points.clone(),
            };
            for (x, y) in points {
                assert!((0.0..=chart.width).contains(&x) && (0.0..=chart.height).contains(&y), "{shape:?}");
            }
        }
    }

    #[test]
    fn exported_picture_stands_alone_and_holds_text_as_text() {
        let mut chart = Chart::new("a < b".into(), 10.0, 5.0);
        chart.text(Paint::Ablated, 1.0, 2.0, Anchor::End, "<script>\u{7}&");
        let svg = chart.to_svg(|name| format!("#{name}"));
        assert!(svg.contains("<title>a &lt; b</title>"));
        assert!(svg.contains("fill=\"#ablated\">&lt;script&gt;\u{fffd}&amp;</text>"));
        chart.path(Paint::Series(1), vec![(0.0, 1.0), (2.5, 3.0)], true);
        chart.dots(Paint::Ink, vec![(1.0, 1.0), (2.0, 2.0)]);
        let svg = chart.to_svg(|name| format!("#{name}"));
        assert!(svg.contains(r##"<path d="M0.0 1.0L2.5 3.0" fill="none" stroke="#series-2""##), "{svg}");
        assert!(svg.contains(r#"<path d="M1.0 1.0h0M2.0 2.0h0""#));
        assert!(!svg.contains("class=") && !svg.contains("var("));
    }
}
