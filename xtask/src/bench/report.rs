//! Formats figures as a section of docs/benchmarks.md, each with its standard.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::shapes::{self, Shape};

/// The place of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Floor,
    BrowserGpu,
    BrowserCpu,
    NativeGpu,
    NativeCpu,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor, WebGPU",
            Self::BrowserGpu => "browser, WebGPU",
            Self::BrowserCpu => "browser, CPU",
            Self::NativeGpu => "native, Vulkan",
            Self::NativeCpu => "native, CPU",
        }
    }

    fn is_gpu(self) -> bool {
        !matches!(self, Self::BrowserCpu | Self::NativeCpu)
    }
}

/// The figures of one page or command.
pub struct Run {
    pub shape: &'static str,
    pub place: Place,
    pub figures: Value,
    /// The reason why it may be incomplete.
    pub problem: Option<String>,
}

/// A figure: value, unit, and the subject of the measurement.
#[derive(Debug, Clone, PartialEq)]
struct Figure {
    value: Option<f64>,
    unit: String,
    of: String,
}

/// Figures by name, in the order of their reports.
struct Figures(Vec<(String, Figure)>);

impl Figures {
    fn get(&self, name: &str) -> Option<&Figure> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, figure)| figure)
    }
}

impl Run {
    /// `true` if anything was measured.
    pub fn has_figures(&self) -> bool {
        self.floor().is_some() || self.list().0.iter().any(|(_, figure)| figure.value.is_some())
    }

    /// The place, and the error there: outside of the page or command, or the one it reported.
    pub fn failure(&self) -> Option<String> {
        let told = [&self.figures["results"][0]["error"], &self.figures["shapes"][self.shape]["error"]];
        let why = self.problem.as_deref().or_else(|| told.into_iter().find_map(Value::as_str))?;
        Some(format!("{}: {}", self.place.name(), without_folders(why)))
    }

    pub fn json(&self) -> Value {
        json!({ "shape": self.shape, "place": self.place.name(), "figures": self.figures, "problem": self.problem })
    }

    /// The figures, which page and command report in the same form under different keys.
    fn list(&self) -> Figures {
        let listed = [&self.figures["results"][0]["measured"], &self.figures["measured"]];
        let figures = listed.into_iter().filter_map(Value::as_array).flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let read = |figure: &Value| {
            let missing = figure["missing"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
            let of = format!("{}{missing}", text(&figure["of"]));
            (text(&figure["name"]), Figure { value: figure["value"].as_f64(), unit: text(&figure["unit"]), of })
        };
        Figures(figures.map(read).collect())
    }

    /// Tokens a second of the floor, read every 8th token: the better of waiting for a read, and of continuing
    /// meanwhile.
    fn floor(&self) -> Option<f64> {
        let shape = &self.figures["shapes"][self.shape];
        let ways = ["every8", "every8_ahead"].into_iter().filter_map(|way| shape[way].as_f64());
        ways.reduce(f64::max)
    }

    fn machine(&self) -> Option<String> {
        let machine = &self.figures["machine"];
        let adapter = machine["adapter"].as_str()?;
        Some(format!("{adapter}, {} cores, {}", machine["cores"], machine["browser"].as_str().unwrap_or("an unknown browser")))
    }

    /// The device, as reported by the engine.
    fn device(&self) -> Option<&str> {
        let infos = [&self.figures["results"][0]["info"], &self.figures["info"]];
        infos.into_iter().find_map(|info| info["backend"]["name"].as_str())
    }
}

/// The bound for a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// The standard for a figure, for people, and the ratio to it.
struct Against {
    what: String,
    ratio: f64,
}

/// Formats all runs as a section.
pub fn section(command: &str, runs: &[Run]) -> String {
    let mut text = format!("## {}\n\n", time::UtcDateTime::now().date());
    let machines = runs.iter().filter_map(Run::machine).collect::<Vec<_>>();
    let machine = machines.first().cloned().unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let device = runs.iter().filter(|run| run.place.is_gpu()).find_map(Run::device);
        format!("{}, {cores} cores", device.unwrap_or("no GPU"))
    });
    let _ = writeln!(text, "{machine}. `{command}`");
    for shape in &shapes::ALL {
        let of_shape = runs.iter().filter(|run| run.shape == shape.name).collect::<Vec<_>>();
        if !of_shape.is_empty() {
            text.push_str(&table(shape, &of_shape));
        }
    }
    text
}

