//! One decoder layer: attention and MLP, each behind a norm and added to the residual.

use crate::attention::{Attention, StepGeometry};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::kinds::ComputeKind;
use crate::kv_cache::KvCache;
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::quantise::input_squares::InputSquares;
use tandem_shape::{ModelConfig, WeightType};
use tch::{Device, Kind, Tensor};

#[derive(Debug)]
pub(crate) struct Layer {
    number: usize,
    pub(crate) attention_norm: RmsNorm,
    pub(crate) attention: Attention,
    pub(crate) mlp_norm: RmsNorm,
    pub(crate) mlp: Mlp,
    kind: Kind,
}

impl Layer {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        number: usize,
        squares: &InputSquares,
        weights: WeightType,
        device: Device,
    ) -> Result<Self> {
        let norm = |part| {
            let name = format!("model.layers.{number}.{part}_layernorm");
            RmsNorm::load(checkpoint, &name, config.hidden, config, device)
        };
        Ok(Self {
            number,
            attention_norm: norm("input")?,
            attention: Attention::load(checkpoint, config, number, squares, weights, device)?,
            mlp_norm: norm("post_attention")?,
            mlp: Mlp::load(checkpoint, config, number, squares, weights, device)?,
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
        let x = self.before_attention(residual)?;
        let projected = self.attention.project(&x)?;
        let attended = self
            .attention
            .attend(&projected, self.number, geometry, cache)?;
        let _ = residual.f_add_(&self.attention.output.forward(&self.in_kind(attended)?)?)?;
        let x = self.before_mlp(residual)?;
        let gated = self.mlp.gated(&x)?;
        let _ = residual.f_add_(&self.mlp.down.forward(&gated)?)?;
        Ok(())
    }

    /// Bytes of its matrices.
    pub(crate) fn bytes(&self) -> u64 {
        let (attention, mlp) = (&self.attention, &self.mlp);
        let matrices = [
            &attention.query_key_value,
            &attention.output,
            &mlp.gate_up,
            &mlp.down,
        ];
        matrices.into_iter().map(Linear::bytes).sum()
    }

    /// Normalised rows, as attention's first matrix takes them.
    pub(crate) fn before_attention(&self, residual: &Tensor) -> Result<Tensor> {
        self.in_kind(self.attention_norm.forward(residual)?)
    }

    /// Normalised rows, as the MLP's first matrix takes them.
    pub(crate) fn before_mlp(&self, residual: &Tensor) -> Result<Tensor> {
        self.in_kind(self.mlp_norm.forward(residual)?)
    }

    /// A tensor in the type this layer's products take. A call of libtorch's that changes nothing still
    /// takes its microseconds.
    fn in_kind(&self, x: Tensor) -> Result<Tensor> {
        match x.f_kind()? == self.kind {
            true => Ok(x),
            false => Ok(x.f_to_kind(self.kind)?),
        }
    }
}
