//! Root mean square layer normalisation (arXiv 1910.07467).

use crate::attention::Vectors;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use tandem_shape::ModelConfig;
use tch::{Device, Kind, Tensor};

/// `x / sqrt(mean(x²) + eps) · w`, in f32.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    /// `[size]` in f32.
    weight: Tensor,
    plain: PlainNorm,
    size: i64,
    eps: f64,
}

/// The same for rows in plain memory.
#[derive(Debug)]
pub(crate) struct PlainNorm {
    gains: Vec<f32>,
    eps: f32,
}

impl PlainNorm {
    /// Normalises each of what lies together, as long as the gains.
    pub(crate) fn normalise(&self, vectors: Vectors, x: &mut [f32]) {
        for x in x.chunks_exact_mut(self.gains.len().max(1)) {
            vectors.normalise(x, &self.gains, self.eps);
        }
    }
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
        let weight = stored.to_tensor()?.f_to_kind(Kind::Float)?;
        Ok(Self {
            plain: PlainNorm {
                gains: crate::values(&weight)?,
                eps: config.rms_norm_eps as f32,
            },
            weight: weight.f_to_device(device)?,
            size: size as i64,
            eps: config.rms_norm_eps,
        })
    }

    pub(crate) fn plain(&self) -> &PlainNorm {
        &self.plain
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
