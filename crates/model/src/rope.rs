//! Rotary position embedding (RoFormer, arXiv 2104.09864) in the rotate-half layout of Hugging
//! Face checkpoints, with the frequency scalings of transformers' `modeling_rope_utils.py`.

use crate::error::Result;
use tch::{Device, Kind, Tensor};

/// How frequencies are stretched for contexts longer than the model was trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Every frequency divided by `factor` (position interpolation, arXiv 2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// By wavelength, as Llama 3.1 does: long wavelengths divided by `factor`, short ones kept,
    /// those between blended.
    Llama3 {
        /// Divisor of the longest wavelengths.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are short.
        high_freq_factor: f64,
        /// Context the model was first trained on, in tokens.
        original_context: f64,
    },
}

/// The parameters of a model's rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of frequencies.
    pub theta: f64,
    /// How it is stretched.
    pub scaling: RopeScaling,
}

impl Rope {
    /// Angle a position, for each pair of dimensions: `theta^(-2i/D)`, stretched. `[head_dim / 2]`.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        (0..head_dim / 2)
            .map(|i| {
                // In f32 like transformers, so that angles at long positions agree to the bit.
                let exponent = (2 * i) as f32 / head_dim as f32;
                let frequency = 1.0 / (self.theta as f32).powf(exponent);
                self.stretch(frequency)
            })
            .collect()
    }

    fn stretch(&self, frequency: f32) -> f32 {
        match self.scaling {
            RopeScaling::Default => frequency,
            RopeScaling::Linear { factor } => frequency / factor as f32,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let wavelength = 2.0 * std::f32::consts::PI / frequency;
                if wavelength > (original_context / low_freq_factor) as f32 {
                    frequency / factor as f32
                } else if wavelength < (original_context / high_freq_factor) as f32 {
                    frequency
                } else {
                    let smooth = (original_context as f32 / wavelength - low_freq_factor as f32)
                        / (high_freq_factor - low_freq_factor) as f32;
                    (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
                }
            }
        }
    }
}

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

    #[test]
    fn default_frequencies_are_a_geometric_series() {
        let rope = Rope {
            theta: 10_000.0,
            scaling: RopeScaling::Default,
        };
        let f = rope.inverse_frequencies(8);
        for (got, expected) in f.iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((got - expected).abs() < 1e-6 * expected, "{got} {expected}");
        }
    }

    #[test]
    fn llama3_keeps_short_and_stretches_long_wavelengths() {
        // Llama-3.1: theta 500,000, head_dim 128, factor 8, 1 and 4, 8192. Wavelengths below
        // 2,048 are kept, those above 8,192 divided by 8.
        let plain = Rope {
            theta: 500_000.0,
            scaling: RopeScaling::Default,
        };
        let scaled = Rope {
            theta: 500_000.0,
            scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 8192.0,
            },
        };
        let (p, s) = (
            plain.inverse_frequencies(128),
            scaled.inverse_frequencies(128),
        );
        assert_eq!(p[0], s[0]);
        assert_eq!(p[63] / 8.0, s[63]);
        assert!(s.iter().zip(&p).any(|(s, p)| *s < *p && *s > p / 8.0));
    }

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
