//! `config.json` of a Hugging Face directory: what the architecture is, and a refusal by name of
//! everything it asks for that this crate does not do.

use crate::error::{Result, ShapeError};
use crate::family::{Bias, Family, WindowRule};
use crate::rope::{Rope, RopeScaling};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The architectures that can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `llama`: Llama 1 to 3, SmolLM2 and what shares their form.
    Llama,
    /// `mistral`.
    Mistral,
    /// `qwen2`: biases on query, key and value.
    Qwen2,
    /// `qwen3`: RMS norm on every query and key head.
    Qwen3,
}

/// The shape of a model: everything that decides which tensors there are and how they are used.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Architecture.
    pub architecture: Architecture,
    /// Values in a hidden row.
    pub hidden: usize,
    /// Values in the MLP's inner row.
    pub intermediate: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Token ids.
    pub vocabulary: usize,
    /// Positions the model was made for.
    pub max_positions: usize,
    /// Added to the mean square before its root is taken.
    pub rms_norm_eps: f64,
    /// Rotary embedding.
    pub rope: Rope,
    /// The head's matrix is the embedding's.
    pub tied_head: bool,
    /// Biases on query, key and value.
    pub qkv_bias: bool,
    /// Bias on the attention's output.
    pub output_bias: bool,
    /// Biases in the MLP.
    pub mlp_bias: bool,
    /// RMS norm on every query and key head.
    pub qk_norm: bool,
    /// Positions a token attends to, where a window is active. A context up to this long is exact.
    pub sliding_window: Option<usize>,
}

impl ModelConfig {
    /// Reads `config.json` of a model directory, as transformers 4 or 5 writes it.
    ///
    /// # Errors
    /// When the file is missing or malformed, or asks for what this crate does not do.
    pub fn load(directory: &Path) -> Result<Self> {
        let path = directory.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|source| ShapeError::Read {
            path: path.clone(),
            source,
        })?;
        Self::parse(&text, &path)
    }

    /// Parses the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// As [`ModelConfig::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let root: Value = serde_json::from_str(text).map_err(|e| ShapeError::Config {
            path: path.to_owned(),
            key: "(document)".into(),
            problem: e.to_string(),
        })?;
        Reader { path, root: &root }.config()
    }

    /// Query heads a key head serves.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// How many weights the matrices of one layer have.
    pub fn layer_weights(&self) -> usize {
        let attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads);
        attention + 3 * self.hidden * self.intermediate
    }

    /// The longest context that can be granted: the model's own, or its attention window.
    pub fn max_context(&self) -> usize {
        self.max_positions
            .min(self.sliding_window.unwrap_or(usize::MAX))
    }

    /// The fields that decide what the weights mean, one `key=value` a line: part of the weights'
    /// fingerprint.
    pub fn canonical(&self) -> String {
        format!(
            "architecture={}\nhidden={}\nintermediate={}\nlayers={}\nheads={}\nkv_heads={}\n\
             head_dim={}\nvocabulary={}\nrms_norm_eps={:e}\nrope={:?}\ntied_head={}\nqkv_bias={}\n\
             output_bias={}\nmlp_bias={}\nqk_norm={}\nsliding_window={:?}\n",
            self.architecture.name(),
            self.hidden,
            self.intermediate,
            self.layers,
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.vocabulary,
            self.rms_norm_eps,
            self.rope,
            self.tied_head,
            self.qkv_bias,
            self.output_bias,
            self.mlp_bias,
            self.qk_norm,
            self.sliding_window,
        )
    }
}

struct Reader<'a> {
    path: &'a Path,
    root: &'a Value,
}

