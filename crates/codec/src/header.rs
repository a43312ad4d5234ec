//! What every frame begins with.

use crate::codec::Format;
use crate::error::DecodeError;
use crate::{entropy_coded, plain, tab_q};

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
    pub format: Format,
    /// Number of rows.
    pub rows: usize,
    /// Values a row.
    pub hidden: usize,
}

impl FrameHeader {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.format.number());
        put_varint(out, self.rows as u64);
        put_varint(out, self.hidden as u64);
    }

    /// Reads a frame's header and returns it with the payload.
    ///
    /// # Errors
    /// When it is malformed, beyond `limits`, or its payload is shorter than so many rows can be.
    /// Nothing is allocated.
    pub fn read(frame: &[u8], limits: Limits) -> Result<(Self, &[u8]), DecodeError> {
        let (&number, rest) = frame.split_first().ok_or(DecodeError::Header)?;
        let format = Format::from_number(number).ok_or(DecodeError::Format(number))?;
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
            format,
            rows: rows as usize,
            hidden: hidden as usize,
        };
        let least = header.least_payload();
        if payload.len() < least {
            return Err(DecodeError::TooShort {
                rows: header.rows,
                found: payload.len(),
                least,
            });
        }
        Ok((header, payload))
    }
}

impl FrameHeader {
    /// Bytes that no encoder's payload of these rows stays below, so that a short frame cannot cost
    /// its receiver the work and memory of many rows.
    fn least_payload(&self) -> usize {
        let Self { rows, hidden, .. } = *self;
        match self.format {
            Format::F32 => 4 * hidden * rows,
            Format::Bf16 => 2 * hidden * rows,
            Format::Int8 => plain::int8_row_bytes(hidden) * rows,
            Format::TabQ => tab_q::least_row_bytes(hidden) * rows,
            Format::TabQEc | Format::TabQEcCalibrated => entropy_coded::least_payload(rows),
        }
    }
}

/// Appends an unsigned LEB128 number.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads one of at most 5 bytes and returns it with what follows.
pub(crate) fn take_varint(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[i + 1..]));
        }
    }
    Err(DecodeError::Header)
}
