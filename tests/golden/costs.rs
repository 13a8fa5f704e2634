//! Measures what zeroing each scalar costs, among the largest products of every layer: the truth that the search for
//! super weights is held to (tests/golden/costs.json).
//!
//! ```sh
//! cargo run --features cli --example costs -- MODEL_FOLDER [FIRST_LAYER]
//! ```
//!
//! Each line of the output is one scalar: layer, row, column, and the change of the held-out loss in nats. It takes
//! minutes for the bundled models and an hour for SmolLM2-135M-Instruct on two cores; a run that was ended goes on
//! from a layer.

#![allow(clippy::print_stdout, reason = "the figures are what it is run for")]

use std::path::Path;

use burn::tensor::Device;
use linchpin::analysis::eval::{self, HeldOut};
use linchpin::analysis::prefix::Prefixes;
use linchpin::analysis::products::largest_products;
use linchpin::job::control::Control;
use linchpin::loading::checkpoint::Onto;
use linchpin::loading::load::load_weights;
use linchpin::model::Model;
use linchpin::model::config::ModelConfig;
use linchpin::platform::Files;
use linchpin::terms::{Ablation, ModelFile};
use linchpin::tokenizer::Tokenizer;

const PROMPT: &str = "It was a dark evening, and the old man";

fn main() -> anyhow::Result<()> {
    let Some(folder) = std::env::args().nth(1) else { anyhow::bail!("name the folder of a model") };
    let first_layer = std::env::args().nth(2).map_or(Ok(0), |layer| layer.parse())?;
    pollster::block_on(measure(Path::new(&folder), first_layer))
}

async fn measure(folder: &Path, first_layer: usize) -> anyhow::Result<()> {
    let config = ModelConfig::from_json(&std::fs::read(folder.join("config.json"))?)?;
    let tokenizer = Tokenizer::from_json(&std::fs::read(folder.join("tokenizer.json"))?, config.vocab_size)?;
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let file =
        |entry: std::fs::DirEntry| ModelFile { name: entry.file_name().to_string_lossy().into(), url: entry.path().display().to_string() };
    let files = Files::new(entries.into_iter().map(file).collect());
    let control = Control::silent();
    let model = load_weights(&files, &config, &Onto::new(&Device::flex(), None), &control).await?.model;
    let text = HeldOut::bundled(&tokenizer, config.max_position_embeddings)?;
    let products = largest_products(&model, &tokenizer.encode(PROMPT)?, &control).await?;
    let mut prefixes = Prefixes::default();
    let nothing = Ablation::default();
    let mut loss = async |model: &Model| {
        let measured = eval::measure(model, &nothing, &text, &mut prefixes, &control, |_| ()).await;
        measured.map(|measured| measured.loss_nats)
    };
    let intact = loss(&model).await?;
    println!("intact {intact}");
    for product in products.into_iter().filter(|product| product.at.layer >= first_layer) {
        let changed = model.with_ablation(&Ablation::zeroing([product.at]))?;
        let cost = loss(&changed).await? - intact;
        println!("{} {} {} {cost:.6}", product.at.layer, product.at.row, product.at.col);
    }
    Ok(())
}
