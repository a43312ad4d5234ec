//! Blocks of quantised values to 32-bit numbers, bit for bit as PyPI's `gguf` computes them.
//!
//! That is a matter of order: each rule below multiplies and adds in the reference's order, and Rust
//! fuses no multiplication with an addition. Layouts are those of ggml's `ggml-common.h`.

mod codebook;
mod k_quants;
mod plain;
mod simple;
mod small_floats;
mod ternary;

use half::f16;

use crate::tensor_type::TensorType;

/// Turns whole blocks into numbers.
pub(crate) type Rule = fn(&[u8], &mut [f32]);

/// The rule for a type, or `None` where the reference has none.
///
/// A rule expects as many whole blocks as fill the output and leaves alone what exceeds them.
pub(crate) fn rule(kind: TensorType) -> Option<Rule> {
    Some(match kind {
        TensorType::F32 => |raw, out| each(raw, out, plain::f32),
        TensorType::F16 => |raw, out| each(raw, out, plain::f16),
        TensorType::BF16 => |raw, out| each(raw, out, plain::bf16),
        TensorType::Q4_0 => |raw, out| each(raw, out, simple::q4_0),
        TensorType::Q4_1 => |raw, out| each(raw, out, simple::q4_1),
        TensorType::Q5_0 => |raw, out| each(raw, out, simple::q5_0),
        TensorType::Q5_1 => |raw, out| each(raw, out, simple::q5_1),
        TensorType::Q8_0 => |raw, out| each(raw, out, simple::q8_0),
        TensorType::Q2_K => |raw, out| each(raw, out, k_quants::q2_k),
        TensorType::Q3_K => |raw, out| each(raw, out, k_quants::q3_k),
        TensorType::Q4_K => |raw, out| each(raw, out, k_quants::q4_k),
        TensorType::Q5_K => |raw, out| each(raw, out, k_quants::q5_k),
        TensorType::Q6_K => |raw, out| each(raw, out, k_quants::q6_k),
        TensorType::TQ1_0 => |raw, out| each(raw, out, ternary::tq1_0),
        TensorType::TQ2_0 => |raw, out| each(raw, out, ternary::tq2_0),
        TensorType::MXFP4 => |raw, out| each(raw, out, small_floats::mxfp4),
        TensorType::NVFP4 => |raw, out| each(raw, out, small_floats::nvfp4),
        TensorType::IQ1_S => |raw, out| each(raw, out, codebook::iq1_s),
        TensorType::IQ1_M => |raw, out| each(raw, out, codebook::iq1_m),
        TensorType::IQ2_XXS => |raw, out| each(raw, out, codebook::iq2_xxs),
        TensorType::IQ2_XS => |raw, out| each(raw, out, codebook::iq2_xs),
        TensorType::IQ2_S => |raw, out| each(raw, out, codebook::iq2_s),
        TensorType::IQ3_XXS => |raw, out| each(raw, out, codebook::iq3_xxs),
        TensorType::IQ3_S => |raw, out| each(raw, out, codebook::iq3_s),
        TensorType::IQ4_NL => |raw, out| each(raw, out, small_floats::iq4_nl),
        TensorType::IQ4_XS => |raw, out| each(raw, out, small_floats::iq4_xs),
        TensorType::F64
        | TensorType::I8
        | TensorType::I16
        | TensorType::I32
        | TensorType::I64
        | TensorType::Q8_1
        | TensorType::Q8_K
        | TensorType::Q1_0 => return None,
    })
}

/// Applies a rule for one block to each block. Blocks of fixed size let the compiler drop the checks of bounds.
#[inline(always)]
fn each<const BYTES: usize, const VALUES: usize>(
    raw: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    for (block_bytes, values) in raw.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        block(block_bytes, values);
    }
}

/// The 16-bit floating-point number at `place`.
#[inline(always)]
fn half_at<const BYTES: usize>(block: &[u8; BYTES], place: usize) -> f32 {
    f16::from_le_bytes([block[place], block[place + 1]]).to_f32()
}

/// The 16-bit number at `place`.
#[inline(always)]
fn u16_at<const BYTES: usize>(block: &[u8; BYTES], place: usize) -> u16 {
    u16::from_le_bytes([block[place], block[place + 1]])
}

/// The 32-bit number at `place`.
#[inline(always)]
fn u32_at<const BYTES: usize>(block: &[u8; BYTES], place: usize) -> u32 {
    u32::from_le_bytes([
        block[place],
        block[place + 1],
        block[place + 2],
        block[place + 3],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random blocks and what the reference makes of them; tests/reference/make-golden.py writes the files.
    fn golden(name: &str) -> (Vec<u8>, Vec<u32>) {
        let path = format!(
            "{}/tests/golden/types/{name}.bin",
            env!("CARGO_MANIFEST_DIR")
        );
        let content = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let kind = TensorType::from_name(name).unwrap();
        let (values, bytes) = (kind.block_values() as usize, kind.block_bytes() as usize);
        let blocks = content.len() / (bytes + 4 * values);
        let (raw, expected) = content.split_at(blocks * bytes);
        assert_eq!(expected.len(), 4 * values * blocks);
        let expected = expected
            .as_chunks()
            .0
            .iter()
            .map(|&bits| u32::from_le_bytes(bits))
            .collect();
        (raw.to_vec(), expected)
    }

    #[test]
    fn every_type_gives_the_reference_s_bits() {
        let mut types = 0;
        for number in 0..64 {
            let Some(kind) = TensorType::from_number(number) else {
                continue;
            };
            let Some(rule) = rule(kind) else { continue };
            let (raw, expected) = golden(kind.name());
            let mut found = vec![0.0; expected.len()];
            rule(&raw, &mut found);
            let found: Vec<u32> = found.into_iter().map(f32::to_bits).collect();
            assert_eq!(found, expected, "{}", kind.name());
            types += 1;
        }
        assert_eq!(types, 26);
    }
}
