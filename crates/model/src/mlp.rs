//! The gated MLP: `down(silu(gate(x)) · up(x))` (SwiGLU, arXiv 2002.05202).

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::Result;
use crate::linear::{Inputs, Linear, Stored};
use crate::precision::WeightType;
use tch::{Device, Tensor};

#[derive(Debug)]
pub(crate) struct Mlp {
    gate_up: Linear,
    down: Linear,
    intermediate: i64,
}

impl Mlp {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        layer: usize,
        inputs: Inputs<'_>,
        weights: WeightType,
        device: Device,
    ) -> Result<Self> {
        let at = |part: &str| format!("model.layers.{layer}.mlp.{part}_proj");
        let (gate, up, down) = (at("gate"), at("up"), at("down"));
        let bias = config.mlp_bias;
        let stored = |name, rows| Stored { name, rows, bias };
        Ok(Self {
            gate_up: Linear::load(
                checkpoint,
                &[
                    stored(&gate, config.intermediate),
                    stored(&up, config.intermediate),
                ],
                inputs,
                weights,
                device,
            )?,
            down: Linear::load(
                checkpoint,
                &[stored(&down, config.hidden)],
                Inputs {
                    count: config.intermediate,
                    importance: &[],
                },
                weights,
                device,
            )?,
            intermediate: config.intermediate as i64,
        })
    }

    /// `x`: normalised rows, `[rows, hidden]`. Returns what is added to the residual.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let both = self.gate_up.forward(x)?;
        let gate = both.f_narrow(1, 0, self.intermediate)?;
        let up = both.f_narrow(1, self.intermediate, self.intermediate)?;
        self.down.forward(&gate.f_silu()?.f_mul_(&up)?)
    }
}