fn table(shape: &Shape, runs: &[&Run]) -> String {
    let mut text = format!("\n### {}\n\n", shape.title());
    let floor_run = runs.iter().find(|run| run.place == Place::Floor);
    let floor = floor_run.and_then(|run| run.floor());
    if let (Some(run), Some(_)) = (floor_run, floor) {
        let figures = &run.figures["shapes"][shape.name];
        let way = |name: &str| figures[name].as_f64().map_or_else(|| "-".into(), short);
        let _ = writeln!(
            text,
            "Floor (`benches/floor.js` in this browser, {} dispatches a token, bf16): {} tokens/s read every 8th token, {} with two \
             reads under way, of which the larger counts, for the native command too, which has no floor of its own; {} unread, \
             {} read each token.\n",
            figures["dispatches"],
            way("every8"),
            way("every8_ahead"),
            way("unread"),
            way("every1")
        );
    }
    let mut rows = String::new();
    for run in runs.iter().filter(|run| run.place != Place::Floor) {
        let figures = run.list();
        for (name, figure) in &figures.0 {
            let against = against(name, &figures, floor.filter(|_| run.place.is_gpu()));
            rows.push_str(&row(run.place, name, figure, against.as_ref(), goal(shape, run.place, name)));
        }
    }
    if shape.name == "smollm2-135m" && runs.iter().any(|run| run.place == Place::BrowserGpu && run.has_figures()) {
        rows.push_str(PEER);
    }
    if !rows.is_empty() {
        text.push_str(HEADER);
        text.push_str(&rows);
    }
    for failure in runs.iter().filter_map(|run| run.failure()) {
        let _ = writeln!(text, "\n{failure}.");
    }
    text
}

const HEADER: &str = "| where | figure | measured | of | held against | ratio | target | met |\n|---|---|---|---|---|---|---|---|\n";

/// A figure that was measured once; `bench` does not repeat it.
const PEER: &str = "| browser, WebGPU | transformers.js 4.3.1, onnxruntime-web, measured earlier on an H200 | 57 tokens/s (46 to 71) \
                    | fp32, batch 1, 128 tokens; 4-bit failed for want of f16 | | | | |\n";

fn row(place: Place, name: &str, figure: &Figure, against: Option<&Against>, goal: Option<Goal>) -> String {
    let measured = figure.value.map_or_else(|| "-".into(), |value| format!("{} {}", short(value), figure.unit));
    let judged = against.map(|against| against.ratio).or(figure.value);
    let (target, met) = match goal {
        None => (String::new(), ""),
        Some(goal) => {
            let (sign, limit, is_met) = match goal {
                Goal::AtLeast(limit) => (">=", limit, judged.is_some_and(|value| value >= limit)),
                Goal::AtMost(limit) => ("<=", limit, judged.is_some_and(|value| value <= limit)),
            };
            (format!("{sign} {limit}"), if is_met { "yes" } else { "**no**" })
        }
    };
    let (what, ratio) = against.map_or_else(Default::default, |against| (against.what.clone(), short(against.ratio)));
    let cells = [place.name(), &name.replace('_', " "), &measured, &figure.of, &what, &ratio, &target, met];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "/").replace('\n', " ")).join(" | "))
}

/// Compares a figure with its standard, if it has one.
fn against(name: &str, figures: &Figures, floor: Option<f64>) -> Option<Against> {
    let get = |name: &str| figures.get(name).and_then(|figure| figure.value);
    let value = get(name)?;
    if let Some(context) = name.strip_prefix("decode_both_at_") {
        let alone = get(&format!("decode_at_{context}"))?;
        return Some(Against { what: format!("one pane, {} tokens/s", short(alone)), ratio: value / alone });
    }
    if name.starts_with("decode_at_") {
        let floor = floor?;
        return Some(Against { what: format!("floor, {} tokens/s", short(floor)), ratio: value / floor });
    }
    match name {
        "prefill" => {
            let n = figures.get("prefill")?.of.split(' ').next()?.parse::<f64>().ok()?;
            let decode = get("decode_at_128")?;
            let (what, ratio) = (format!("decoding, {} tokens/s", short(decode)), 1e3 * n / value / decode);
            Some(Against { what, ratio })
        }
        "prefill_with_peaks" => {
            let plain = get("prefill")?;
            Some(Against { what: format!("prefill, {} ms", short(plain)), ratio: value / plain })
        }
        _ => None,
    }
}

/// The goals: for the ratio if there is one, else for the figure itself.
fn goal(shape: &Shape, place: Place, name: &str) -> Option<Goal> {
    let targets = &shape.targets;
    if !place.is_gpu() {
        return targets.cpu_decode.filter(|_| name == "decode_at_128").map(Goal::AtLeast);
    }
    let general = |goal| targets.general.then_some(goal);
    match name {
        "decode_at_128" | "decode_at_1024" => targets.decode_of_floor.map(Goal::AtLeast),
        "decode_both_at_128" | "decode_both_at_1024" => general(Goal::AtLeast(0.8)),
        "prefill" => general(Goal::AtLeast(20.0)),
        "prefill_with_peaks" => general(Goal::AtMost(2.0)),
        "first_token" => general(Goal::AtMost(2000.0)),
        "score" => general(Goal::AtMost(20_000.0)),
        "apply_edit" | "apply" => general(Goal::AtMost(16.0)),
        "gate_proj" => targets.gate_proj.map(Goal::AtLeast),
        "down_proj" => targets.down_proj.map(Goal::AtLeast),
        _ => None,
    }
}

/// The reason in one line, with files by their names only, because folders belong to one machine.
fn without_folders(problem: &str) -> String {
    let name = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    problem.split_whitespace().map(name).collect::<Vec<_>>().join(" ").trim_end_matches([' ', ':', '.']).to_owned()
}

