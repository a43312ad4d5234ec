//! The softmax in integers.
//!
//! A token's probability is its weight over the sum of all weights, and a weight is
//! e^((logit − peak) / temperature) in units of 2⁻⁴², rounded: 2⁴² for the most likely token, 0 for
//! one below 2⁻⁴³ of it. Integers add up to the same sum in any order, so that vectorised,
//! partitioned and sequential sums agree, and no token with weight 0 can be drawn. The exponential
//! uses additions and multiplications only, which IEEE 754 rounds in one way everywhere; a libm's
//! does not promise that.

use super::draw;

/// The weight of the most likely token.
pub(super) const ONE: u64 = 1 << ONE_BITS;
const ONE_BITS: u64 = 42;

/// Tokens whose weights are summed together.
const BLOCK: usize = 512;

/// Adding this to a small f64 rounds it to a whole number, which then lies in the lowest bits.
const ROUND: f64 = (3_u64 << 51) as f64;
/// Adding this to an f64 in [0, 2⁵²) does the same, with no other bits set but the exponent's.
const ROUND_UNSIGNED: f64 = (1_u64 << 52) as f64;
const MANTISSA: u64 = (1 << 52) - 1;

/// 2^x around 0 as a Taylor series: the coefficient of xᵏ is (ln 2)ᵏ / k!. For |x| ≤ ½ and terms up
/// to x⁹ the relative error is below 10⁻¹¹, far below what the logits' own rounding causes.
const EXP2: [f64; 10] = {
    let mut coefficients = [1.0; 10];
    let mut k = 1;
    while k < coefficients.len() {
        coefficients[k] = coefficients[k - 1] * std::f64::consts::LN_2 / k as f64;
        k += 1;
    }
    coefficients
};

/// Weights of logits under a temperature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Softmax {
    peak: f64,
    /// log₂ e / temperature.
    scale: f64,
}

impl Softmax {
    /// `peak` is the highest logit, finite; `temperature` is positive.
    pub(super) fn new(peak: f32, temperature: f32) -> Self {
        Self {
            peak: f64::from(peak),
            scale: std::f64::consts::LOG2_E / f64::from(temperature),
        }
    }

    /// The weight of a token, in [0, [`ONE`]], for a logit not above the peak. Free of branches, so
    /// that a loop over it is vectorised.
    #[inline(always)]
    pub(super) fn weight(self, logit: f32) -> u64 {
        let exponent = (f64::from(logit) - self.peak) * self.scale;
        // Low enough to round to 0, high enough for the exponent's bits; −∞ comes out here too.
        let exponent = if exponent > -100.0 { exponent } else { -100.0 };
        let rounded = exponent + ROUND;
        let fraction = exponent - (rounded - ROUND);
        let [c0, c1, c2, c3, c4, c5, c6, c7, c8, c9] = EXP2;
        let mut power = c9;
        for coefficient in [c8, c7, c6, c5, c4, c3, c2, c1, c0] {
            power = power * fraction + coefficient;
        }
        let shift = rounded.to_bits().wrapping_add(ONE_BITS) << 52;
        let units = f64::from_bits(power.to_bits().wrapping_add(shift));
        (units + ROUND_UNSIGNED).to_bits() & MANTISSA
    }

    /// The sum of all weights.
    pub(super) fn total(self, logits: &[f32]) -> u64 {
        logits.iter().map(|&logit| self.weight(logit)).sum()
    }

    /// Draws a token from the whole row, tokens laid out by id; `bits` as of [`draw::bits`]. `None`
    /// never comes out of a row that contains its peak.
    pub(super) fn choose(
        self,
        logits: &[f32],
        bits: u64,
        block_weights: &mut Vec<u64>,
    ) -> Option<u32> {
        block_weights.clear();
        block_weights.extend(logits.chunks(BLOCK).map(|block| self.total(block)));
        let mut left = draw::scaled(bits, block_weights.iter().sum());
        let block = block_weights
            .iter()
            .position(|&weight| falls_within(&mut left, weight))?;
        let start = block * BLOCK;
        let offset = logits
            .get(start..)?
            .iter()
            .position(|&logit| falls_within(&mut left, self.weight(logit)))?;
        u32::try_from(start + offset).ok()
    }
}

/// Whether the point `left` units ahead lies in the next `weight` units; if not, moves past them.
fn falls_within(left: &mut u64, weight: u64) -> bool {
    let within = *left < weight;
    if !within {
        *left -= weight;
    }
    within
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(softmax: Softmax, logit: f32) -> f64 {
        ((f64::from(logit) - softmax.peak) * softmax.scale).exp2() * ONE as f64
    }

    proptest! {
        #[test]
        fn weights_are_the_exponential(
            peak in -50_f32..50.0,
            below in 0_f32..60.0,
            temperature in 0.05_f32..20.0,
        ) {
            let softmax = Softmax::new(peak, temperature);
            let logit = peak - below;
            let (weight, exact) = (softmax.weight(logit) as f64, exact(softmax, logit));
            prop_assert!((weight - exact).abs() <= 0.51 + 2e-11 * exact, "{weight} {exact}");
        }

        #[test]
        fn a_higher_logit_never_weighs_noticeably_less(
            below in 0_f32..30.0,
            step in 0_f32..1e-3,
        ) {
            let softmax = Softmax::new(0.0, 1.0);
            let (high, low) = (softmax.weight(-below), softmax.weight(-below - step));
            prop_assert!(high as f64 >= low as f64 * (1.0 - 2e-11) - 1.0);
        }
    }

    #[test]
    fn the_ends_are_exact() {
        for temperature in [1e-5, 0.1, 1.0, 100.0] {
            for peak in [0.0, -3.25, 1e-40, f32::MAX, f32::MIN] {
                let softmax = Softmax::new(peak, temperature);
                assert_eq!(softmax.weight(peak), ONE);
                assert_eq!(softmax.weight(f32::NEG_INFINITY), 0);
            }
        }
        let softmax = Softmax::new(0.0, 1.0);
        assert_eq!(softmax.weight(f32::MIN), 0);
        assert_eq!(softmax.weight(-43.5 * std::f32::consts::LN_2), 0);
        assert_eq!(softmax.weight(-42.0 * std::f32::consts::LN_2), 1);
        assert_eq!(
            softmax.weight(-std::f32::consts::LN_2).abs_diff(ONE / 2) >> 18,
            0
        );
    }

    #[test]
    fn every_part_of_the_line_belongs_to_the_token_laid_there() {
        // Weights 1, 0, 1/2, 0, 1/2 in units of the first: half of all draws give token 0.
        let half = -std::f32::consts::LN_2;
        let mut logits = vec![f32::NEG_INFINITY; 3 * BLOCK];
        logits[5] = 0.0;
        logits[BLOCK + 1] = half;
        logits[3 * BLOCK - 1] = half;
        let softmax = Softmax::new(0.0, 1.0);
        let mut scratch = Vec::new();
        let mut at = |share: f64| {
            softmax.choose(&logits, (share * (1_u64 << 53) as f64) as u64, &mut scratch)
        };
        assert_eq!(at(0.0), Some(5));
        assert_eq!(at(0.499_999), Some(5));
        assert_eq!(at(0.500_001), Some(513));
        assert_eq!(at(0.749_999), Some(513));
        assert_eq!(at(0.750_001), Some(1535));
        assert_eq!(at(1.0 - f64::EPSILON / 2.0), Some(1535));
    }
}
