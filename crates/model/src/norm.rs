//! Root mean square layer normalisation (arXiv 1910.07467).

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::Result;
use tch::{Device, Kind, Tensor};

/// `x / sqrt(mean(x²) + eps) · w`, in f32.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    /// `[size]` in f32.
    weight: Tensor,
    size: i64,
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        name: &str,
        size: usize,
        config: &ModelConfig,
        device: Device,
    ) -> Result<Self> {
        let stored = checkpoint.tensor(&format!("{name}.weight"), &[size])?;
        Ok(Self {
            weight: stored
                .to_tensor()?
                .f_to_kind(Kind::Float)?
                .f_to_device(device)?,
            size: size as i64,
            eps: config.rms_norm_eps,
        })
    }

    /// The squares of what normalised values are multiplied with, `[size]`.
    pub(crate) fn squared_gains(&self) -> Result<Vec<f32>> {
        let gains = crate::values(&self.weight)?;
        Ok(gains.into_iter().map(|g| g * g).collect())
    }

    /// Normalises the last dimension. Returns f32.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let converted;
        let x = match x.f_kind()? {
            Kind::Float => x,
            _ => {
                converted = x.f_to_kind(Kind::Float)?;
                &converted
            }
        };
        let (normalised, _) =
            x.f_internal_fused_rms_norm([self.size], Some(&self.weight), self.eps)?;
        Ok(normalised)
    }
}
