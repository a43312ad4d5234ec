//! What sets the families of models apart: one description each.
//!
//! All of them are decoders of the same kind: a norm before attention and one before the gated MLP, rotary
//! embedding, keys and values that groups of queries share. A family's description says what its
//! configuration means where a key is absent, which of its matrices have biases, whether queries and keys are
//! normalised, what its norms are called, and when a sliding window is active. Reader and layers
//! look nowhere else.

use crate::config::Architecture;

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// `num_key_value_heads` that transformers assumes where the key is absent; none is as many as query
    /// heads.
    pub assumed_kv_heads: Option<usize>,
    /// `head_dim` that it assumes; none is the hidden size shared out among the query heads.
    pub assumed_head_dim: Option<usize>,
    /// `max_position_embeddings` that it assumes.
    pub assumed_positions: usize,
    /// `sliding_window` that it assumes.
    pub assumed_window: Option<usize>,
    /// When a window is active.
    pub window: WindowRule,
    /// Biases on query, key and value.
    pub qkv_bias: Bias,
    /// A bias on attention's output.
    pub output_bias: Bias,
    /// Biases in the MLP.
    pub mlp_bias: Bias,
    /// An RMS norm on every query and key head.
    pub query_key_norm: bool,
    /// What the norms of a layer are called.
    pub norms: Norms,
}

/// Whether a matrix has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// It has.
    Always,
    /// It has none.
    Never,
    /// As this key of `config.json` says.
    Key(&'static str),
}

/// When a layer attends to a window only. Where `layer_types` says which layers do, that counts but for the
/// first rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowRule {
    /// In every layer whenever a window is set, whatever `layer_types` says.
    WhereSet,
    /// Whenever a window is set.
    WhereSetUnlessByLayer,
    /// With `use_sliding_window`, from `max_window_layers` on, which is 28 where it is absent.
    WhereSwitchedOn,
}

/// Names of the norms of a layer, within `model.layers.N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Norms {
    /// Before attention.
    pub before_attention: &'static str,
    /// Before the MLP.
    pub before_mlp: &'static str,
    /// On every query head, where there is one.
    pub query: &'static str,
    /// On every key head.
    pub key: &'static str,
}

impl Norms {
    /// The tensor of one of them in a layer.
    pub fn tensor(norm: &str, layer: usize) -> String {
        format!("model.layers.{layer}.{norm}.weight")
    }
}

const NORMS: Norms = Norms {
    before_attention: "input_layernorm",
    before_mlp: "post_attention_layernorm",
    query: "self_attn.q_norm",
    key: "self_attn.k_norm",
};

const LLAMA: Family = Family {
    model_type: "llama",
    assumed_kv_heads: None,
    assumed_head_dim: None,
    assumed_positions: 2048,
    assumed_window: None,
    window: WindowRule::WhereSetUnlessByLayer,
    qkv_bias: Bias::Key("attention_bias"),
    output_bias: Bias::Key("attention_bias"),
    mlp_bias: Bias::Key("mlp_bias"),
    query_key_norm: false,
    norms: NORMS,
};

const MISTRAL: Family = Family {
    model_type: "mistral",
    assumed_kv_heads: Some(8),
    assumed_positions: 131_072,
    assumed_window: Some(4096),
    window: WindowRule::WhereSet,
    ..LLAMA
};

const QWEN2: Family = Family {
    model_type: "qwen2",
    assumed_kv_heads: Some(32),
    assumed_positions: 32_768,
    assumed_window: Some(4096),
    window: WindowRule::WhereSwitchedOn,
    qkv_bias: Bias::Always,
    output_bias: Bias::Never,
    ..LLAMA
};

const QWEN3: Family = Family {
    model_type: "qwen3",
    assumed_head_dim: Some(128),
    qkv_bias: Bias::Key("attention_bias"),
    output_bias: Bias::Key("attention_bias"),
    query_key_norm: true,
    ..QWEN2
};

impl Architecture {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];

    /// What sets it apart.
    pub fn family(self) -> &'static Family {
        match self {
            Self::Llama => &LLAMA,
            Self::Mistral => &MISTRAL,
            Self::Qwen2 => &QWEN2,
            Self::Qwen3 => &QWEN3,
        }
    }

    /// `model_type` in `config.json`.
    pub fn name(self) -> &'static str {
        self.family().model_type
    }
}
