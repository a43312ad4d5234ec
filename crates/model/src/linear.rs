//! A matrix product, in the type its weights are held in.

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::precision::WeightType;
use tch::{Device, Tensor};

/// `y = x · Wᵀ + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    /// `[out, in]`.
    weight: Tensor,
    /// `[out]`.
    bias: Option<Tensor>,
}

/// A matrix in a checkpoint, and whether it has a bias.
pub(crate) struct Stored<'a> {
    pub(crate) name: &'a str,
    pub(crate) rows: usize,
    pub(crate) bias: bool,
}

impl Linear {
    /// Loads matrices that share an input of `columns` values as one, stacked: a product saved is
    /// a call saved, and calls are what small models spend their time on.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        parts: &[Stored<'_>],
        columns: usize,
        weights: WeightType,
        device: Device,
    ) -> Result<Self> {
        let rows: usize = parts.iter().map(|p| p.rows).sum();
        let options = (weights.kind(), device);
        let weight = Tensor::f_empty([rows as i64, columns as i64], options)?;
        let has_bias = parts.iter().any(|p| p.bias);
        let mut bias = None;
        if has_bias {
            bias = Some(Tensor::f_zeros([rows as i64], options)?);
        }
        let mut row = 0;
        for part in parts {
            let (start, count) = (row as i64, part.rows as i64);
            let name = format!("{}.weight", part.name);
            let stored = checkpoint.tensor(&name, &[part.rows, columns])?;
            weight
                .f_narrow(0, start, count)?
                .f_copy_(&stored.to_tensor()?)?;
            if let (true, Some(bias)) = (part.bias, &bias) {
                let name = format!("{}.bias", part.name);
                let stored = checkpoint.tensor(&name, &[part.rows])?;
                bias.f_narrow(0, start, count)?
                    .f_copy_(&stored.to_tensor()?)?;
            }
            row += part.rows;
        }
        Ok(Self { weight, bias })
    }

    /// `x`: `[rows, in]` in the weights' type.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weight, self.bias.as_ref())?)
    }
}
