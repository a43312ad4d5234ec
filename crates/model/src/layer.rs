//! One decoder layer: attention and MLP, each behind a norm and added to the residual.

use crate::attention::{Attention, StepGeometry};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::Result;
use crate::kv_cache::KvCache;
use crate::linear::Inputs;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::precision::WeightType;
use tch::{Device, Kind, Tensor};

#[derive(Debug)]
pub(crate) struct Layer {
    number: usize,
    attention_norm: RmsNorm,
    attention: Attention,
    mlp_norm: RmsNorm,
    mlp: Mlp,
    kind: Kind,
}

impl Layer {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        number: usize,
        weights: WeightType,
        device: Device,
    ) -> Result<Self> {
        let norm = |part| {
            let name = format!("model.layers.{number}.{part}_layernorm");
            RmsNorm::load(checkpoint, &name, config.hidden, config, device)
        };
        let (attention_norm, mlp_norm) = (norm("input")?, norm("post_attention")?);
        // A normalised value is about 1, times the norm's gain.
        let squares = |norm: &RmsNorm| -> Result<Vec<f32>> {
            Ok(norm.gains()?.into_iter().map(|g| g * g).collect())
        };
        let (before_attention, before_mlp) = (squares(&attention_norm)?, squares(&mlp_norm)?);
        let inputs = |importance| Inputs {
            count: config.hidden,
            importance,
        };
        let (of_attention, of_mlp) = (inputs(&before_attention), inputs(&before_mlp));
        Ok(Self {
            number,
            attention_norm,
            attention: Attention::load(checkpoint, config, number, of_attention, weights, device)?,
            mlp_norm,
            mlp: Mlp::load(checkpoint, config, number, of_mlp, weights, device)?,
            kind: weights.kind(),
        })
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Adds this layer's two terms to the residual in place: `[rows, hidden]` in f32.
    pub(crate) fn forward(
        &self,
        residual: &mut Tensor,
        geometry: &StepGeometry,
        cache: &mut KvCache,
    ) -> Result<()> {
        let x = self
            .attention_norm
            .forward(residual)?
            .f_to_kind(self.kind)?;
        let attended = self.attention.forward(&x, self.number, geometry, cache)?;
        let _ = residual.f_add_(&attended)?;
        let x = self.mlp_norm.forward(residual)?.f_to_kind(self.kind)?;
        let _ = residual.f_add_(&self.mlp.forward(&x)?)?;
        Ok(())
    }
}
