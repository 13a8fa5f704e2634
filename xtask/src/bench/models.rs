//! Writes models of random weights, because speed depends on shapes only, and so nothing must be downloaded.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Map, json};

use super::shapes::{Shape, Sizes};

/// A byte-level tokenizer of 272 tokens, which fits any larger vocabulary.
const TOKENIZER: &str = include_str!("../../../tests/fixtures/llama/tokenizer.json");
/// Standard deviation of the weights, as in freshly initialised models.
const SCALE: f32 = 0.02;

/// Finds the type of the weights by its command-line name.
pub fn dtype_named(name: &str) -> Result<Dtype, String> {
    match name {
        "bf16" => Ok(Dtype::BF16),
        "f32" => Ok(Dtype::F32),
        other => Err(format!("there is no type `{other}`; the types are bf16 and f32")),
    }
}

fn n_bytes(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// The bytes of one value; bytes after [`n_bytes`] are unused.
fn bytes(dtype: Dtype, value: f32) -> [u8; 4] {
    let [a, b, c, d] = value.to_bits().to_le_bytes();
    match dtype {
        // The upper half of an f32. A random value need not be rounded.
        Dtype::BF16 => [c, d, 0, 0],
        _ => [a, b, c, d],
    }
}

/// The form of a model's weights on disk.
#[derive(Debug, Clone, Copy)]
pub struct Spelling {
    pub dtype: Dtype,
    pub seed: u64,
    /// The most files of weights; two and more have an index.
    pub shards: usize,
}

impl Default for Spelling {
    fn default() -> Self {
        Self { dtype: Dtype::BF16, seed: 1, shards: 1 }
    }
}

/// The folder of a model in `folder`, written unless it exists.
pub fn write(folder: &Path, shape: &Shape, sizes: &Sizes) -> Result<PathBuf, String> {
    let whole = folder.join(shape.id());
    let config = sizes.config(&shape.title());
    if std::fs::read_to_string(whole.join("config.json")).is_ok_and(|there| there == config) {
        return Ok(whole);
    }
    println!("[bench] writing {}", whole.display());
    // The folder gets its name when it is complete.
    let part = folder.join(format!("{}.part", shape.id()));
    let failed = |why: std::io::Error| format!("cannot write {}: {why}", part.display());
    for old in [&part, &whole] {
        if old.exists() {
            std::fs::remove_dir_all(old).map_err(failed)?;
        }
    }
    write_folder(&part, &shape.title(), sizes, Spelling::default())?;
    std::fs::rename(&part, &whole).map_err(failed)?;
    Ok(whole)
}

/// Writes the files of a model into `folder`, replacing those of an earlier one.
pub fn write_folder(folder: &Path, title: &str, sizes: &Sizes, spelling: Spelling) -> Result<(), String> {
    let failed = |why: std::io::Error| format!("cannot write {}: {why}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    for old in std::fs::read_dir(folder).map_err(failed)?.flatten() {
        let name = old.file_name();
        // A single file would have precedence over shards.
        if name.to_str().is_some_and(|name| name.starts_with("model") && name.contains(".safetensors")) {
            std::fs::remove_file(old.path()).map_err(failed)?;
        }
    }
    std::fs::write(folder.join("config.json"), sizes.config(title)).map_err(failed)?;
    std::fs::write(folder.join("generation_config.json"), "{\"do_sample\": false}\n").map_err(failed)?;
    std::fs::write(folder.join("tokenizer.json"), TOKENIZER).map_err(failed)?;
    write_weights(folder, sizes, spelling).map_err(failed)
}

type Tensors = Vec<(String, Vec<usize>)>;

fn write_weights(folder: &Path, sizes: &Sizes, spelling: Spelling) -> std::io::Result<()> {
    let mut random = Random(spelling.seed);
    let table = Table::draw(&mut random, spelling.dtype);
    let shards = split(sizes.tensors(), spelling.shards);
    let (mut weight_map, mut total_size) = (Map::new(), 0);
    for (index, tensors) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            n => format!("model-{:05}-of-{n:05}.safetensors", index + 1),
        };
        let file = BufWriter::with_capacity(1 << 20, File::create(folder.join(&name))?);
        total_size += write_shard(file, tensors, &table, &mut random)?;
        weight_map.extend(tensors.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
    }
    if shards.len() == 1 {
        return Ok(());
    }
    let index = json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map });
    std::fs::write(folder.join("model.safetensors.index.json"), format!("{index:#}\n"))
}

