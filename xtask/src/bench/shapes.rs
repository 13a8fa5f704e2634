//! The measured models: the bundled one, and random weights in the shapes of well-known ones.

/// A model's shape, and its goals.
#[derive(Debug)]
pub struct Shape {
    pub name: &'static str,
    /// The model with this shape, for people.
    pub of: &'static str,
    /// `None` for the bundled model, whose weights exist.
    pub random: Option<Sizes>,
    /// `true` if the CPU is measured, too.
    pub on_cpu: bool,
    pub targets: Targets,
}

/// The keys of `config.json`.
#[derive(Debug)]
pub struct Sizes {
    pub hidden: usize,
    pub inter: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub context: usize,
    /// JSON of the rotary positions' keys.
    pub rope: &'static str,
}

/// The goals; a shape for experiments has none.
#[derive(Debug, Default)]
pub struct Targets {
    /// `true` if the general goals apply to this model.
    pub general: bool,
    /// The goal for new tokens, as a share of the floor.
    pub decode_of_floor: Option<f64>,
    /// TFLOP/s of the first layer's products with 512 rows.
    pub gate_proj: Option<f64>,
    pub down_proj: Option<f64>,
    /// New tokens a second on the CPU.
    pub cpu_decode: Option<f64>,
}

const SMOLLM2_360M: Sizes = Sizes {
    hidden: 960,
    inter: 2560,
    layers: 32,
    heads: 15,
    kv_heads: 5,
    head_dim: 64,
    vocab: 49152,
    context: 8192,
    rope: r#""rope_theta": 100000.0"#,
};

pub const ALL: [Shape; 7] = [
    Shape {
        name: "tiny",
        of: "nothing, to try this command",
        random: Some(Sizes {
            hidden: 64,
            inter: 160,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            vocab: 512,
            context: 2048,
            rope: r#""rope_theta": 10000.0"#,
        }),
        on_cpu: true,
        targets: Targets { general: false, decode_of_floor: None, gate_proj: None, down_proj: None, cpu_decode: None },
    },
    Shape {
        name: "linchpin-13m",
        of: "the bundled model itself",
        random: None,
        on_cpu: true,
        targets: Targets { general: true, decode_of_floor: None, gate_proj: None, down_proj: None, cpu_decode: Some(15.0) },
    },
    Shape {
        name: "smollm2-135m",
        of: "SmolLM2-135M",
        random: Some(Sizes {
            hidden: 576,
            inter: 1536,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            vocab: 49152,
            context: 8192,
            rope: r#""rope_theta": 100000.0"#,
        }),
        on_cpu: false,
        targets: Targets { general: true, decode_of_floor: Some(0.5), gate_proj: Some(1.5), down_proj: Some(1.5), cpu_decode: None },
    },
    Shape {
        name: "smollm2-360m",
        of: "SmolLM2-360M",
        random: Some(SMOLLM2_360M),
        on_cpu: false,
        targets: Targets { general: false, decode_of_floor: None, gate_proj: None, down_proj: None, cpu_decode: None },
    },
    Shape {
        name: "smollm2-360m-21-layers",
        of: "21 of the 32 layers of SmolLM2-360M, 507 MB of bf16, to try downloads",
        random: Some(Sizes { layers: 21, ..SMOLLM2_360M }),
        on_cpu: false,
        targets: Targets { general: false, decode_of_floor: None, gate_proj: None, down_proj: None, cpu_decode: None },
    },
    Shape {
        name: "llama-3.2-1b",
        of: "Llama-3.2-1B",
        random: Some(Sizes {
            hidden: 2048,
            inter: 8192,
            layers: 16,
            heads: 32,
            kv_heads: 8,
            head_dim: 64,
            vocab: 128_256,
            context: 131_072,
            rope: r#""rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}"#,
        }),
        on_cpu: false,
        targets: Targets { general: true, decode_of_floor: Some(0.6), gate_proj: Some(5.0), down_proj: None, cpu_decode: None },
    },
    Shape {
        name: "llama-3.1-8b",
        of: "Llama-3.1-8B, for `linchpin score` beside benches/score_torch.py",
        random: Some(Sizes {
            hidden: 4096,
            inter: 14336,
            layers: 32,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            vocab: 128_256,
            context: 131_072,
            rope: r#""rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}"#,
        }),
        on_cpu: false,
        targets: Targets { general: false, decode_of_floor: None, gate_proj: None, down_proj: None, cpu_decode: None },
    },
];

pub fn named(name: &str) -> Result<&'static Shape, String> {
    let known = || ALL.iter().map(|shape| shape.name).collect::<Vec<_>>().join(", ");
    ALL.iter().find(|shape| shape.name == name).ok_or_else(|| format!("there is no shape `{name}`; there are {}", known()))
}

impl Shape {
    /// The folder's name, which is also the model's id.
    pub fn id(&self) -> String {
        if self.random.is_some() { format!("random-weights-{}", self.name) } else { self.name.to_owned() }
    }

    pub fn title(&self) -> String {
        match self.random {
            Some(_) => format!("Random weights in the shape of {}", self.of),
            None => format!("{}, {}", self.name, self.of),
        }
    }
}

impl Sizes {
    pub fn config(&self, note: &str) -> String {
        let Self { hidden, inter, layers, heads, kv_heads, head_dim, vocab, context, rope } = self;
        format!(
            r#"{{
  "note": "{note}",
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "hidden_size": {hidden},
  "intermediate_size": {inter},
  "num_hidden_layers": {layers},
  "num_attention_heads": {heads},
  "num_key_value_heads": {kv_heads},
  "head_dim": {head_dim},
  "vocab_size": {vocab},
  "max_position_embeddings": {context},
  "hidden_act": "silu",
  "rms_norm_eps": 1e-05,
  "tie_word_embeddings": true,
  {rope}
}}
"#
        )
    }

    /// Names and shapes of all tensors, in the order of writing.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let &Self { hidden, inter, layers, heads, kv_heads, head_dim, vocab, .. } = self;
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![vocab, hidden])];
        for layer in 0..layers {
            let parts = [
                ("input_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![heads * head_dim, hidden]),
                ("self_attn.k_proj", vec![kv_heads * head_dim, hidden]),
                ("self_attn.v_proj", vec![kv_heads * head_dim, hidden]),
                ("self_attn.o_proj", vec![hidden, heads * head_dim]),
                ("post_attention_layernorm", vec![hidden]),
                ("mlp.gate_proj", vec![inter, hidden]),
                ("mlp.up_proj", vec![inter, hidden]),
                ("mlp.down_proj", vec![hidden, inter]),
            ];
            tensors.extend(parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape)));
        }
        tensors.push(("model.norm.weight".to_owned(), vec![hidden]));
        tensors
    }
}
