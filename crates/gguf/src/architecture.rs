//! GGUF's metadata read into config.json, in the form that transformers 4 writes.

use crate::container::Container;
use crate::error::{GgufError, refuse};
use crate::own_keys::{OwnKeys, finite};
use crate::python_json::Json;
use crate::rope::{Rope, read_rope};

/// Metadata that changes the arithmetic in ways these architectures do not have.
const FOREIGN: [&str; 9] = [
    "expert_count",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "attention.scale",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attn_logit_softcapping",
    "final_logit_softcapping",
];

/// No model's heads are a hundredth as wide; what is read for one head stays small.
const MAX_HEAD_DIM: i128 = 1 << 16;

/// The tensor whose rows count the vocabulary.
pub(crate) const EMBEDDING: &str = "token_embd.weight";

/// The classes of transformers that an import can become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    /// What calls itself "llama" in GGUF and has a sliding window: to GGUF the two are one.
    Mistral,
    Qwen2,
    Qwen3,
}

impl Family {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// What config.json says of a model. Sizes are as wide as a file can state them, so that nonsense is
/// refused by a shape that does not fit and never by an overflow.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) family: Family,
    pub(crate) hidden: i128,
    pub(crate) inner: i128,
    pub(crate) layers: i128,
    pub(crate) heads: i128,
    pub(crate) kv_heads: i128,
    pub(crate) head_dim: i128,
    pub(crate) vocabulary: i128,
    pub(crate) context: i128,
    pub(crate) tied: bool,
    /// Biases of the attention's projections; Qwen2 has its own and does not say so.
    pub(crate) attention_bias: bool,
    pub(crate) mlp_bias: bool,
    window: Option<i128>,
    norm_epsilon: f64,
    rope: Rope,
    bos: Option<i128>,
    eos: Option<i128>,
    padding: Option<i128>,
}

/// Reads the configuration; refuses by name what the architecture cannot express.
pub(crate) fn read_config(container: &Container) -> Result<Config, GgufError> {
    let metadata = &container.metadata;
    let own = OwnKeys::of(metadata)?;
    let family = match own.name {
        "llama" => Family::Llama,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        other => {
            return refuse(format!(
                "architecture {other}: not supported (llama, qwen2, qwen3 are)"
            ));
        }
    };
    for key in FOREIGN.map(|key| own.key(key)) {
        if !metadata.is_absent_or_zero(&key) {
            return refuse(format!("{key} is {}: not supported", metadata.shown(&key)));
        }
    }
    let causal = own.key("attention.causal");
    if metadata.has(&causal) && !metadata.is_true(&causal) {
        return refuse(format!("{causal} is false: not supported"));
    }

    let hidden = own.required("embedding_length", own.int("embedding_length")?)?;
    let heads = own.required(
        "attention.head_count",
        own.same_in_every_layer("attention.head_count")?,
    )?;
    let kv_heads = own
        .same_in_every_layer("attention.head_count_kv")?
        .unwrap_or(heads);
    if heads < 1 || kv_heads < 1 || heads % kv_heads != 0 {
        return refuse(format!(
            "{heads} attention heads cannot share {kv_heads} key/value heads"
        ));
    }
    let head_dim = head_dim(&own, hidden, heads)?;

    let embedding = container.tensors.get(EMBEDDING);
    let vocabulary = embedding
        .and_then(|tensor| tensor.dimensions.last())
        .copied()
        .map(i128::from);
    let vocabulary = vocabulary.ok_or_else(|| GgufError::MissingTensor {
        path: metadata.path().to_path_buf(),
        name: EMBEDDING.into(),
        shape: None,
    })?;
    let context = own.required("context_length", own.int("context_length")?)?;
    let window = own
        .int("attention.sliding_window")?
        .filter(|window| *window != 0);
    let inner = own.required(
        "feed_forward_length",
        own.same_in_every_layer("feed_forward_length")?,
    )?;
    let layers = own.required("block_count", own.int("block_count")?)?;
    const EPSILON: &str = "attention.layer_norm_rms_epsilon";
    let norm_epsilon = finite(&own, EPSILON, own.required(EPSILON, own.float(EPSILON)?)?)?;
    let rope = read_rope(container, &own, head_dim)?;
    let role = |role: &str| metadata.int(&format!("tokenizer.ggml.{role}_token_id"));
    let (bos, eos, padding) = (role("bos")?, role("eos")?, role("padding")?);

    let biased = |part: &str| {
        container
            .tensors
            .keys()
            .any(|name| name.contains(part) && name.ends_with(".bias"))
    };
    let family = match (family, window) {
        (Family::Llama, Some(window)) => {
            if container
                .tensors
                .keys()
                .any(|name| name.starts_with("blk.") && name.ends_with(".bias"))
            {
                return refuse(format!(
                    "a sliding window of {window} together with biases: not supported"
                ));
            }
            Family::Mistral
        }
        _ => family,
    };
    Ok(Config {
        family,
        hidden,
        inner,
        layers,
        heads,
        kv_heads,
        head_dim,
        vocabulary,
        context,
        tied: !container.tensors.contains_key("output.weight"),
        attention_bias: matches!(family, Family::Llama | Family::Qwen3) && biased(".attn_"),
        mlp_bias: family == Family::Llama && biased(".ffn_"),
        window,
        norm_epsilon,
        rope,
        bos,
        eos,
        padding,
    })
}

