//! Models of the Hugging Face Hub.
//!
//! Every revision comes from a public source, as do the size and the SHA-256 of `model.safetensors` if an entry has
//! them: nothing here was downloaded by this project. The sources of the revisions: for the Llama 7B, Mistral,
//! OLMo-7B-0724, Qwen2.5 and SmolLM2 entries, column `hf_revision` of `audit/census_master.csv` in
//! github.com/Georgakopoulos-Soares-lab/superweights; for `gpt2`, the docstring of `ResolvedRevision` in
//! github.com/huggingface/huggingface_hub; for Llama 2 7B, `repllama_models.py` in
//! github.com/embeddings-benchmark/mteb. The other revisions, and all sizes and digests, come from manifests of
//! several public repositories on GitHub that agree, found by searching their text for `repository` and commit. If no
//! source gives a size and a digest, the entry has `None`, and the Hub is asked when the model is loaded. Shapes and
//! dtypes are those of each repository's `config.json`, and the resulting parameter counts equal the Hub's own.

use super::model::{file, model};
use super::native;
use super::published;
use super::shape::{Dtype, Family, Shape};

pub use super::model::{HubModel, WeightsFile};

/// Prompts for a model of ordinary text; the first is the default. The first three are from arXiv:2411.07191: the
/// prompt of its code's search for spikes, the case study, and Figure 1's.
pub const PROMPTS: &[&str] = &[
    "Apple Inc. is a worldwide tech company.",
    "Summer is hot. Winter is ",
    "My favorite condiment is",
    "The old man opened the door of the lighthouse and",
];

