//! Models of the Hub for the command only: they are too large for a browser, and the page does not list them.
//! [`super::hub`] names the sources.

use super::model::{HubModel, model};
use super::published;
use super::shape::{Dtype, Family, Shape};

const LLAMA_7B: Shape = Shape::new(Family::Llama, [4096, 11_008, 32], [32, 32, 128], 32_000, false);
const LLAMA_13B: Shape = Shape::new(Family::Llama, [5120, 13_824, 40], [40, 40, 128], 32_000, false);

/// The licence of the first Llama; its card calls it "other".
const LLAMA: &str = "llama (non-commercial)";

/// Branches of OLMo 2 7B: the training checkpoints in arXiv:2604.23475, as named by the files of
/// `configs/prune_llm/olmo2_ckpts_generated` in github.com/KempnerInstitute/nodelens, and the end of the first stage.
/// The repository has more, all named `stage1-step<steps>-tokens<billions, rounded up>B`, where a step is 1024
/// sequences of 4096 tokens; the names of the second stage's branches also contain its ingredient.
const OLMO_2_7B: &[&str] = &[
    "stage1-step150-tokens1B",
    "stage1-step600-tokens3B",
    "stage1-step2000-tokens9B",
    "stage1-step5000-tokens21B",
    "stage1-step20000-tokens84B",
    "stage1-step99000-tokens416B",
    "stage1-step300000-tokens1259B",
    "stage1-step600000-tokens2517B",
    "stage1-step900000-tokens3775B",
    "stage1-step928646-tokens3896B",
];

pub(super) const MODELS: &[HubModel] = &[
    HubModel {
        license: LLAMA,
        facts: published::LLAMA_7B,
        ..model("llama-7b", "Llama 7B", ["huggyllama/llama-7b", "4782ad278652c7c71b72204d462d6d01eaaf7549"], Dtype::F16, LLAMA_7B)
    },
    HubModel {
        license: LLAMA,
        facts: published::LLAMA_13B,
        ..model("llama-13b", "Llama 13B", ["huggyllama/llama-13b", "bf57045473f207bb1de1ed035ace226f4d9f9bba"], Dtype::F16, LLAMA_13B)
    },
    HubModel {
        license: LLAMA,
        facts: published::LLAMA_30B,
        ..model(
            "llama-30b",
            "Llama 30B",
            ["huggyllama/llama-30b", "2b1edcdb3c7ced7bce6c1aa75c94545777c3118b"],
            Dtype::F16,
            Shape::new(Family::Llama, [6656, 17_920, 60], [52, 52, 128], 32_000, false),
        )
    },
    HubModel {
        license: "llama2",
        is_gated: true,
        facts: published::LLAMA_2_7B,
        ..model("llama-2-7b", "Llama 2 7B", ["meta-llama/Llama-2-7b-hf", "01c7f73d771dfac7d292323805ebc428287df4f9"], Dtype::F16, LLAMA_7B)
    },
    HubModel {
        license: "llama2",
        is_gated: true,
        facts: published::LLAMA_2_13B,
        ..model(
            "llama-2-13b",
            "Llama 2 13B",
            ["meta-llama/Llama-2-13b-hf", "5c31dfb671ce7cfe2d7bb7c04375e44c55e815b1"],
            Dtype::F16,
            LLAMA_13B,
        )
    },
    HubModel {
        license: "llama3.1",
        is_gated: true,
        ..model(
            "llama-3.1-8b",
            "Llama 3.1 8B",
            ["meta-llama/Llama-3.1-8B", "d04e592bb4f6aa9cfee91e2e20afa771667e1d4b"],
            Dtype::Bf16,
            Shape::new(Family::Llama, [4096, 14_336, 32], [32, 8, 128], 128_256, false),
        )
    },
    HubModel {
        license: "llama3.1",
        is_gated: true,
        ..model(
            "llama-3.1-70b",
            "Llama 3.1 70B",
            ["meta-llama/Llama-3.1-70B", "349b2ddb53ce8f2849a6c168a81980ab25258dac"],
            Dtype::Bf16,
            Shape::new(Family::Llama, [8192, 28_672, 80], [64, 8, 128], 128_256, false),
        )
    },
    HubModel {
        facts: published::MISTRAL_7B,
        ..model(
            "mistral-7b-v0.1",
            "Mistral 7B v0.1",
            ["mistralai/Mistral-7B-v0.1", "27d67f1b5f57dc0953326b2601d68371d40ea8da"],
            Dtype::Bf16,
            Shape::new(Family::Mistral, [4096, 14_336, 32], [32, 8, 128], 32_000, false),
        )
    },
    HubModel {
        checkpoints: &["step1000-tokens4B"],
        facts: published::OLMO_7B_0724,
        ..model(
            "olmo-7b-0724",
            "OLMo 7B (July 2024)",
            ["allenai/OLMo-7B-0724-hf", "1ee306df318ee15bfe4a76ebd5c002b0105b1ab6"],
            Dtype::F32,
            Shape::new(Family::Olmo, [4096, 11_008, 32], [32, 32, 128], 50_304, false),
        )
    },
    HubModel {
        checkpoints: OLMO_2_7B,
        ..model(
            "olmo-2-1124-7b",
            "OLMo 2 7B (November 2024)",
            ["allenai/OLMo-2-1124-7B", "7df9a82518afdecae4e8c026b27adccc8c1f0032"],
            Dtype::F32,
            Shape::new(Family::Olmo2, [4096, 11_008, 32], [32, 32, 128], 100_352, false),
        )
    },
    // The commit of `main` when the directory of super weights was published.
    HubModel {
        license: "MIT",
        facts: published::PHI_3_MINI_4K,
        ..model(
            "phi-3-mini-4k",
            "Phi-3 Mini 4K Instruct",
            ["microsoft/Phi-3-mini-4k-instruct", "0a67737cc96d2554230f90338b163bc6380a2a85"],
            Dtype::Bf16,
            Shape::new(Family::Phi3, [3072, 8192, 32], [32, 32, 96], 32_064, false),
        )
    },
    model(
        "qwen2-7b",
        "Qwen2 7B",
        ["Qwen/Qwen2-7B", "453ed1575b739b5b03ce3758b23befdb0967f40e"],
        Dtype::Bf16,
        Shape::new(Family::Qwen2, [3584, 18_944, 28], [28, 4, 128], 152_064, false),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_of_olmo_2_are_named_after_their_tokens() {
        for name in OLMO_2_7B {
            let (step, billions) = name.strip_prefix("stage1-step").and_then(|rest| rest.split_once("-tokens")).unwrap();
            let tokens = step.parse::<u64>().unwrap() * 1024 * 4096;
            assert_eq!(billions, format!("{}B", tokens.div_ceil(1_000_000_000)), "{name}");
        }
        let step_of = |name: &&str| name["stage1-step".len()..].split_once("-").map(|(step, _)| step.parse::<u64>());
        assert!(OLMO_2_7B.is_sorted_by_key(|name| step_of(name).unwrap().unwrap()));
    }
}