impl Reader<'_> {
    fn config(&self) -> Result<ModelConfig> {
        let architecture = self.architecture()?;
        let family = architecture.family();
        self.refuse_the_unknown()?;
        let hidden = self.size("hidden_size")?;
        let heads = self.size("num_attention_heads")?;
        let layers = self.size("num_hidden_layers")?;
        let kv_heads = match self.root.get("num_key_value_heads") {
            None => family.assumed_kv_heads.unwrap_or(heads),
            Some(_) => self.optional_size("num_key_value_heads")?.unwrap_or(heads),
        };
        if heads % kv_heads != 0 {
            return Err(self.bad(
                "num_key_value_heads",
                format!("{kv_heads} does not divide num_attention_heads, {heads}"),
            ));
        }
        let head_dim = match self.optional_size("head_dim")?.or(family.assumed_head_dim) {
            Some(dim) => dim,
            None if hidden % heads == 0 => hidden / heads,
            None => {
                return Err(self.bad(
                    "head_dim",
                    format!("absent, and {heads} heads do not divide hidden_size, {hidden}"),
                ));
            }
        };
        if head_dim % 2 != 0 {
            return Err(self.bad("head_dim", format!("{head_dim} is odd; RoPE needs pairs")));
        }
        Ok(ModelConfig {
            architecture,
            hidden,
            intermediate: self.size("intermediate_size")?,
            layers,
            heads,
            kv_heads,
            head_dim,
            vocabulary: self.size("vocab_size")?,
            max_positions: self
                .optional_size("max_position_embeddings")?
                .unwrap_or(family.assumed_positions),
            rms_norm_eps: self
                .optional_number(self.root, "rms_norm_eps")?
                .unwrap_or(1e-6),
            rope: self.rope()?,
            tied_head: self.flag("tie_word_embeddings")?,
            qkv_bias: self.bias(family.qkv_bias)?,
            output_bias: self.bias(family.output_bias)?,
            mlp_bias: self.bias(family.mlp_bias)?,
            qk_norm: family.query_key_norm,
            sliding_window: self.sliding_window(family, layers)?,
        })
    }

    fn architecture(&self) -> Result<Architecture> {
        let Some(name) = self.root.get("model_type").and_then(Value::as_str) else {
            return Err(self.bad("model_type", "absent or not a string".into()));
        };
        let known = Architecture::ALL.into_iter();
        known.clone().find(|a| a.name() == name).ok_or_else(|| {
            let names: Vec<&str> = known.map(Architecture::name).collect();
            let (last, others) = names.split_last().unwrap_or((&"", &[]));
            let hint = format!("; {} and {last} are", others.join(", "));
            self.unsupported("model_type", name, &hint)
        })
    }

    fn bias(&self, bias: Bias) -> Result<bool> {
        match bias {
            Bias::Always => Ok(true),
            Bias::Never => Ok(false),
            Bias::Key(key) => self.flag(key),
        }
    }

    /// Keys that change what the model computes, and that nothing here reads.
    fn refuse_the_unknown(&self) -> Result<()> {
        let activation = self
            .root
            .get("hidden_act")
            .and_then(Value::as_str)
            .unwrap_or("silu");
        if !matches!(activation, "silu" | "swish") {
            return Err(self.unsupported("hidden_act", activation, "; silu is"));
        }
        for key in ["quantization_config", "num_local_experts", "num_experts"] {
            if let Some(value) = self.root.get(key).filter(|v| !v.is_null()) {
                return Err(self.unsupported(key, &value.to_string(), ""));
            }
        }
        for key in [
            "partial_rotary_factor",
            "embedding_multiplier",
            "residual_multiplier",
            "logits_scaling",
        ] {
            let value = self.optional_number(self.root, key)?.unwrap_or(1.0);
            if value != 1.0 {
                return Err(self.unsupported(key, &value.to_string(), "; 1 is"));
            }
        }
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            if let Some(value) = self.optional_number(self.root, key)? {
                return Err(self.unsupported(key, &value.to_string(), ""));
            }
        }
        Ok(())
    }

    /// transformers 5 nests everything in `rope_parameters`; 4 has `rope_theta` beside
    /// `rope_scaling`, whose type was once called `type`.
    fn rope(&self) -> Result<Rope> {
        let (key, scaling) = match self.root.get("rope_parameters").filter(|v| !v.is_null()) {
            Some(parameters) => ("rope_parameters", Some(parameters)),
            None => (
                "rope_scaling",
                self.root.get("rope_scaling").filter(|v| !v.is_null()),
            ),
        };
        let empty = Value::Null;
        let fields = scaling.unwrap_or(&empty);
        if scaling.is_some() && !fields.is_object() {
            return Err(self.bad(key, "is not an object".into()));
        }
        let theta = match self.optional_number(fields, "rope_theta")? {
            Some(theta) => theta,
            None => self
                .optional_number(self.root, "rope_theta")?
                .unwrap_or(10_000.0),
        };
        if !(theta.is_finite() && theta > 1.0) {
            return Err(self.bad("rope_theta", format!("{theta} is not above 1")));
        }
        if let Some(partial) = self.optional_number(fields, "partial_rotary_factor")?
            && partial != 1.0
        {
            return Err(self.unsupported("partial_rotary_factor", &partial.to_string(), "; 1 is"));
        }
        let kind = fields
            .get("rope_type")
            .or_else(|| fields.get("type"))
            .and_then(Value::as_str);
        let needed = |name: &str| -> Result<f64> {
            match self.optional_number(fields, name)? {
                Some(value) if value.is_finite() && value > 0.0 => Ok(value),
                Some(value) => {
                    Err(self.bad(&format!("{key}.{name}"), format!("{value} is not above 0")))
                }
                None => Err(self.bad(&format!("{key}.{name}"), "absent".into())),
            }
        };
        let scaling = match kind {
            Some("default") => RopeScaling::Default,
            None if scaling.is_none()
                || key == "rope_parameters" && fields.get("factor").is_none() =>
            {
                RopeScaling::Default
            }
            Some("linear") => RopeScaling::Linear {
                factor: needed("factor")?,
            },
            Some("llama3") => {
                let low = needed("low_freq_factor")?;
                let high = needed("high_freq_factor")?;
                if high <= low {
                    return Err(self.bad(
                        &format!("{key}.high_freq_factor"),
                        format!("{high} is not above low_freq_factor, {low}"),
                    ));
                }
                RopeScaling::Llama3 {
                    factor: needed("factor")?,
                    low_freq_factor: low,
                    high_freq_factor: high,
                    original_context: needed("original_max_position_embeddings")?,
                }
            }
            Some(other) => {
                return Err(self.unsupported(
                    &format!("{key}.rope_type"),
                    other,
                    "; default, linear and llama3 are",
                ));
            }
            None => return Err(self.bad(&format!("{key}.rope_type"), "absent".into())),
        };
        Ok(Rope { theta, scaling })
    }

    /// `Some` only where a window would be active: Qwen, for one, ships windows switched off.
    fn sliding_window(&self, family: &Family, layers: usize) -> Result<Option<usize>> {
        let by_layer = match self.root.get("layer_types").filter(|v| !v.is_null()) {
            None => None,
            Some(types) => Some(self.any_layer_slides(types, layers)?),
        };
        let window = match self.root.get("sliding_window") {
            None => family.assumed_window,
            Some(Value::Null) => None,
            Some(_) => Some(self.size("sliding_window")?),
        };
        let slides = match (family.window, by_layer) {
            (WindowRule::WhereSet, types) => types.unwrap_or(false) || window.is_some(),
            (_, Some(slides)) => slides,
            (WindowRule::WhereSetUnlessByLayer, None) => window.is_some(),
            (WindowRule::WhereSwitchedOn, None) => {
                let full = self.optional_number(self.root, "max_window_layers")?;
                let switched_on = self.flag("use_sliding_window")?;
                window.is_some() && switched_on && full.unwrap_or(28.0) < layers as f64
            }
        };
        match (slides, window) {
            (false, _) => Ok(None),
            (true, Some(window)) => Ok(Some(window)),
            (true, None) => Err(self.bad(
                "layer_types",
                "has sliding_attention layers, but sliding_window is not set".into(),
            )),
        }
    }

    fn any_layer_slides(&self, types: &Value, layers: usize) -> Result<bool> {
        let Some(types) = types.as_array() else {
            return Err(self.bad("layer_types", "is not a list".into()));
        };
        if types.len() != layers {
            return Err(self.bad(
                "layer_types",
                format!("has {} entries for {layers} layers", types.len()),
            ));
        }
        let mut slides = false;
        for (layer, kind) in types.iter().enumerate() {
            match kind.as_str() {
                Some("full_attention") => {}
                Some("sliding_attention") => slides = true,
                _ => {
                    return Err(self.unsupported(
                        &format!("layer_types[{layer}]"),
                        &kind.to_string(),
                        "; full_attention is",
                    ));
                }
            }
        }
        Ok(slides)
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?
            .ok_or_else(|| self.bad(key, "absent".into()))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match self.root.get(key).filter(|v| !v.is_null()) {
            None => Ok(None),
            // The bound keeps products of sizes far from overflow.
            Some(value) => match value.as_u64().filter(|v| (1..1 << 28).contains(v)) {
                Some(size) => Ok(Some(size as usize)),
                None => Err(self.bad(key, format!("{value} is not a size"))),
            },
        }
    }

    fn optional_number(&self, within: &Value, key: &str) -> Result<Option<f64>> {
        match within.get(key).filter(|v| !v.is_null()) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|v| v.is_finite()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.bad(key, format!("{value} is not a number"))),
            },
        }
    }

    fn flag(&self, key: &str) -> Result<bool> {
        match self.root.get(key).filter(|v| !v.is_null()) {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.bad(key, format!("{value} is not true or false"))),
        }
    }

    fn bad(&self, key: &str, problem: String) -> ShapeError {
        ShapeError::Config {
            path: PathBuf::from(self.path),
            key: key.to_owned(),
            problem,
        }
    }

    fn unsupported(&self, key: &str, value: &str, hint: &str) -> ShapeError {
        ShapeError::Unsupported {
            path: PathBuf::from(self.path),
            key: key.to_owned(),
            value: value.to_owned(),
            hint: hint.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
