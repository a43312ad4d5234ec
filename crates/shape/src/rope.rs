//! The frequencies of rotary position embedding (RoFormer, arXiv 2104.09864), with the scalings of
//! transformers' `modeling_rope_utils.py`.

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
                let frequency = 1.0 / libm::powf(self.theta as f32, exponent);
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
}