/// At most `n` groups of whole tensors, of similar size, in their order.
fn split(tensors: Tensors, n: usize) -> Vec<Tensors> {
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let all = tensors.iter().map(|(_, shape)| count(shape)).sum::<usize>().max(1);
    let mut shards = vec![Tensors::new(); n.max(1)];
    let mut before = 0;
    for (name, shape) in tensors {
        let middle = before + count(&shape) / 2;
        before += count(&shape);
        let shard = (middle * n / all).min(n - 1);
        shards[shard].push((name, shape));
    }
    shards.retain(|shard| !shard.is_empty());
    shards
}

/// Writes one file; returns the bytes of its tensors.
///
/// The library writes the header. Its writer is not used for the data, because it would keep a whole matrix in
/// memory, and sort tensors by name.
fn write_shard(mut file: impl Write, tensors: &Tensors, table: &Table, random: &mut Random) -> std::io::Result<usize> {
    let n_bytes = n_bytes(table.dtype);
    let mut end = 0;
    let described = tensors.iter().map(|(name, shape)| {
        let begin = end;
        end += n_bytes * shape.iter().product::<usize>();
        (name.clone(), TensorInfo { dtype: table.dtype, shape: shape.clone(), data_offsets: (begin, end) })
    });
    let described = described.collect();
    let format = std::iter::once(("format".to_owned(), "pt".to_owned()));
    let header = Metadata::new(Some(format.collect()), described).map_err(std::io::Error::other)?;
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;

    let one = bytes(table.dtype, 1.0);
    let mut chunk = Vec::new();
    for (_, shape) in tensors {
        let mut left = shape.iter().product::<usize>();
        let is_norm = shape.len() == 1;
        while left > 0 {
            let n = left.min(1 << 16);
            chunk.clear();
            while chunk.len() < n_bytes * n {
                for sixteen in random.next().to_le_bytes().as_chunks::<2>().0 {
                    let value = if is_norm { &one } else { &table.values[usize::from(u16::from_le_bytes(*sixteen))] };
                    chunk.extend_from_slice(&value[..n_bytes]);
                }
            }
            file.write_all(&chunk[..n_bytes * n])?;
            left -= n;
        }
    }
    file.flush()?;
    Ok(end)
}

/// Draws of a nearly normal distribution (sums of twelve uniform draws), which are drawn from again.
struct Table {
    dtype: Dtype,
    values: Vec<[u8; 4]>,
}

