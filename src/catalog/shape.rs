//! The sizes in a model's configuration, and the resulting counts: parameters, bytes to download, bytes on a device.

/// Model families, distinguished by the contents of their layers in addition to the matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Gemma3,
    Gpt2,
    GptNeoX,
    Llama,
    Mistral,
    Olmo,
    Olmo2,
    Phi3,
    Qwen2,
    Qwen3,
}

impl Family {
    /// `model_type` in the repository's `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Gemma3 => "gemma3_text",
            Self::Gpt2 => "gpt2",
            Self::GptNeoX => "gpt_neox",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Olmo => "olmo",
            Self::Olmo2 => "olmo2",
            Self::Phi3 => "phi3",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// The type of the numbers in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Dtype {
    pub fn bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// The device for a model's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Gpu,
    Cpu,
}

/// A model's sizes, with the names in its `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub family: Family,
    pub hidden_size: u32,
    pub intermediate_size: u32,
    pub num_hidden_layers: u32,
    pub num_attention_heads: u32,
    pub num_key_value_heads: u32,
    pub head_dim: u32,
    pub vocab_size: u32,
    pub tie_word_embeddings: bool,
}

/// Rows of GPT-2's table of learned positions (`n_positions`).
const GPT2_POSITIONS: u64 = 1024;

impl Shape {
    /// Builds a shape from `[hidden_size, intermediate_size, num_hidden_layers]`,
    /// `[num_attention_heads, num_key_value_heads, head_dim]`, `vocab_size` and `tie_word_embeddings`.
    pub const fn new(family: Family, sizes: [u32; 3], heads: [u32; 3], vocab_size: u32, tie_word_embeddings: bool) -> Self {
        let [hidden_size, intermediate_size, num_hidden_layers] = sizes;
        let [num_attention_heads, num_key_value_heads, head_dim] = heads;
        Self {
            family,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            vocab_size,
            tie_word_embeddings,
        }
    }

    /// Number of parameters, tied embeddings counted once:
    /// `V d (1 or 2) + layers · ((2 q + 2 k) d + (2 or 3) d m + vectors) + rest`, with `q` and `k` the widths of all
    /// queries and all keys, `m` the intermediate size.
    pub fn num_parameters(&self) -> u64 {
        let [d, m, layers] = [self.hidden_size, self.intermediate_size, self.num_hidden_layers].map(u64::from);
        let [heads, kv_heads, head_dim] = [self.num_attention_heads, self.num_key_value_heads, self.head_dim].map(u64::from);
        let (q, k) = (heads * head_dim, kv_heads * head_dim);
        let is_gated = !matches!(self.family, Family::Gpt2 | Family::GptNeoX);
        let matrices = (2 * q + 2 * k) * d + if is_gated { 3 } else { 2 } * d * m;
        // `vectors`: norms and biases of a layer. `rest`: the model's last norm, and GPT-2's positions.
        let (vectors, rest) = match self.family {
            Family::Llama | Family::Mistral | Family::Phi3 => (2 * d, d),
            Family::Qwen2 => (2 * d + q + 2 * k, d),
            Family::Qwen3 => (2 * d + 2 * head_dim, d),
            Family::Gemma3 => (4 * d + 2 * head_dim, d),
            // OLMo's norms have no weights.
            Family::Olmo => (0, 0),
            Family::Olmo2 => (2 * d + q + k, d),
            // Each norm has a weight and a bias, and each matrix a bias.
            Family::Gpt2 => (4 * d + q + 2 * k + d + m + d, 2 * d + GPT2_POSITIONS * d),
            Family::GptNeoX => (4 * d + q + 2 * k + d + m + d, 2 * d),
        };
        let embeddings = u64::from(self.vocab_size) * d * if self.tie_word_embeddings { 1 } else { 2 };
        embeddings + layers * (matrices + vectors) + rest
    }

    /// Bytes that the weights of a checkpoint take on a device. On a GPU bf16 matrices stay bf16 (the vectors, which
    /// become f32, are too few to count); everything else becomes f32.
    pub fn device_bytes(&self, dtype: Dtype, place: Place) -> u64 {
        let per_parameter = if (dtype, place) == (Dtype::Bf16, Place::Gpu) { 2 } else { 4 };
        per_parameter * self.num_parameters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::hub;

    /// The Hub's counts from the checkpoints' headers; Pythia's from the table of its model card.
    const PUBLISHED: [(&str, u64); 25] = [
        ("smollm2-135m", 134_515_008),
        ("smollm2-360m", 361_821_120),
        ("smollm2-1.7b", 1_711_376_384),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen3-0.6b-base", 596_049_920),
        ("gpt2", 124_439_808),
        ("pythia-70m", 70_426_624),
        ("pythia-160m", 162_322_944),
        ("pythia-410m", 405_334_016),
        ("olmo-1b-0724", 1_279_787_008),
        ("tinyllama-1.1b-chat", 1_100_048_384),
        ("llama-3.2-1b", 1_235_814_400),
        ("gemma-3-270m", 268_098_176),
        ("llama-7b", 6_738_415_616),
        ("llama-13b", 13_015_864_320),
        ("llama-30b", 32_528_943_616),
        ("llama-2-7b", 6_738_415_616),
        ("llama-2-13b", 13_015_864_320),
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.1-70b", 70_553_706_496),
        ("mistral-7b-v0.1", 7_241_732_096),
        ("olmo-7b-0724", 6_888_095_744),
        ("olmo-2-1124-7b", 7_298_617_344),
        ("phi-3-mini-4k", 3_821_079_552),
        ("qwen2-7b", 7_615_616_512),
    ];

    #[test]
    fn parameters_are_as_many_as_published() {
        assert_eq!(hub::all().count(), PUBLISHED.len());
        for (id, n) in PUBLISHED {
            let model = hub::find_any(id).unwrap_or_else(|| panic!("{id}"));
            assert_eq!(model.shape.num_parameters(), n, "{id}");
        }
    }

    #[test]
    fn only_bf16_on_a_gpu_stays_as_small_as_it_is() {
        let shape = Shape::new(Family::Llama, [576, 1536, 30], [9, 3, 64], 49_152, true);
        let bytes = |dtype, place| shape.device_bytes(dtype, place);
        assert_eq!(bytes(Dtype::Bf16, Place::Gpu), 2 * 134_515_008);
        for other in [bytes(Dtype::Bf16, Place::Cpu), bytes(Dtype::F16, Place::Gpu), bytes(Dtype::F32, Place::Gpu)] {
            assert_eq!(other, 4 * 134_515_008);
        }
    }
}
