//! Grouped-query attention (arXiv 2305.13245) over a session's cache.

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::Result;
use crate::kv_cache::KvCache;
use crate::linear::Linear;
use crate::matrices::Stacked;
use crate::norm::RmsNorm;
use crate::precision::WeightType;
use crate::rope::Rotation;
use tch::{Device, Kind, Tensor};

/// What all layers of a step share.
#[derive(Debug)]
pub(crate) struct StepGeometry {
    pub(crate) rotation: Rotation,
    /// `[group · rows, keys]`, 0 where a row attends and −∞ where it must not. A single row
    /// attends to everything and has none.
    pub(crate) mask: Option<Tensor>,
    /// The type that attention is computed in.
    pub(crate) kind: Kind,
}

impl StepGeometry {
    /// The geometry of `rows` new positions behind `past` old ones.
    pub(crate) fn new(
        config: &ModelConfig,
        inverse_frequencies: &Tensor,
        past: usize,
        rows: usize,
        kind: Kind,
        device: Device,
    ) -> Result<Self> {
        let mask = match rows {
            1 => None,
            _ => Some(
                Tensor::f_full(
                    [rows as i64, (past + rows) as i64],
                    f64::NEG_INFINITY,
                    (kind, device),
                )?
                .f_triu_(past as i64 + 1)?
                .f_repeat([config.group() as i64, 1])?,
            ),
        };
        Ok(Self {
            rotation: Rotation::new(inverse_frequencies, past, rows, kind, device)?,
            mask,
            kind,
        })
    }
}

#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) query_key_value: Linear,
    pub(crate) output: Linear,
    query_key_norm: Option<(RmsNorm, RmsNorm)>,
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
}

impl Attention {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        layer: usize,
        importance: &[f32],
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
            query_key_value: Linear::load(
                checkpoint,
                &query_key_value,
                importance,
                weights,
                device,
            )?,
            output: Linear::load(checkpoint, &output, &[], weights, device)?,
            query_key_norm: match config.qk_norm {
                true => Some((norm("q_norm")?, norm("k_norm")?)),
                false => None,
            },
            heads: config.heads as i64,
            kv_heads: config.kv_heads as i64,
            head_dim: config.head_dim as i64,
        })
    }

    /// Queries, keys and values of normalised rows, `[rows, hidden]`.
    pub(crate) fn project(&self, x: &Tensor) -> Result<Tensor> {
        self.query_key_value.forward(x)
    }

    /// What rows attend to, `[rows, heads · head_dim]`, by their queries, keys and values.
    pub(crate) fn attend(
        &self,
        query_key_value: &Tensor,
        layer: usize,
        geometry: &StepGeometry,
        cache: &mut KvCache,
    ) -> Result<Tensor> {
        let rows = query_key_value.size().first().copied().unwrap_or(0);
        let (heads, kv_heads, dim) = (self.heads, self.kv_heads, self.head_dim);
        let all = query_key_value
            .f_view([rows, heads + 2 * kv_heads, dim])?
            .f_to_kind(geometry.kind)?;
        let value = all.f_narrow(1, heads + kv_heads, kv_heads)?;
        let query_key = self.normalised(&all.f_narrow(1, 0, heads + kv_heads)?)?;
        let rotated = geometry.rotation.apply(&query_key)?;
        let query = rotated.f_narrow(1, 0, heads)?;
        let key = rotated.f_narrow(1, heads, kv_heads)?;
        let (keys, values) = cache.extend(layer, &key, &value)?;
        // The query heads of a group become rows of their key head, so that no key is repeated.
        let group = heads / kv_heads;
        let query = query
            .f_view([rows, kv_heads, group, dim])?
            .f_permute([1, 2, 0, 3])?
            .f_reshape([1, kv_heads, group * rows, dim])?;
        let attended = Tensor::f_scaled_dot_product_attention(
            &query,
            &keys,
            &values,
            geometry.mask.as_ref(),
            0.0,
            false,
            None,
            false,
        )?;
        Ok(attended
            .f_view([kv_heads, group, rows, dim])?
            .f_permute([2, 0, 1, 3])?
            .f_reshape([rows, heads * dim])?
            .f_to_kind(query_key_value.kind())?)
    }

    fn normalised(&self, query_key: &Tensor) -> Result<Tensor> {
        let Some((query_norm, key_norm)) = &self.query_key_norm else {
            return Ok(query_key.shallow_clone());
        };
        let query = query_norm.forward(&query_key.f_narrow(1, 0, self.heads)?)?;
        let key = key_norm.forward(&query_key.f_narrow(1, self.heads, self.kv_heads)?)?;
        Ok(Tensor::f_cat(&[query, key], 1)?.f_to_kind(query_key.kind())?)
    }
}