/// Models that are small enough for a browser.
pub const MODELS: &[HubModel] = &[
    HubModel {
        weights: file(269_060_552, "80521b40281d6ce74e35c9282c22539e75aa0ac8578892b2a59955ef78d55da1"),
        facts: published::SMOLLM2_135M,
        ..model(
            "smollm2-135m",
            "SmolLM2 135M",
            ["HuggingFaceTB/SmolLM2-135M", "93efa2f097d58c2a74874c7e644dbc9b0cee75a2"],
            Dtype::Bf16,
            Shape::new(Family::Llama, [576, 1536, 30], [9, 3, 64], 49_152, true),
        )
    },
    HubModel {
        weights: file(723_674_912, "7aaff6661428bed033abba9522bec81938678642cca3181fe752b6ca9e1e540f"),
        facts: published::SMOLLM2_360M,
        ..model(
            "smollm2-360m",
            "SmolLM2 360M",
            ["HuggingFaceTB/SmolLM2-360M", "f8027fd0eaeea54caa13c31d31b9fdc459c38b49"],
            Dtype::Bf16,
            Shape::new(Family::Llama, [960, 2560, 32], [15, 5, 64], 49_152, true),
        )
    },
    HubModel {
        facts: published::SMOLLM2_1_7B,
        ..model(
            "smollm2-1.7b",
            "SmolLM2 1.7B",
            ["HuggingFaceTB/SmolLM2-1.7B", "effd688a12921b4cc83e3312b6feb579f70f9c71"],
            Dtype::Bf16,
            Shape::new(Family::Llama, [2048, 8192, 24], [32, 32, 64], 49_152, true),
        )
    },
    HubModel {
        weights: file(988_097_824, "88c142557820ccad55bb59756bfcfcf891de9cc6202816bd346445188a0ed342"),
        facts: published::QWEN2_5_0_5B,
        ..model(
            "qwen2.5-0.5b",
            "Qwen2.5 0.5B",
            ["Qwen/Qwen2.5-0.5B", "060db6499f32faf8b98477b0a26969ef7d8b9987"],
            Dtype::Bf16,
            Shape::new(Family::Qwen2, [896, 4864, 24], [14, 2, 64], 151_936, true),
        )
    },
    // The base model; the chat model is Qwen/Qwen3-0.6B.
    HubModel {
        weights: file(1_192_135_096, "cd2a512003e2f9f3cd3c32a9c3573f820bb28c940f73c57b1ddaa983d9223eba"),
        ..model(
            "qwen3-0.6b-base",
            "Qwen3 0.6B Base",
            ["Qwen/Qwen3-0.6B-Base", "da87bfb608c14b7cf20ba1ce41287e8de496c0cd"],
            Dtype::Bf16,
            Shape::new(Family::Qwen3, [1024, 3072, 28], [16, 8, 128], 151_936, true),
        )
    },
    HubModel {
        weights: file(548_105_171, "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"),
        license: "MIT",
        facts: published::GPT2,
        ..model(
            "gpt2",
            "GPT-2 124M",
            ["openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e"],
            Dtype::F32,
            Shape::new(Family::Gpt2, [768, 3072, 12], [12, 12, 64], 50_257, true),
        )
    },
    // The plain models: the `-deduped` ones have other weights of the same shape.
    HubModel {
        weights: file(166_029_852, "ebfa4e2f18696ebd83716a0d39fe2c025f2ff8483f72a83ca59c475692fc9d15"),
        checkpoints: &["step1000"],
        ..model(
            "pythia-70m",
            "Pythia 70M",
            ["EleutherAI/pythia-70m", "a39f36b100fe8a5377810d56c3f4789b9c53ac42"],
            Dtype::F16,
            Shape::new(Family::GptNeoX, [512, 2048, 6], [8, 8, 64], 50_304, false),
        )
    },
    HubModel {
        weights: file(374_998_696, "29d2e457a664e41c12c735f20a36dc0956a665f614a54ce5db21a32e75965270"),
        checkpoints: &["step1000"],
        ..model(
            "pythia-160m",
            "Pythia 160M",
            ["EleutherAI/pythia-160m", "50f5173d932e8e61f858120bcb800b97af589f46"],
            Dtype::F16,
            Shape::new(Family::GptNeoX, [768, 3072, 12], [12, 12, 64], 50_304, false),
        )
    },
    HubModel {
        checkpoints: &["step1000"],
        facts: published::PYTHIA_410M,
        ..model(
            "pythia-410m",
            "Pythia 410M",
            ["EleutherAI/pythia-410m", "9879c9b5f8bea9051dcb0e68dff21493d67e9d4f"],
            Dtype::F16,
            Shape::new(Family::GptNeoX, [1024, 4096, 24], [16, 16, 64], 50_304, false),
        )
    },
    HubModel {
        checkpoints: &["step1000-tokens4B"],
        facts: published::OLMO_1B_0724,
        ..model(
            "olmo-1b-0724",
            "OLMo 1B (July 2024)",
            ["allenai/OLMo-1B-0724-hf", "d7cbab742d80589e714b1a2d7f838dcd21cbe143"],
            Dtype::F32,
            Shape::new(Family::Olmo, [2048, 8192, 16], [16, 16, 128], 50_304, false),
        )
    },
    // The chat model: the base models have no safetensors, or twice as many bytes in f32.
    HubModel {
        weights: file(2_200_119_864, "6e6001da2106d4757498752a021df6c2bdc332c650aae4bae6b0c004dcf14933"),
        ..model(
            "tinyllama-1.1b-chat",
            "TinyLlama 1.1B Chat v1.0",
            ["TinyLlama/TinyLlama-1.1B-Chat-v1.0", "fe8a4ea1ffedaf415f4da2f062534de366a451e6"],
            Dtype::Bf16,
            Shape::new(Family::Llama, [2048, 5632, 22], [32, 4, 64], 32_000, false),
        )
    },
    HubModel {
        weights: file(2_471_645_608, "68a2e4be76fa709455a60272fba8e512c02d81c46e6c671cc9449e374fd6809a"),
        license: "llama3.2",
        is_gated: true,
        facts: published::LLAMA_3_2_1B,
        ..model(
            "llama-3.2-1b",
            "Llama 3.2 1B",
            ["meta-llama/Llama-3.2-1B", "4e20de362430cd3b72f300e6b0f18e50e7166e08"],
            Dtype::Bf16,
            Shape::new(Family::Llama, [2048, 8192, 16], [32, 8, 64], 128_256, true),
        )
    },
    HubModel {
        license: "gemma",
        is_gated: true,
        ..model(
            "gemma-3-270m",
            "Gemma 3 270M",
            ["google/gemma-3-270m", "9b0cfec892e2bc2afd938c98eabe4e4a7b1e0ca1"],
            Dtype::Bf16,
            Shape::new(Family::Gemma3, [640, 2048, 18], [4, 1, 256], 262_144, true),
        )
    },
];

