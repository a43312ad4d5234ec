//! Frames to rows.

use crate::codec::Format;
use crate::entropy_coded::{self, Profile};
use crate::error::DecodeError;
use crate::header::{FrameHeader, Limits};
use crate::{plain, tab_q};
use std::sync::Arc;

/// Reads frames of every format. Keeps the memory it works in.
#[derive(Debug, Default)]
pub struct Decoder {
    profile: Option<Arc<Profile>>,
    scratch: entropy_coded::Scratch,
}

impl Decoder {
    /// A decoder with the profile that both sides have agreed on, if they have.
    pub fn new(profile: Option<Arc<Profile>>) -> Self {
        Self {
            profile,
            scratch: entropy_coded::Scratch::default(),
        }
    }

    /// Appends a frame's rows, `[rows, hidden]` row-major and finite, to `out`.
    ///
    /// # Errors
    /// When it is malformed, beyond `limits`, or holds values that are not finite; `out` is then as
    /// it was. No more is allocated than `limits` allows.
    pub fn decode(
        &mut self,
        frame: &[u8],
        limits: Limits,
        out: &mut Vec<f32>,
    ) -> Result<FrameHeader, DecodeError> {
        let begin = out.len();
        let decoded = self.append(frame, limits, out);
        if decoded.is_err() {
            out.truncate(begin);
        }
        decoded
    }

    fn append(
        &mut self,
        frame: &[u8],
        limits: Limits,
        out: &mut Vec<f32>,
    ) -> Result<FrameHeader, DecodeError> {
        let (header, payload) = FrameHeader::read(frame, limits)?;
        let FrameHeader { rows, hidden, .. } = header;
        let begin = out.len();
        match header.format {
            Format::F32 => plain::take_f32(exactly(payload, 4 * hidden * rows)?, out),
            Format::Bf16 => plain::take_bf16(exactly(payload, 2 * hidden * rows)?, out),
            Format::Int8 => {
                let row_bytes = plain::int8_row_bytes(hidden);
                exactly(payload, row_bytes * rows)?
                    .chunks_exact(row_bytes)
                    .for_each(|row| plain::take_int8(row, out));
            }
            Format::TabQ => {
                let mut rest = payload;
                for _ in 0..rows {
                    rest = tab_q::take_row(rest, hidden, out)?;
                }
                if !rest.is_empty() {
                    return Err(DecodeError::Malformed("bytes behind the last row"));
                }
            }
            Format::TabQEc | Format::TabQEcCalibrated => {
                let calibrated = header.format == Format::TabQEcCalibrated;
                let profile = match (&self.profile, calibrated) {
                    (_, false) => Profile::built_in(),
                    (Some(profile), true) => profile,
                    (None, true) => return Err(DecodeError::NoProfile),
                };
                if !profile.fits(hidden) {
                    return Err(DecodeError::NoProfile);
                }
                let shape = (rows, hidden);
                entropy_coded::decode(payload, shape, profile, &mut self.scratch, out)?;
            }
        }
        match out[begin..].iter().position(|v| !v.is_finite()) {
            None => Ok(header),
            Some(at) => Err(DecodeError::NotFinite {
                row: at / hidden,
                column: at % hidden,
            }),
        }
    }
}

fn exactly(payload: &[u8], expected: usize) -> Result<&[u8], DecodeError> {
    match payload.len() == expected {
        true => Ok(payload),
        false => Err(DecodeError::Payload {
            found: payload.len(),
            expected,
        }),
    }
}
