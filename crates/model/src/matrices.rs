//! The matrices of a model by name, stacked as they are held: those that share their inputs are one.

use crate::checkpoint::Checkpoint;
use crate::checkpoint::stored_matrix::{StoredMatrix, codes_name};
use crate::embedding::EMBEDDING;
use crate::error::{ModelError, Result};
use tandem_shape::{ModelConfig, WeightType};

/// What a head is called that is not the embedding.
pub(crate) const HEAD: &str = "lm_head";

/// Matrices of a checkpoint that are held as one, since they share their inputs.
pub(crate) struct Stacked {
    pub(crate) parts: Vec<Stored>,
    pub(crate) inputs: usize,
    pub(crate) input: Input,
}

/// What a matrix multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// What comes from the norm before attention.
    Attention,
    /// What rows attended to.
    Attended,
    /// What comes from the norm before the MLP.
    Mlp,
    /// The MLP's gated values.
    Gated,
    /// What comes from the last norm.
    Head,
}

/// A matrix in a checkpoint, and whether it has a bias.
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) outputs: usize,
    pub(crate) bias: bool,
}

impl Stacked {
    /// Queries, keys and values of a layer.
    pub(crate) fn query_key_value(config: &ModelConfig, layer: usize) -> Self {
        let kv = config.kv_heads * config.head_dim;
        let part = |name, outputs| attention(layer, name, outputs, config.qkv_bias);
        Self {
            parts: vec![
                part("q", config.heads * config.head_dim),
                part("k", kv),
                part("v", kv),
            ],
            inputs: config.hidden,
            input: Input::Attention,
        }
    }

    /// What follows a layer's attention.
    pub(crate) fn attention_output(config: &ModelConfig, layer: usize) -> Self {
        Self {
            parts: vec![attention(layer, "o", config.hidden, config.output_bias)],
            inputs: config.heads * config.head_dim,
            input: Input::Attended,
        }
    }

    /// Gate and up of a layer's MLP.
    pub(crate) fn gate_up(config: &ModelConfig, layer: usize) -> Self {
        let part = |name| mlp(layer, name, config.intermediate, config.mlp_bias);
        Self {
            parts: vec![part("gate"), part("up")],
            inputs: config.hidden,
            input: Input::Mlp,
        }
    }

    /// Down of a layer's MLP.
    pub(crate) fn down(config: &ModelConfig, layer: usize) -> Self {
        Self {
            parts: vec![mlp(layer, "down", config.hidden, config.mlp_bias)],
            inputs: config.intermediate,
            input: Input::Gated,
        }
    }

    /// The head, which may be the embedding. A package has one of its own where it is integers.
    pub(crate) fn head(config: &ModelConfig, checkpoint: &Checkpoint) -> Self {
        let own = checkpoint.contains(&codes_name(&format!("{HEAD}.weight")));
        let name = if config.tied_head && !own {
            EMBEDDING.trim_end_matches(".weight")
        } else {
            HEAD
        };
        Self {
            parts: vec![Stored {
                name: name.to_owned(),
                outputs: config.vocabulary,
                bias: false,
            }],
            inputs: config.hidden,
            input: Input::Head,
        }
    }

    pub(crate) fn outputs(&self) -> usize {
        self.parts.iter().map(|p| p.outputs).sum()
    }
}

impl Stored {
    /// Name of the matrix.
    pub(crate) fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// Name of the bias.
    pub(crate) fn bias(&self) -> String {
        format!("{}.bias", self.name)
    }

    /// Maps the matrix, `[outputs, columns]`.
    pub(crate) fn open(
        &self,
        checkpoint: &Checkpoint,
        columns: usize,
        weights: WeightType,
    ) -> Result<StoredMatrix> {
        StoredMatrix::open(checkpoint, &self.weight(), [self.outputs, columns], weights)
    }

    /// The bias, in f32.
    pub(crate) fn bias_values(&self, checkpoint: &Checkpoint) -> Result<Vec<f32>> {
        checkpoint.vector(&self.bias(), self.outputs)
    }

    /// Refuses weights that are NaN or infinite where the matrix is to be held in integers, which cannot stand
    /// for them. A matrix of floats keeps them, and they show in the logits.
    pub(crate) fn check(
        &self,
        checkpoint: &Checkpoint,
        weights: WeightType,
        values: &[f32],
    ) -> Result<()> {
        let most = match weights {
            WeightType::F32 | WeightType::Bf16 => return Ok(()),
            WeightType::Int8 => f32::MAX,
            // Scale and offset are binary16.
            WeightType::Int4(_) => half::f16::MAX.to_f32(),
        };
        let bad = values.iter().find(|w| w.is_nan() || w.abs() > most);
        match bad {
            None => Ok(()),
            Some(&value) => {
                let tensor = self.weight();
                Err(ModelError::NotFinite {
                    path: checkpoint.file_of(&tensor)?.path().to_owned(),
                    tensor,
                    value,
                })
            }
        }
    }
}

fn attention(layer: usize, part: &str, outputs: usize, bias: bool) -> Stored {
    Stored {
        name: format!("model.layers.{layer}.self_attn.{part}_proj"),
        outputs,
        bias,
    }
}

fn mlp(layer: usize, part: &str, outputs: usize, bias: bool) -> Stored {
    Stored {
        name: format!("model.layers.{layer}.mlp.{part}_proj"),
        outputs,
        bias,
    }
}