/// Finds a model that a browser can run, by its id.
pub fn find_hub(id: &str) -> Option<&'static HubModel> {
    MODELS.iter().find(|model| model.id == id)
}

/// All models of the catalogue, including those too large for a browser.
pub fn all() -> impl Iterator<Item = &'static HubModel> {
    MODELS.iter().chain(native::MODELS)
}

/// Finds any model of the catalogue, by its id.
pub fn find_any(id: &str) -> Option<&'static HubModel> {
    all().find(|model| model.id == id)
}

/// Finds the entry of a repository. As on the Hub, the case of letters does not matter.
pub fn find_repo(repo: &str) -> Option<&'static HubModel> {
    all().find(|model| model.repo.eq_ignore_ascii_case(repo))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::terms::EditTarget;
    use crate::words::is_lower_hex;

    #[test]
    fn ids_are_of_links_and_of_one_model_each() {
        let bundled = super::super::MODELS.iter().map(|model| model.id);
        let ids = bundled.chain(all().map(|model| model.id)).collect::<Vec<_>>();
        assert!(ids.iter().all(|id| crate::share::is_model_id(id)), "{ids:?}");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        let repos = all().map(|model| model.repo).collect::<BTreeSet<_>>();
        assert_eq!(repos.len(), all().count());
        assert!(find_hub("llama-7b").is_none() && find_any("llama-7b").is_some());
        assert_eq!(find_repo("huggingfacetb/smollm2-135m"), find_hub("smollm2-135m"));
    }

    #[test]
    fn pins_are_commits_and_digests() {
        for model in all() {
            assert!(is_lower_hex(model.revision, 40), "{}", model.id);
            assert!(model.weights.is_none_or(|file| is_lower_hex(file.sha256, 64)), "{}", model.id);
            assert_eq!(model.repo.split('/').count(), 2, "{}", model.repo);
        }
    }

    #[test]
    fn recorded_sizes_are_those_of_the_parameters_and_little_more() {
        for model in all().filter(|model| model.weights.is_some()) {
            let least = model.dtype.bytes() * model.shape.num_parameters();
            // Old checkpoints of GPT-2 and Pythia also contain their attention masks.
            let rest = model.download_bytes().checked_sub(least).unwrap_or_else(|| panic!("{}", model.id));
            assert!(rest < least / 5, "{}: {rest} bytes besides its parameters", model.id);
        }
    }

    #[test]
    fn published_coordinates_are_suggested() {
        let suggested = |id| find_hub(id).unwrap().suggestions().iter().map(|suggestion| suggestion.target).collect::<Vec<_>>();
        assert_eq!(suggested("smollm2-135m"), [EditTarget::row(11, 507)]);
        let olmo = suggested("olmo-1b-0724");
        assert_eq!(olmo[0], EditTarget::scalar(1, 1764, 1710));
        assert_eq!(olmo[3..], [EditTarget::channel(1, 1710)]);
        assert_eq!(suggested("pythia-410m"), []);
        assert!(PROMPTS.iter().all(|prompt| prompt.is_ascii()));
    }
}