impl Table {
    fn draw(random: &mut Random, dtype: Dtype) -> Self {
        let mut draw = || (0..12).map(|_| (random.next() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0;
        let values = (0..1 << 16).map(|_| bytes(dtype, draw() * SCALE)).collect();
        Self { dtype, values }
    }
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
    use std::collections::BTreeMap;

    use safetensors::SafeTensors;
    use serde_json::Value;

    use super::*;
    use crate::bench::shapes;

    fn values(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
        let value = |bytes: &[u8]| match *bytes {
            [c, d] => f32::from_le_bytes([0, 0, c, d]),
            _ => f32::from_le_bytes(bytes.try_into().unwrap()),
        };
        bytes.chunks_exact(n_bytes(dtype)).map(value).collect()
    }

    #[test]
    fn written_files_are_as_their_headers_say() {
        let sizes = shapes::ALL[0].random.as_ref().unwrap();
        for dtype in ["bf16", "f32"].map(|name| dtype_named(name).unwrap()) {
            let (mut file, mut random) = (Vec::new(), Random(1));
            let table = Table::draw(&mut random, dtype);
            write_shard(&mut file, &sizes.tensors(), &table, &mut random).unwrap();
            let file = SafeTensors::deserialize(&file).unwrap();
            let values = |name: &str| {
                let tensor = file.tensor(name).unwrap();
                assert_eq!(tensor.dtype(), dtype);
                values(dtype, tensor.data())
            };
            assert_eq!(file.len(), sizes.tensors().len());
            assert!(values("model.norm.weight").iter().all(|value| *value == 1.0), "{dtype:?}");
            let weights = values("model.layers.1.mlp.down_proj.weight");
            assert_eq!(weights.len(), 64 * 160);
            let mean_square = weights.iter().map(|value| value * value).sum::<f32>() / weights.len() as f32;
            assert!((mean_square.sqrt() / SCALE - 1.0).abs() < 0.1, "{dtype:?}: {mean_square}");
            assert_ne!(weights, values("model.layers.0.mlp.down_proj.weight"));
        }
        assert!(dtype_named("f16").is_err());
    }

    #[test]
    fn shards_have_every_tensor_once_in_order() {
        let tensors = || shapes::ALL[0].random.as_ref().unwrap().tensors();
        for n in 1..6 {
            let shards = split(tensors(), n);
            assert_eq!((shards.len(), shards.concat()), (n, tensors()));
        }
        assert_eq!(split(tensors(), 1000).concat(), tensors());
    }

    #[test]
    fn folders_hold_one_model_of_a_seed() {
        let folder = std::env::temp_dir().join(format!("linchpin-model-{}", std::process::id()));
        let sizes = shapes::ALL[0].random.as_ref().unwrap();
        let written = |spelling: Spelling| {
            write_folder(&folder, "note", sizes, spelling).unwrap();
            let entries = std::fs::read_dir(&folder).unwrap().flatten();
            entries
                .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
                .collect::<BTreeMap<_, _>>()
        };
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let seven = written(Spelling { seed: 7, ..Spelling::default() });
        let names = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"];
        assert_eq!(seven.keys().collect::<Vec<_>>(), names);
        assert_eq!(seven, written(Spelling { seed: 7, ..Spelling::default() }));
        assert_ne!(seven, written(Spelling { seed: 8, ..Spelling::default() }));
        let tokenizer = read(&seven["tokenizer.json"]);
        let largest = tokenizer["model"]["vocab"].as_object().unwrap().values().filter_map(Value::as_u64).max().unwrap();
        assert!(largest < read(&seven["config.json"])["vocab_size"].as_u64().unwrap(), "the vocabulary has room for the tokenizer");

        // The earlier single file is gone, and the index names every tensor's file.
        let shards = written(Spelling { dtype: Dtype::F32, shards: 2, ..Spelling::default() });
        assert!(!shards.contains_key("model.safetensors"));
        let index = read(&shards["model.safetensors.index.json"]);
        let (mut n_tensors, mut n_bytes) = (0, 0);
        for shard in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
            for (name, tensor) in SafeTensors::deserialize(&shards[shard]).unwrap().tensors() {
                assert_eq!((index["weight_map"][&name].as_str(), tensor.dtype()), (Some(shard), Dtype::F32));
                n_tensors += 1;
                n_bytes += tensor.data().len();
            }
        }
        assert_eq!(index["weight_map"].as_object().unwrap().len(), n_tensors);
        assert_eq!(index["metadata"]["total_size"], n_bytes);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn shapes_have_as_many_parameters_as_the_models_they_are_named_for() {
        let n = |name: &str| {
            let shape = shapes::named(name).unwrap();
            shape.random.as_ref().unwrap().tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>()
        };
        assert_eq!(n("smollm2-135m"), 134_515_008);
        assert_eq!(n("smollm2-360m"), 361_821_120);
        assert_eq!(n("llama-3.2-1b"), 1_235_814_400);
        let llama = shapes::named("llama-3.2-1b").unwrap();
        let config: Value = serde_json::from_str(&llama.random.as_ref().unwrap().config("note")).unwrap();
        assert_eq!(config["rope_scaling"]["factor"], 32.0);
        assert!(shapes::named("huge").is_err());
    }
}
