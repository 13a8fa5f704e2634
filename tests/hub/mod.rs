//! Models of the Hub, from a server on this machine that answers like the Hub.

mod download;
mod server;

use std::process::Output;

use self::server::{COMMIT, Held, Home, REPO, Server};
use crate::support::{code, files_in, fixture};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn command_brings_a_model_and_needs_no_network_for_it_again() {
    let home = Home::new("command");
    let server = Server::start(Held::folder(&fixture("llama")));
    let endpoint = server.endpoint().to_owned();
    let generate = ["generate", "--model", REPO, "--prompt", "the old man", "--max-new-tokens", "4", "--temperature", "0"];
    let first = home.linchpin(&endpoint, &generate);
    assert_eq!(code(&first), Some(0), "{}", stderr(&first));
    let progress = "loading weights 100 % of 202608 bytes";
    for part in ["verified against the Hub's digest", "not pinned: main is 0123456789abcdef", "tiny (", progress] {
        assert!(stderr(&first).contains(part), "{part}: {}", stderr(&first));
    }
    // The JSON names the origin, and the source of the digests.
    let json = home.linchpin(&endpoint, &[&generate[..], &["--json"]].concat());
    let export: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let provenance = &export["info"]["provenance"];
    assert_eq!(provenance["commit"], COMMIT);
    assert!(provenance["origin"].as_str().unwrap().ends_with(REPO), "{provenance}");
    assert_eq!(provenance["files"][0]["verified"], true);
    drop(server);
    let again = home.linchpin(&endpoint, &generate);
    assert_eq!((code(&again), &again.stdout.is_empty()), (Some(0), &false), "{}", stderr(&again));
    assert!(stderr(&again).contains("From the cache, because the Hub could not be asked"), "{}", stderr(&again));
    assert_eq!(digest_line(&again), digest_line(&first));
    // The same files in a folder are the same model.
    let folder = home.linchpin(&endpoint, &[&generate[..1], &["--model", fixture("llama").to_str().unwrap()], &generate[3..]].concat());
    assert_eq!(digest_line(&folder), digest_line(&first));
}

fn digest_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap().to_owned()
}

#[test]
fn refusals_are_told_in_words() {
    let home = Home::new("refusals");
    let server = Server::start(Held { is_gated: true, ..Held::folder(&fixture("llama")) });
    let command = |model: &str| {
        let output = home.linchpin(server.endpoint(), &["scan", "--model", model]);
        assert_eq!(code(&output), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let gated = command(REPO);
    assert!(gated.contains("accept its licence at https://huggingface.co/org/tiny") && gated.contains("HF_TOKEN"), "{gated}");
    let unknown = command("org/none");
    assert!(
        unknown.contains("there is no folder org/none")
            && unknown.contains(&format!("no model {}/org/none", server.endpoint().trim_start_matches("http://"))),
        "{unknown}"
    );
    assert!(command("org/tiny@nowhere").contains("no revision nowhere"));
    assert!(command("nothing-of-this-name").contains("linchpin models"));
}

#[test]
fn files_that_are_missing_are_told() {
    let without = |name: &str| {
        let mut held = Held::folder(&fixture("mistral"));
        held.files.remove(name);
        let (home, server) = (Home::new(&format!("without-{name}")), Server::start(held));
        let output = home.linchpin(server.endpoint(), &["generate", "--model", REPO, "--prompt", "the old man", "--max-new-tokens", "1"]);
        (code(&output), stderr(&output), server.downloads().len())
    };
    for (name, missing) in [("tokenizer.json", "tokenizer.json"), ("model.safetensors.index.json", "model.safetensors")] {
        let (code, told, n_downloads) = without(name);
        assert_eq!((code, n_downloads), (Some(2), 0), "{told}");
        assert!(told.contains(&format!("there is no file {missing}\n")) && told.contains("other formats are not read"), "{told}");
    }
    let (code, told, _) = without("generation_config.json");
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn published_findings_are_of_the_model_they_were_published_for() {
    let home = Home::new("published");
    let model = fixture("llama");
    let model = model.to_str().unwrap();
    let of = |args: &[&str]| home.linchpin("http://127.0.0.1:1", &[&["check", "--model", model], args].concat());
    let other = of(&["--published", "smollm2-135m"]);
    assert_eq!(code(&other), Some(2));
    assert!(stderr(&other).contains("this is not SmolLM2 135M"), "{}", stderr(&other));
    assert!(stderr(&of(&[])).contains("--published"));
    assert!(stderr(&of(&["--published", "qwen2-7b"])).contains("no coordinates are published"));
}

#[test]
fn another_revision_of_a_catalogued_model_is_another_model() {
    let home = Home::new("revision");
    let snapshot = home.0.join("hub/models--allenai--OLMo-1B-0724-hf/snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    for file in files_in(&fixture("llama")) {
        std::fs::copy(&file.url, snapshot.join(&file.name)).unwrap();
    }
    let model = format!("olmo-1b-0724@{COMMIT}");
    let of = |args: &[&str]| home.linchpin("http://127.0.0.1:1", &[args, &["--model", &model]].concat());
    let perplexity = of(&["perplexity", "--json"]);
    assert_eq!(code(&perplexity), Some(0), "{}", stderr(&perplexity));
    let perplexity: serde_json::Value = serde_json::from_slice(&perplexity.stdout).unwrap();
    assert_eq!(perplexity["model"]["id"], format!("olmo-1b-0724-hf-{}", &COMMIT[..12]));
    let refused = of(&["check"]);
    assert_eq!(code(&refused), Some(2));
    assert!(stderr(&refused).contains("--published olmo-1b-0724"), "{}", stderr(&refused));
    // On request, the shape is compared, as for any other model.
    assert!(stderr(&of(&["check", "--published", "olmo-1b-0724"])).contains("this is not OLMo 1B"));
}

#[test]
fn catalogue_is_a_document_too() {
    let listed = Home::new("models").linchpin("http://127.0.0.1:1", &["models", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let smol = listed["models"].as_array().unwrap().iter().find(|model| model["id"] == "smollm2-135m").unwrap();
    assert_eq!(smol["published"][0]["weight_edits"][0]["row"], 507);
    assert_eq!(smol["runs"], true);
    let described = include_str!("../../docs/export.md");
    for field in smol.as_object().unwrap().keys() {
        assert!(described.contains(&format!("`{field}`")), "{field} is not described");
    }
}
