//! `linchpin models`: lists the catalogue of the Hub's models.

use std::fmt::Write;

use anyhow::Context;
use serde_json::{Value, json};

use super::print;
use crate::catalog::hub::{self, HubModel};
use crate::catalog::published::{Fact, Kind};
use crate::catalog::shape::{Dtype, Place};
use crate::engine;
use crate::terms::{EditTarget, Unit, WeightEdit};
use crate::words::rough_bytes;

/// Prints the catalogue, or one entry of it.
///
/// # Errors
///
/// An id that is not in the catalogue.
pub fn run(id: Option<&str>, is_json: bool) -> anyhow::Result<bool> {
    let one = id.map(|id| hub::find_any(id).or_else(|| hub::find_repo(id)).with_context(|| format!("the catalogue has no {id}")));
    let one = one.transpose()?;
    let models = hub::all().filter(|model| one.is_none_or(|one| one == *model)).collect::<Vec<_>>();
    if is_json {
        let models = models.into_iter().map(entry).collect::<Vec<_>>();
        let document = json!({ "format": "linchpin-models", "version": 1, "models": models });
        print::json(&document)?;
    } else if let Some(model) = one {
        print::text(&details(model));
    } else {
        print::text(&table(&models));
    }
    Ok(true)
}

fn table(models: &[&HubModel]) -> String {
    let mut text = format!(
        "{:<20} {:<37} {:>10} {:>8} {:>8} {:>8}  {:<23} known coordinates\n",
        "id", "repository", "parameters", "download", "on GPU", "on CPU", "licence"
    );
    for model in models {
        let [download, gpu, cpu] =
            [model.download_bytes(), model.device_bytes(Place::Gpu), model.device_bytes(Place::Cpu)].map(rough_bytes);
        let (id, repo, known) = (model.id, model.repo, known(model));
        let _ =
            writeln!(text, "{id:<20} {repo:<37} {:>10} {download:>8} {gpu:>8} {cpu:>8}  {:<23} {known}", parameters(model), license(model));
    }
    text += "A coordinate is LAYER,ROW,COL, as in --scalar, or a row; `linchpin models ID` lists its published \
             findings, `linchpin check --model ID` measures them.\n\
             ?: sources disagree, or it was not reproduced.";
    text
}

/// Formats the number of parameters: "134.5 M".
fn parameters(model: &HubModel) -> String {
    let n = model.shape.num_parameters() as f64;
    if n < 1e9 { format!("{:.1} M", n / 1e6) } else { format!("{:.2} B", n / 1e9) }
}

fn license(model: &HubModel) -> String {
    format!("{}{}", model.license, if model.is_gated { ", gated" } else { "" })
}

fn runs(model: &HubModel) -> bool {
    engine::reads(model.shape.family.model_type())
}

/// Lists the published coordinates, except inert ones.
fn known(model: &HubModel) -> String {
    let facts = model.facts.iter().filter(|fact| fact.kind != Kind::Inert);
    let of_fact = |fact: &'static Fact| fact.at.iter().map(move |target| coordinate(target) + doubt(fact));
    let known = facts.flat_map(of_fact).collect::<Vec<_>>();
    if known.is_empty() { "-".into() } else { known.join(" ") }
}

fn doubt(fact: &Fact) -> &'static str {
    if fact.is_disputed || fact.kind == Kind::Listed { "?" } else { "" }
}

/// The unit in typed form, with its name if it is not a scalar.
fn coordinate(target: &EditTarget) -> String {
    let place = target.place();
    let name = match place.unit.coordinates() {
        [only] => format!("{} ", only.name()),
        _ => String::new(),
    };
    format!("{name}{}{}", place.typed(), if place.unit == Unit::ChannelMean { " at its mean" } else { "" })
}

fn details(model: &HubModel) -> String {
    let mut text = format!("{} (https://huggingface.co/{})\n", model.title, model.repo);
    let [download, gpu, cpu] = [model.download_bytes(), model.device_bytes(Place::Gpu), model.device_bytes(Place::Cpu)].map(rough_bytes);
    let _ = writeln!(
        text,
        "{} parameters, {} licence: {download} to download, {gpu} on a GPU, {cpu} on the CPU",
        parameters(model),
        license(model)
    );
    let _ = writeln!(text, "revision: {}", model.revision);
    if !model.checkpoints.is_empty() {
        let _ = writeln!(text, "checkpoints of its training are branches, among them:");
    }
    for checkpoint in model.checkpoints {
        let _ = writeln!(text, "    --model {}@{checkpoint}", model.id);
    }
    if model.facts.is_empty() {
        text += "no findings on its super weights are published";
    }
    text + &model.facts.iter().map(finding).collect::<Vec<_>>().join("\n")
}