fn head_dim(own: &OwnKeys<'_>, hidden: i128, heads: i128) -> Result<i128, GgufError> {
    let head_dim = match own.int("attention.key_length")? {
        Some(length) => length,
        None if hidden % heads != 0 => {
            return refuse(format!(
                "embedding_length {hidden} is no multiple of {heads} heads and there is no attention.key_length"
            ));
        }
        None => hidden / heads,
    };
    if own
        .int("attention.value_length")?
        .is_some_and(|length| length != head_dim)
    {
        return refuse(
            "attention.value_length differs from attention.key_length: not supported".into(),
        );
    }
    if !(2..=MAX_HEAD_DIM).contains(&head_dim) || head_dim % 2 != 0 {
        return refuse(format!("head_dim {head_dim} cannot be rotated in pairs"));
    }
    Ok(head_dim)
}

impl Config {
    /// config.json, for weights written as `torch_dtype`.
    pub(crate) fn to_json(&self, torch_dtype: &'static str) -> Json<'static> {
        let mut entries: Vec<(&'static str, Json<'static>)> = vec![
            (
                "architectures",
                Json::List(vec![self.family.class().into()]),
            ),
            ("attention_dropout", 0.0.into()),
            ("head_dim", self.head_dim.into()),
            ("hidden_act", "silu".into()),
            ("hidden_size", self.hidden.into()),
            ("initializer_range", 0.02.into()),
            ("intermediate_size", self.inner.into()),
            ("max_position_embeddings", self.context.into()),
            ("model_type", self.family.model_type().into()),
            ("num_attention_heads", self.heads.into()),
            ("num_hidden_layers", self.layers.into()),
            ("num_key_value_heads", self.kv_heads.into()),
            ("rms_norm_eps", self.norm_epsilon.into()),
            ("rope_theta", self.rope.theta.into()),
            (
                "rope_scaling",
                self.rope
                    .scaling
                    .as_ref()
                    .map(|scaling| scaling.to_json())
                    .unwrap_or(Json::Null),
            ),
            ("tie_word_embeddings", self.tied.into()),
            ("torch_dtype", torch_dtype.into()),
            ("use_cache", true.into()),
            ("vocab_size", self.vocabulary.into()),
            ("bos_token_id", self.bos.into()),
            ("eos_token_id", self.eos.into()),
            ("pad_token_id", self.padding.into()),
        ];
        match self.family {
            Family::Llama => {
                entries.push(("attention_bias", self.attention_bias.into()));
                entries.push(("mlp_bias", self.mlp_bias.into()));
            }
            Family::Mistral => entries.push(("sliding_window", self.window.into())),
            Family::Qwen2 | Family::Qwen3 => {
                entries.push(("use_sliding_window", self.window.is_some().into()));
                entries.push(("sliding_window", self.window.into()));
                if self.window.is_some() {
                    entries.push(("max_window_layers", 0_i128.into()));
                }
                if self.family == Family::Qwen3 {
                    entries.push(("attention_bias", self.attention_bias.into()));
                }
            }
        }
        Json::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        )
    }
}
