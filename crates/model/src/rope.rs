//! Rotary position embedding (RoFormer, arXiv 2104.09864) in the rotate-half layout of Hugging
//! Face checkpoints.

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

/// The same in plain memory.
#[derive(Debug)]
pub(crate) struct Angles {
    /// `[positions, head_dim / 2]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
    positions: usize,
}

impl Angles {
    /// The angles of positions `start .. start + count`.
    pub(crate) fn new(inverse_frequencies: &[f32], start: usize, count: usize) -> Self {
        let of_position = |p: usize| inverse_frequencies.iter().map(move |f| p as f32 * f);
        let angles = (start..start + count).flat_map(of_position);
        let (sin, cos) = angles.map(f32::sin_cos).unzip();
        Self {
            cos,
            sin,
            positions: count,
        }
    }

    /// Positions there are.
    pub(crate) fn count(&self) -> usize {
        self.positions
    }

    /// Rotates one head of the step's position number `position`, `[head_dim]`.
    pub(crate) fn rotate(&self, position: usize, head: &[f32], out: &mut [f32]) {
        let half = head.len() / 2;
        let angles = position * half..(position + 1) * half;
        let angles = self.cos[angles.clone()].iter().zip(&self.sin[angles]);
        let (first, second) = head.split_at(half);
        let (to_first, to_second) = out.split_at_mut(half);
        let from = first.iter().zip(second);
        let to = to_first.iter_mut().zip(to_second);
        for (((a, b), (to_a, to_b)), (cos, sin)) in from.zip(to).zip(angles) {
            *to_a = a * cos - b * sin;
            *to_b = b * cos + a * sin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let angles = Angles::new(&frequencies, start, count);
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
        for (found, expected) in found.iter().zip(crate::values(&expected).unwrap()) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