/// Formats a finding: "layer 1, [1764, 1710]: published as critical: one number. Zeroing it ... (arXiv:2411.07191,
/// Table 2)"
pub fn finding(fact: &Fact) -> String {
    let at = fact.at.iter().map(EditTarget::to_string).collect::<Vec<_>>().join("; ");
    let at = if at.is_empty() { String::new() } else { format!("{at}: ") };
    let disputed = if fact.is_disputed { ", disputed" } else { "" };
    format!("{at}{}{disputed}. {} ({})", fact.kind.words(), fact.known, fact.source)
}

/// Returns a finding as JSON, with the same fields in every list of findings.
pub fn fact(fact: &Fact) -> Value {
    let kind = match fact.kind {
        Kind::Alone => "alone",
        Kind::Jointly => "jointly",
        Kind::Row => "row",
        Kind::Listed => "listed",
        Kind::Inert => "inert",
        Kind::Absent => "absent",
    };
    let edits = fact.at.iter().map(|target| WeightEdit { target: *target, scale: 0.0 }).collect::<Vec<_>>();
    json!({ "kind": kind, "weight_edits": edits, "known": fact.known, "source": fact.source, "disputed": fact.is_disputed })
}

fn entry(model: &HubModel) -> Value {
    let dtype = match model.dtype {
        Dtype::F32 => "f32",
        Dtype::F16 => "f16",
        Dtype::Bf16 => "bf16",
    };
    let shape = &model.shape;
    json!({
        "id": model.id,
        "title": model.title,
        "repo": model.repo,
        "revision": model.revision,
        "sha256": model.weights.map(|file| file.sha256),
        "license": model.license,
        "gated": model.is_gated,
        "dtype": dtype,
        "model_type": shape.family.model_type(),
        "runs": runs(model),
        "num_hidden_layers": shape.num_hidden_layers,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_parameters": shape.num_parameters(),
        "download_bytes": model.download_bytes(),
        "gpu_bytes": model.device_bytes(Place::Gpu),
        "cpu_bytes": model.device_bytes(Place::Cpu),
        "checkpoint": model.checkpoints.last(),
        "checkpoints": model.checkpoints,
        "published": model.facts.iter().map(fact).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_a_line_that_can_be_copied_from() {
        let all = hub::all().collect::<Vec<_>>();
        let table = table(&all);
        assert_eq!(table.lines().count(), all.len() + 3);
        let ends = |id: &str, end: &str| table.lines().any(|line| line.starts_with(id) && line.ends_with(end));
        assert!(
            ends("smollm2-1.7b ", " 1,749,4987 row 7,227 row 7,161") && ends("llama-30b ", " 3,5633,12817 3,5633,17439? 10,5633,14386?"),
            "{table}"
        );
        let line = table.lines().find(|line| line.starts_with("smollm2-135m ")).unwrap();
        for part in ["HuggingFaceTB/SmolLM2-135M", "134.5 M", "269 MB", "538 MB", "Apache-2.0", "row 11,507"] {
            assert!(line.contains(part), "{line}");
        }
        let olmo = table.lines().find(|line| line.starts_with("olmo-1b-0724")).unwrap();
        assert!(olmo.ends_with(" 1,1764,1710"), "{olmo}");
    }

    #[test]
    fn every_family_of_the_catalogue_runs() {
        for model in hub::all() {
            assert!(runs(model), "{}: {}", model.id, model.shape.family.model_type());
        }
    }

    #[test]
    fn details_say_what_is_known_and_by_whom() {
        let llama = details(hub::find_any("llama-3.2-1b").unwrap());
        for part in ["llama3.2, gated", "layer 1, [698, 1417]", "arXiv:2507.23279", "revision: 4e20de36"] {
            assert!(llama.contains(part), "{llama}");
        }
        assert!(details(hub::find_any("qwen2-7b").unwrap()).contains("no findings on its super weights"));
        let olmo = details(hub::find_any("olmo-2-1124-7b").unwrap());
        for name in ["@stage1-step150-tokens1B\n", "@stage1-step99000-tokens416B\n", "@stage1-step928646-tokens3896B\n"] {
            assert!(olmo.contains(name), "{olmo}");
        }
    }
}
