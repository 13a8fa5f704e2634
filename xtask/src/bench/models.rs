//! Writes models of random weights: speed depends on shapes only, and nothing needs to be downloaded.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::shapes::{Shape, Sizes};

/// A byte-level tokenizer of 272 tokens, which fits any larger vocabulary.
const TOKENIZER: &str = include_str!("../../../tests/fixtures/llama/tokenizer.json");
/// Standard deviation of the weights, as models are initialised.
const SCALE: f32 = 0.02;
const SEED: u64 = 1;
/// 1 in bf16.
const ONE: u16 = 0x3f80;

/// The folder of a model in `folder`, written unless it is there.
pub fn write(folder: &Path, shape: &Shape, sizes: &Sizes) -> Result<PathBuf, String> {
    let whole = folder.join(shape.id());
    let config = sizes.config(&shape.title());
    if std::fs::read_to_string(whole.join("config.json")).is_ok_and(|there| there == config) {
        return Ok(whole);
    }
    println!("[bench] writing {}", whole.display());
    // Under its own name only once it is complete.
    let part = folder.join(format!("{}.part", shape.id()));
    let failed = |why: std::io::Error| format!("cannot write {}: {why}", part.display());
    for old in [&part, &whole] {
        if old.exists() {
            std::fs::remove_dir_all(old).map_err(failed)?;
        }
    }
    std::fs::create_dir_all(&part).map_err(failed)?;
    std::fs::write(part.join("config.json"), config).map_err(failed)?;
    std::fs::write(part.join("generation_config.json"), "{\"do_sample\": false}\n").map_err(failed)?;
    std::fs::write(part.join("tokenizer.json"), TOKENIZER).map_err(failed)?;
    let file = File::create(part.join("model.safetensors")).map_err(failed)?;
    write_weights(BufWriter::with_capacity(1 << 20, file), sizes, &shape.title()).map_err(failed)?;
    std::fs::rename(&part, &whole).map_err(failed)?;
    Ok(whole)
}

fn write_weights(mut file: impl Write, sizes: &Sizes, source: &str) -> std::io::Result<()> {
    let tensors = sizes.tensors();
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt", "source": source }));
    let mut end = 0;
    for (name, shape) in &tensors {
        let begin = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": "BF16", "shape": shape, "data_offsets": [begin, end] }));
    }
    let mut header = Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;

    let mut random = Random(SEED);
    let normal = normal_table(&mut random);
    let mut bytes = Vec::new();
    for (_, shape) in &tensors {
        let mut left = shape.iter().product::<usize>();
        let is_norm = shape.len() == 1;
        while left > 0 {
            let n = left.min(1 << 16);
            bytes.clear();
            while bytes.len() < 2 * n {
                for sixteen in random.next().to_le_bytes().as_chunks::<2>().0 {
                    let value = if is_norm { ONE } else { normal[usize::from(u16::from_le_bytes(*sixteen))] };
                    bytes.extend(value.to_le_bytes());
                }
            }
            file.write_all(&bytes[..2 * n])?;
            left -= n;
        }
    }
    file.flush()
}

/// Draws of a normal distribution (nearly: sums of twelve uniform ones) in bf16, to be drawn from again.
fn normal_table(random: &mut Random) -> Vec<u16> {
    let mut draw = || (0..12).map(|_| (random.next() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0;
    (0..1 << 16).map(|_| ((draw() * SCALE).to_bits() >> 16) as u16).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shapes;

    #[test]
    fn a_written_file_is_what_its_header_says() {
        let sizes = shapes::ALL[0].random.as_ref().unwrap();
        let mut file = Vec::new();
        write_weights(&mut file, sizes, "random").unwrap();
        let header_len = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
        let header: Value = serde_json::from_slice(&file[8..8 + header_len]).unwrap();
        let body = &file[8 + header_len..];
        let offsets = |name: &str| {
            let offset = |i: usize| usize::try_from(header[name]["data_offsets"][i].as_u64().unwrap()).unwrap();
            offset(0)..offset(1)
        };
        assert_eq!(offsets("model.norm.weight").end, body.len());
        let values = |name: &str| {
            let wide = |bytes: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
            body[offsets(name)].as_chunks().0.iter().map(wide).collect::<Vec<_>>()
        };
        assert!(values("model.norm.weight").iter().all(|value| *value == 1.0));
        let weights = values("model.layers.1.mlp.down_proj.weight");
        let mean_square = weights.iter().map(|value| value * value).sum::<f32>() / weights.len() as f32;
        assert!((mean_square.sqrt() / SCALE - 1.0).abs() < 0.1, "{mean_square}");
    }

    #[test]
    fn the_shapes_have_as_many_parameters_as_the_models_they_are_named_for() {
        let n = |name: &str| {
            let shape = shapes::named(name).unwrap()[0];
            shape.random.as_ref().unwrap().tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>()
        };
        assert_eq!(n("smollm2-135m"), 134_515_008);
        assert_eq!(n("llama-3.2-1b"), 1_235_814_400);
        let config: Value = serde_json::from_str(&shapes::ALL[3].random.as_ref().unwrap().config("note")).unwrap();
        assert_eq!(config["rope_scaling"]["factor"], 32.0);
        assert!(shapes::named("huge").is_err());
    }
}
