//! Frames: a header, then rows as their codec writes them.

use crate::codec::Codec;
use crate::error::{DecodeError, EncodeError};
use half::bf16;

/// What a receiver accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most rows of one frame.
    pub max_rows: usize,
    /// Values a row, exactly.
    pub hidden: usize,
}

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// How the rows are written.
    pub codec: Codec,
    /// Number of rows.
    pub rows: usize,
    /// Values a row.
    pub hidden: usize,
}

/// Decoded rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// `[rows, hidden]`, row-major, finite.
    pub values: Vec<f32>,
    /// Number of rows.
    pub rows: usize,
}

/// Appends a frame of `values`, `[rows, hidden]` row-major, to `out`.
///
/// # Errors
/// When the values are not whole rows, or one is not finite in the codec's type. `out` is then as
/// it was.
pub fn encode(
    codec: Codec,
    values: &[f32],
    hidden: usize,
    out: &mut Vec<u8>,
) -> Result<FrameHeader, EncodeError> {
    if hidden == 0 || values.is_empty() || !values.len().is_multiple_of(hidden) {
        return Err(EncodeError::Shape {
            values: values.len(),
            hidden,
        });
    }
    check_finite(codec, values, hidden)?;
    let rows = values.len() / hidden;
    out.reserve(codec.max_frame_bytes(rows, hidden));
    out.push(codec.number());
    put_varint(out, rows as u64);
    put_varint(out, hidden as u64);
    match codec {
        Codec::F32 => values
            .iter()
            .for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
        Codec::Bf16 => values
            .iter()
            .for_each(|v| out.extend_from_slice(&bf16::from_f32(*v).to_le_bytes())),
    }
    Ok(FrameHeader {
        codec,
        rows,
        hidden,
    })
}

fn check_finite(codec: Codec, values: &[f32], hidden: usize) -> Result<(), EncodeError> {
    let encodable = |v: f32| match codec {
        Codec::F32 => v.is_finite(),
        Codec::Bf16 => bf16::from_f32(v).is_finite(),
    };
    match values.iter().position(|&v| !encodable(v)) {
        None => Ok(()),
        Some(at) => Err(EncodeError::NotFinite {
            value: values[at],
            row: at / hidden,
            column: at % hidden,
            codec: codec.name(),
        }),
    }
}

impl FrameHeader {
    /// Reads a frame's header and returns it with the payload.
    ///
    /// # Errors
    /// When it is malformed or beyond `limits`. Nothing is allocated.
    pub fn read(frame: &[u8], limits: Limits) -> Result<(Self, &[u8]), DecodeError> {
        let (&number, rest) = frame.split_first().ok_or(DecodeError::Header)?;
        let codec = Codec::ALL
            .into_iter()
            .find(|c| c.number() == number)
            .ok_or(DecodeError::Codec(number))?;
        let (rows, rest) = take_varint(rest)?;
        let (hidden, payload) = take_varint(rest)?;
        if rows == 0 || rows > limits.max_rows as u64 {
            return Err(DecodeError::Rows {
                rows,
                max: limits.max_rows,
            });
        }
        if hidden != limits.hidden as u64 {
            return Err(DecodeError::Hidden {
                found: hidden,
                expected: limits.hidden,
            });
        }
        let header = Self {
            codec,
            rows: rows as usize,
            hidden: hidden as usize,
        };
        Ok((header, payload))
    }
}

