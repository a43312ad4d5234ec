//! The gated MLP: `down(silu(gate(x)) · up(x))` (SwiGLU, arXiv 2002.05202).

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::linear::Linear;
use crate::matrices::Stacked;
use crate::quantise::input_squares::InputSquares;
use tandem_shape::{ModelConfig, WeightType};
use tch::{Device, Tensor};

#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) gate_up: Linear,
    pub(crate) down: Linear,
    intermediate: i64,
}

impl Mlp {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        layer: usize,
        squares: &InputSquares,
        weights: WeightType,
        device: Device,
    ) -> Result<Self> {
        let (gate_up, down) = (
            Stacked::gate_up(config, layer),
            Stacked::down(config, layer),
        );
        Ok(Self {
            gate_up: Linear::load(checkpoint, &gate_up, squares, weights, device)?,
            down: Linear::load(checkpoint, &down, squares, weights, device)?,
            intermediate: config.intermediate as i64,
        })
    }

    /// The gated values of normalised rows: `[rows, hidden]` to `[rows, intermediate]`.
    pub(crate) fn gated(&self, x: &Tensor) -> Result<Tensor> {
        let both = self.gate_up.forward(x)?;
        let gate = both.f_narrow(1, 0, self.intermediate)?;
        let up = both.f_narrow(1, self.intermediate, self.intermediate)?;
        Ok(gate.f_silu()?.f_mul_(&up)?)
    }
}
