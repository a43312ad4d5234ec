//! Grouped-query attention (arXiv 2305.13245) over a session's cache.

mod forms;
mod packed;
mod softmax;
mod tile;
mod torch;
mod vectors;

#[cfg(test)]
mod tests;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::error::Result;
use crate::gemm::floats;
use crate::kinds::ComputeKind;
use crate::kv_cache::{KvCache, LayerKv};
use crate::linear::Linear;
use crate::matrices::Stacked;
use crate::norm::RmsNorm;
use crate::quantise::input_squares::InputSquares;
use crate::rope::Angles;
pub(crate) use packed::Step;
use tandem_shape::{ModelConfig, WeightType};
use tch::{Device, Kind, Tensor};
use torch::TorchStep;
pub(crate) use vectors::Vectors;

/// What all layers of a step share.
#[derive(Debug)]
pub(crate) enum StepGeometry {
    /// Over a cache in plain memory.
    Packed {
        angles: Angles,
        past: usize,
        vectors: Vectors,
    },
    /// Over a cache of tensors.
    Torch(TorchStep),
}

/// The shape of queries, keys and values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    /// Of queries.
    pub(crate) heads: i64,
    /// Of keys, and of values.
    pub(crate) kv_heads: i64,
    /// Of a head.
    pub(crate) dim: i64,
}

impl StepGeometry {
    /// The geometry of `rows` new positions behind those in `cache`.
    pub(crate) fn new(
        config: &ModelConfig,
        inverse_frequencies: &[f32],
        cache: &KvCache,
        rows: usize,
        device: Device,
    ) -> Result<Self> {
        let past = cache.len();
        if let Some(vectors) = cache.vectors() {
            return Ok(Self::Packed {
                angles: Angles::new(inverse_frequencies, past, rows),
                past,
                vectors,
            });
        }
        let (group, kind) = (config.group(), cache.kv_type().kind());
        let step = TorchStep::new(group, inverse_frequencies, past, rows, kind, device)?;
        Ok(Self::Torch(step))
    }
}

#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) query_key_value: Linear,
    pub(crate) output: Linear,
    pub(crate) query_key_norm: Option<(RmsNorm, RmsNorm)>,
    pub(crate) heads: Heads,
}

impl Attention {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        layer: usize,
        squares: &InputSquares,
        weights: WeightType,
        device: Device,
    ) -> Result<Self> {
        let norm = |part| {
            let name = format!("model.layers.{layer}.self_attn.{part}");
            RmsNorm::load(checkpoint, &name, config.head_dim, config, device)
        };
        let query_key_value = Stacked::query_key_value(config, layer);
        let output = Stacked::attention_output(config, layer);
        Ok(Self {
            query_key_value: Linear::load(checkpoint, &query_key_value, squares, weights, device)?,
            output: Linear::load(checkpoint, &output, squares, weights, device)?,
            query_key_norm: match config.qk_norm {
                true => Some((norm("q_norm")?, norm("k_norm")?)),
                false => None,
            },
            heads: Heads {
                heads: config.heads as i64,
                kv_heads: config.kv_heads as i64,
                dim: config.head_dim as i64,
            },
        })
    }

    /// Queries, keys and values of normalised rows, `[rows, hidden]`: `[rows, heads + 2 · kv_heads, dim]`.
    pub(crate) fn project(&self, x: &Tensor) -> Result<Tensor> {
        let rows = x.size().first().copied().unwrap_or(0);
        let Heads {
            heads,
            kv_heads,
            dim,
        } = self.heads;
        let projected = self.query_key_value.forward(x)?;
        Ok(projected.f_view([rows, heads + 2 * kv_heads, dim])?)
    }

    /// What the rows attend to, `[rows, heads · dim]`, from what [`Attention::project`] returned.
    pub(crate) fn attend(
        &self,
        qkv: &Tensor,
        layer: usize,
        geometry: &StepGeometry,
        cache: &mut KvCache,
    ) -> Result<Tensor> {
        let qkv = self.normalised(qkv)?;
        match (geometry, cache.layer(layer)) {
            (
                StepGeometry::Packed {
                    angles,
                    past,
                    vectors,
                },
                LayerKv::Packed(kv),
            ) => {
                let converted;
                let qkv = match floats(&qkv) {
                    Some(_) => &qkv,
                    None => {
                        converted = qkv.f_to_kind(Kind::Float)?.f_contiguous()?;
                        &converted
                    }
                };
                let step = Step {
                    qkv: floats(qkv).ok_or(ModelError::OtherCache)?,
                    heads: self.heads.heads as usize,
                    angles,
                    past: *past,
                };
                let attended = step.attend(kv, *vectors);
                let rows = qkv.size().first().copied().unwrap_or(0);
                Ok(Tensor::f_from_slice(&attended)?
                    .f_view([rows, self.heads.heads * self.heads.dim])?)
            }
            (StepGeometry::Torch(step), LayerKv::Tensors(kv)) => step.attend(&qkv, self.heads, kv),
            (StepGeometry::Packed { .. }, LayerKv::Tensors(_))
            | (StepGeometry::Torch(_), LayerKv::Packed(_)) => Err(ModelError::OtherCache),
        }
    }

    /// Queries and keys normalised, where the model does that.
    fn normalised(&self, qkv: &Tensor) -> Result<Tensor> {
        let Some((query_norm, key_norm)) = &self.query_key_norm else {
            return Ok(qkv.shallow_clone());
        };
        let Heads {
            heads, kv_heads, ..
        } = self.heads;
        let query = query_norm.forward(&qkv.f_narrow(1, 0, heads)?)?;
        let key = key_norm.forward(&qkv.f_narrow(1, heads, kv_heads)?)?;
        let value = qkv.f_narrow(1, heads + kv_heads, kv_heads)?;
        Ok(Tensor::f_cat(
            &[query, key, value.f_to_kind(Kind::Float)?],
            1,
        )?)
    }
}