/// Decodes a frame.
///
/// # Errors
/// When it is malformed, beyond `limits`, or holds values that are not finite. No more is
/// allocated than `limits` allows.
pub fn decode(frame: &[u8], limits: Limits) -> Result<Rows, DecodeError> {
    let (header, payload) = FrameHeader::read(frame, limits)?;
    let expected = header.rows * header.hidden * header.codec.value_bytes();
    if payload.len() != expected {
        return Err(DecodeError::Payload {
            found: payload.len(),
            expected,
        });
    }
    let values: Vec<f32> = match header.codec {
        Codec::F32 => payload
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Codec::Bf16 => payload
            .chunks_exact(2)
            .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
    };
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(Rows {
            values,
            rows: header.rows,
        }),
        Some(at) => Err(DecodeError::NotFinite {
            row: at / header.hidden,
            column: at % header.hidden,
        }),
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[i + 1..]));
        }
    }
    Err(DecodeError::Header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(hidden: usize) -> Limits {
        Limits {
            max_rows: 64,
            hidden,
        }
    }

    proptest! {
        #[test]
        fn f32_frames_are_exact(rows in 1usize..5, hidden in 1usize..40, seed in any::<u32>()) {
            let values: Vec<f32> = (0..rows * hidden)
                .map(|i| f32::from_bits((i as u32).wrapping_mul(0x9e37_79b9) ^ seed))
                .map(|v| if v.is_finite() { v } else { 0.0 })
                .collect();
            let mut frame = Vec::new();
            encode(Codec::F32, &values, hidden, &mut frame).unwrap();
            let back = decode(&frame, limits(hidden)).unwrap();
            prop_assert_eq!(back.rows, rows);
            prop_assert!(back.values.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
        }

        #[test]
        fn bf16_frames_are_within_half_a_unit(values in prop::collection::vec(-1e30f32..1e30, 1..200)) {
            let mut frame = Vec::new();
            encode(Codec::Bf16, &values, values.len(), &mut frame).unwrap();
            let back = decode(&frame, limits(values.len())).unwrap();
            for (a, b) in back.values.iter().zip(&values) {
                prop_assert!((a - b).abs() <= b.abs() / 256.0, "{} {}", a, b);
            }
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), hidden in 1usize..20) {
            if let Ok(rows) = decode(&bytes, limits(hidden)) {
                prop_assert_eq!(rows.values.len(), rows.rows * hidden);
            }
        }

        #[test]
        fn a_damaged_frame_never_panics(at in 0usize..200, byte in any::<u8>(), cut in 0usize..200) {
            let mut frame = Vec::new();
            encode(Codec::F32, &[1.5; 40], 8, &mut frame).unwrap();
            let at = at % frame.len();
            frame[at] = byte;
            frame.truncate(frame.len() - cut % frame.len());
            let _ = decode(&frame, limits(8));
        }
    }

    #[test]
    fn a_decode_row_costs_four_bytes_beyond_its_values() {
        let mut frame = Vec::new();
        encode(Codec::F32, &[0.0; 576], 576, &mut frame).unwrap();
        assert_eq!(frame.len(), 4 + 4 * 576);
    }

    #[test]
    fn values_that_are_not_finite_are_refused_with_their_place() {
        let mut values = vec![0.0; 12];
        values[7] = f32::NAN;
        let mut out = vec![9];
        let refused = encode(Codec::F32, &values, 4, &mut out).unwrap_err();
        assert!(matches!(
            refused,
            EncodeError::NotFinite {
                row: 1,
                column: 3,
                ..
            }
        ));
        assert_eq!(out, [9]);
        // Finite in f32, infinite once rounded to bf16.
        values[7] = f32::MAX;
        assert!(encode(Codec::Bf16, &values, 4, &mut out).is_err());
        let mut frame = Vec::new();
        encode(Codec::F32, &[1.0; 4], 4, &mut frame).unwrap();
        frame[7..11].copy_from_slice(&f32::INFINITY.to_le_bytes());
        assert_eq!(
            decode(&frame, limits(4)),
            Err(DecodeError::NotFinite { row: 0, column: 1 })
        );
    }

    #[test]
    fn declared_sizes_are_checked_before_anything_is_allocated() {
        let huge = [1, 0xff, 0xff, 0xff, 0xff, 0x0f, 4];
        assert!(matches!(
            decode(&huge, limits(4)),
            Err(DecodeError::Rows { .. })
        ));
        let other_model = [1, 1, 5, 0, 0, 0, 0];
        assert!(matches!(
            decode(&other_model, limits(4)),
            Err(DecodeError::Hidden { .. })
        ));
        assert_eq!(decode(&[3, 1, 4], limits(4)), Err(DecodeError::Codec(3)));
        assert_eq!(decode(&[], limits(4)), Err(DecodeError::Header));
    }
}
