//! Every codec writes all finite rows, and reads what it wrote.
//!
//! The input's first byte says how the rest becomes values: as binary32, as bfloat16, or each byte as a small number
//! times a power of two, which is what rows look like.

use super::PROFILE;
use crate::input::Input;
use std::sync::Arc;
use tandem_codec::{Codec, Decoder, Encoder, Limits};

const LIMITS: Limits = Limits {
    max_rows: 64,
    hidden: 75,
};

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let values = rows(choice, input.rest());
    for codec in Codec::ALL {
        if codec == Codec::Bf16 && values.iter().copied().any(is_too_large_for_bf16) {
            continue;
        }
        for profile in [None, Some(Arc::clone(&PROFILE))] {
            let calibrated = profile.is_some();
            let mut frame = Vec::new();
            let encoded = Encoder::new(codec, profile.as_ref())
                .encode(&values, LIMITS.hidden, &mut frame)
                .unwrap_or_else(|e| panic!("{codec}, profile {calibrated}: encode: {e}"));
            assert_eq!(encoded.header.rows * LIMITS.hidden, values.len());
            let mut decoded = Vec::new();
            let header = Decoder::new(profile)
                .decode(&frame, LIMITS, &mut decoded)
                .unwrap_or_else(|e| panic!("{codec}, profile {calibrated}: decode: {e}"));
            assert_eq!(header.rows * LIMITS.hidden, values.len());
            assert_eq!(decoded.len(), values.len());
            assert!(decoded.iter().all(|value| value.is_finite()));
            if codec == Codec::F32 {
                let same = values.iter().zip(&decoded);
                assert!(same.into_iter().all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }
}

/// Whole rows of finite values, the last filled up with zeros.
fn rows(choice: u8, bytes: &[u8]) -> Vec<f32> {
    let exponent = i32::from(choice / 3) - 42;
    let mut values: Vec<f32> = match choice % 3 {
        0 => {
            let words = bytes.chunks_exact(4);
            words
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        }
        1 => {
            let halves = bytes.chunks_exact(2);
            halves
                .map(|b| f32::from_le_bytes([0, 0, b[0], b[1]]))
                .collect()
        }
        _ => {
            let small = bytes.iter().map(|&b| f32::from(b as i8));
            small.map(|v| v * 2f32.powi(exponent)).collect()
        }
    };
    for value in &mut values {
        if !value.is_finite() {
            *value = 0.0;
        }
    }
    let count = values.len().div_ceil(LIMITS.hidden);
    values.resize(count.clamp(1, LIMITS.max_rows) * LIMITS.hidden, 0.0);
    values
}

/// What bfloat16 rounds to an infinity, which the codec `bf16` refuses.
fn is_too_large_for_bf16(value: f32) -> bool {
    value.abs().to_bits() >= 0x7f7f_8000
}
