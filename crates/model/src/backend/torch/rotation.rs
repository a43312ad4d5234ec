//! Rotary position embedding (RoFormer, arXiv 2104.09864) of tensors.

use crate::error::Result;
use tch::{Device, Kind, Tensor};

/// Cosines and sines of one step's positions, computed once and used by all its layers.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// `[positions, 1, head_dim]`.
    cos: Tensor,
    /// `[positions, 1, head_dim]`, the first half negated: with it rotate-half is a roll.
    signed_sin: Tensor,
}

impl Rotation {
    /// The rotation of positions `start .. start + count`.
    ///
    /// `inverse_frequencies`: `[head_dim / 2]`. `kind` is the type of queries and keys.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub(crate) fn new(
        inverse_frequencies: &[f32],
        start: usize,
        count: usize,
        kind: Kind,
        device: Device,
    ) -> Result<Self> {
        let positions =
            Tensor::f_arange_start(start as i64, (start + count) as i64, (Kind::Float, device))?;
        let frequencies = Tensor::f_from_slice(inverse_frequencies)?.f_to_device(device)?;
        let angles = positions
            .f_unsqueeze(1)?
            .f_mul(&frequencies.f_unsqueeze(0)?)?;
        let cos = angles.f_cos()?;
        let sin = angles.f_sin()?;
        let signed_sin = Tensor::f_cat(&[&sin.f_neg()?, &sin], 1)?;
        Ok(Self {
            cos: Tensor::f_cat(&[&cos, &cos], 1)?
                .f_unsqueeze(1)?
                .f_to_kind(kind)?,
            signed_sin: signed_sin.f_unsqueeze(1)?.f_to_kind(kind)?,
        })
    }

    /// Rotates `heads`, `[positions, heads, head_dim]`.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub(crate) fn apply(&self, heads: &Tensor) -> Result<Tensor> {
        let half = heads.size().last().copied().unwrap_or(0) / 2;
        let rolled = heads.f_roll([half], [-1])?;
        Ok(heads
            .f_mul(&self.cos)?
            .f_addcmul_(&rolled, &self.signed_sin)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::torch::copied;
    use crate::rope::Angles;
    use tandem_shape::{Rope, RopeScaling};

    #[test]
    fn heads_in_plain_memory_turn_as_those_of_libtorch_do() {
        let rope = Rope {
            theta: 100_000.0,
            scaling: RopeScaling::Default,
        };
        let (dim, start, count) = (64, 8_000, 3);
        let frequencies = rope.inverse_frequencies(dim);
        let heads: Vec<f32> = (0..count * dim).map(|i| (i as f32 * 0.7).sin()).collect();
        let angles = Angles::new(&frequencies, [(start, count)]);
        let mut found = vec![0.0; heads.len()];
        let rows = heads.chunks(dim).zip(found.chunks_mut(dim));
        for (position, (head, out)) in rows.enumerate() {
            angles.rotate(position, head, out);
        }
        let kind = Kind::Float;
        let rotation = Rotation::new(&frequencies, start, count, kind, Device::Cpu).unwrap();
        let shape = [count as i64, 1, dim as i64];
        let expected = rotation
            .apply(&Tensor::from_slice(&heads).view(shape))
            .unwrap();
        for (found, expected) in found.iter().zip(copied(&expected).unwrap()) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
