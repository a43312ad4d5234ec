//! Random numbers with an address instead of a state: the same (seed, position, draw) gives the
//! same number on every machine, in whatever order they are asked for. That is what lets a replay
//! on another replica choose the tokens that the first one chose.
//!
//! The mapping is part of what a seed promises, so a test pins it:
//!
//! - generator: ChaCha with 8 rounds, 64-bit counter and 64-bit nonce (Bernstein 2008);
//! - key, 32 bytes: the seed, little-endian, then the 24 bytes `tandem sampling draw v1\0`;
//! - nonce: the position;
//! - with the key stream read as little-endian 32-bit words w₀ w₁ …, draw d is the 64-bit number
//!   w₂ᵈ + 2³²·w₂ᵈ₊₁, of which the upper 53 bits are used.
//!
//! Sampling a token uses draw 0 of the token's position; the others are for methods that need more.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Keeps these numbers apart from anything else that is ever derived from a user's seed.
const LABEL: &[u8; 24] = b"tandem sampling draw v1\0";

/// How many bits a draw has.
pub(super) const BITS: u32 = 53;

/// Draw `draw` of the token at `position` under `seed`, uniform in [0, 2⁵³).
#[must_use]
pub fn bits(seed: u64, position: u64, draw: u32) -> u64 {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..].copy_from_slice(LABEL);
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(position);
    generator.set_word_pos(2 * u128::from(draw));
    generator.next_u64() >> (u64::BITS - BITS)
}

/// The same draw as a number in [0, 1): [`bits`] · 2⁻⁵³, exactly.
#[must_use]
pub fn uniform(seed: u64, position: u64, draw: u32) -> f64 {
    // 53 bits are what an f64 holds, so the conversion does not round.
    bits(seed, position, draw) as f64 / (1_u64 << BITS) as f64
}

/// The draw scaled to [0, total): ⌊bits · total / 2⁵³⌋.
pub(super) fn scaled(bits: u64, total: u64) -> u64 {
    // Below total, which is 64 bits, because bits is below 2⁵³.
    ((u128::from(bits) * u128::from(total)) >> BITS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with a ChaCha of its own, written from Bernstein's paper and checked against the
    /// published key streams. A change here changes the text of every seed.
    #[test]
    fn the_mapping_is_pinned() {
        let golden = [
            ((0, 0, 0), 0xc_eb64_dc3d_1422_u64),
            ((0, 0, 1), 0x1_a114_15c0_2409),
            ((0, 1, 0), 0x15_d530_36da_9dc5),
            ((1, 0, 0), 0xd_8c31_80bc_2433),
            ((42, 1023, 7), 0x1b_ffc0_e650_0ea5),
            ((42, 1023, 8), 0xd_6e4b_2344_cf97),
            ((0xdead_beef, 2048, 0), 0x12_177c_d107_1027),
            ((u64::MAX, u64::MAX, u32::MAX), 0x4_da70_9c4c_91e7),
        ];
        for ((seed, position, draw), expected) in golden {
            assert_eq!(
                bits(seed, position, draw),
                expected,
                "({seed}, {position}, {draw})"
            );
        }
        assert_eq!(uniform(0, 0, 0), 0.403_734_617_379_658_77);
        assert_eq!(uniform(0xdead_beef, 2048, 0), 0.565_367_134_339_344_2);
    }

    #[test]
    fn draws_fill_the_unit_interval_evenly() {
        let mut counts = [0_u32; 64];
        for position in 0..64_000 {
            let number = uniform(7, position, 0);
            assert!((0.0..1.0).contains(&number));
            counts[(number * 64.0) as usize] += 1;
        }
        let chi_square: f64 = counts
            .iter()
            .map(|&count| (f64::from(count) - 1000.0).powi(2) / 1000.0)
            .sum();
        // The 0.999 quantile of chi-square with 63 degrees of freedom.
        assert!(chi_square < 103.4, "{chi_square}");
    }

    #[test]
    fn a_scaled_draw_stays_below_the_total() {
        let highest = (1 << BITS) - 1;
        for total in [1, 2, 3, 1 << 42, (1 << 62) - 1, 1 << 62] {
            assert_eq!(scaled(0, total), 0);
            assert!(scaled(highest, total) < total);
        }
        assert_eq!(scaled(highest, 1000), 999);
    }
}