/// Formats a number with three significant digits.
fn short(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    if value != 0.0 && value.abs() < 0.1 { format!("{value:.1e}") } else { format!("{value:.digits$}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, value: f64, unit: &str, of: &str) -> Value {
        json!({ "name": name, "value": value, "unit": unit, "of": of })
    }

    #[test]
    fn figures_are_held_against_floor_goals_and_each_other() {
        let measured = vec![
            figure("decode_at_128", 600.0, "tokens/s", "128 tokens after 128"),
            figure("decode_both_at_128", 300.0, "tokens/s", ""),
            figure("prefill", 10.0, "ms", "512 tokens"),
            figure("prefill_with_peaks", 30.0, "ms", "512 tokens"),
            figure("apply_edit", 3.0, "ms", "one scalar"),
            json!({ "name": "gate_proj", "unit": "TFLOP/s", "of": "products", "missing": "a | b" }),
        ];
        let run =
            |place, figures, problem: Option<&str>| Run { shape: "smollm2-135m", place, figures, problem: problem.map(str::to_owned) };
        let floor = json!({ "machine": { "adapter": "nvidia", "cores": 16, "browser": "Chrome/1" }, "shapes": { "smollm2-135m": { "every8": 900.0, "every8_ahead": 1000.0 } } });
        let text = section(
            "cargo xtask bench",
            &[
                run(Place::Floor, floor, None),
                run(Place::BrowserGpu, json!({ "results": [{ "measured": measured }] }), Some("cut /a/b short:\n")),
                run(Place::NativeGpu, json!({ "measured": [figure("decode_at_128", 400.0, "tokens/s", "")] }), None),
            ],
        );
        for expected in [
            "nvidia, 16 cores, Chrome/1. `cargo xtask bench`",
            "| browser, WebGPU | decode at 128 | 600 tokens/s | 128 tokens after 128 | floor, 1000 tokens/s | 0.60 | >= 0.5 | yes |",
            "| browser, WebGPU | decode both at 128 | 300 tokens/s |  | one pane, 600 tokens/s | 0.50 | >= 0.8 | **no** |",
            "| decoding, 600 tokens/s | 85.3 | >= 20 | yes |",
            "| prefill, 10.0 ms | 3.00 | <= 2 | **no** |",
            "| browser, WebGPU | apply edit | 3.00 ms | one scalar |  |  | <= 16 | yes |",
            "| browser, WebGPU | gate proj | - | products: a / b |  |  | >= 1.5 | **no** |",
            "| native, Vulkan | decode at 128 | 400 tokens/s |  | floor, 1000 tokens/s | 0.40 | >= 0.5 | **no** |",
            "57 tokens/s (46 to 71)",
            "browser, WebGPU: cut b short.",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn missing_figures_have_no_sentence_and_no_peer() {
        let run = |place, figures| Run { shape: "smollm2-135m", place, figures, problem: None };
        let measured = |value: Value| json!({ "measured": [{ "name": "prefill", "value": value, "unit": "ms", "of": "512 tokens" }] });
        let no_floor = run(Place::Floor, json!({ "shapes": { "smollm2-135m": { "error": "no WebGPU" } } }));
        let no_page = run(Place::BrowserGpu, json!({ "results": [measured(Value::Null)] }));
        let native = run(Place::NativeGpu, measured(12.0.into()));
        assert_eq!([&no_floor, &no_page, &native].map(Run::has_figures), [false, false, true]);
        assert_eq!(no_floor.failure().as_deref(), Some("floor, WebGPU: no WebGPU"));
        let text = section("cargo xtask bench", &[no_floor, no_page, native]);
        assert!(text.contains("| native, Vulkan | prefill | 12.0 ms |") && text.contains("\n\nfloor, WebGPU: no WebGPU.\n"), "{text}");
        assert!(!text.contains("Floor (") && !text.contains("transformers.js"), "{text}");

        let floor = run(Place::Floor, json!({ "shapes": { "smollm2-135m": { "every8": 900.0 } } }));
        let text = section("cargo xtask bench", &[floor]);
        assert!(text.contains("Floor (") && !text.contains('|'), "{text}");
    }

    #[test]
    fn figures_of_the_cpu_are_not_held_against_the_floor_of_a_gpu() {
        let shape = shapes::named("linchpin-13m").unwrap();
        assert_eq!(goal(shape, Place::NativeCpu, "decode_at_128"), Some(Goal::AtLeast(15.0)));
        assert_eq!(goal(shape, Place::NativeCpu, "prefill"), None);
        assert_eq!(goal(shape, Place::BrowserGpu, "first_token"), Some(Goal::AtMost(2000.0)));
    }

    #[test]
    fn dates_and_numbers() {
        let day = time::UtcDateTime::from_unix_timestamp(59 * 86_400).unwrap().date();
        assert_eq!(day.to_string(), "1970-03-01");
        assert_eq!([1234.4, 12.34, 1.234, 0.012, 0.0].map(short), ["1234", "12.3", "1.23", "1.2e-2", "0.00"]);
    }
}
