//! Frames to rows.

use crate::codec::Format;
use crate::entropy_coded::{self, Profile};
use crate::error::DecodeError;
use crate::header::{FrameHeader, Limits};
use crate::{plain, rans, tab_q};
use std::sync::Arc;

/// Reads frames of every format. Keeps the memory it works in.
#[derive(Debug, Default)]
pub struct Decoder {
    profile: Option<Arc<Profile>>,
    scratch: entropy_coded::Scratch,
}

/// How far a frame has been read: [`Decoder::decode_rows`] takes its rows a few at a time, so that
/// nobody waits for all of a long frame at once.
#[derive(Debug, Clone)]
pub struct FramePosition {
    header: FrameHeader,
    rows_read: usize,
    /// Bytes at the frame's end that are not read.
    bytes_left: usize,
    /// The entropy coder's state, once it has begun.
    coder_state: Option<u32>,
}

impl FramePosition {
    /// The beginning of a frame.
    ///
    /// # Errors
    /// When its header is malformed, or it is beyond `limits`. Nothing is allocated.
    pub fn begin(frame: &[u8], limits: Limits) -> Result<Self, DecodeError> {
        let (header, payload) = FrameHeader::read(frame, limits)?;
        Ok(Self {
            header,
            rows_read: 0,
            bytes_left: payload.len(),
            coder_state: None,
        })
    }

    /// What the frame says of itself.
    pub fn header(&self) -> FrameHeader {
        self.header
    }

    /// Rows that are not read yet.
    pub fn rows_left(&self) -> usize {
        self.header.rows - self.rows_read
    }
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
        let mut position = FramePosition::begin(frame, limits)?;
        let rows = position.rows_left();
        self.decode_rows(frame, &mut position, rows, out)?;
        Ok(position.header())
    }

    /// Appends the next `rows` rows of a frame, or those that are left, to `out`: `[rows, hidden]`
    /// row-major and finite. With the last row, the frame must end.
    ///
    /// # Errors
    /// When the frame is malformed or holds values that are not finite; `out` is then as it was, and
    /// the rest of the frame cannot be read.
    pub fn decode_rows(
        &mut self,
        frame: &[u8],
        position: &mut FramePosition,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), DecodeError> {
        let begin = out.len();
        let decoded = self.append(frame, position, rows.min(position.rows_left()), out);
        if decoded.is_err() {
            out.truncate(begin);
        }
        decoded
    }

    fn append(
        &mut self,
        frame: &[u8],
        position: &mut FramePosition,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), DecodeError> {
        let hidden = position.header.hidden;
        let begin = out.len();
        let payload = &frame[frame.len().saturating_sub(position.bytes_left)..];
        position.bytes_left = match position.header.format {
            Format::F32 => {
                let (values, rest) = split(payload, 4 * hidden * rows)?;
                plain::take_f32(values, out);
                rest.len()
            }
            Format::Bf16 => {
                let (values, rest) = split(payload, 2 * hidden * rows)?;
                plain::take_bf16(values, out);
                rest.len()
            }
            Format::Int8 => {
                let row_bytes = plain::int8_row_bytes(hidden);
                let (values, rest) = split(payload, row_bytes * rows)?;
                let values = values.chunks_exact(row_bytes);
                values.for_each(|row| plain::take_int8(row, out));
                rest.len()
            }
            Format::TabQ => {
                let mut rest = payload;
                for _ in 0..rows {
                    rest = tab_q::take_row(rest, hidden, out)?;
                }
                rest.len()
            }
            Format::TabQEc | Format::TabQEcCalibrated => {
                self.append_entropy_coded(payload, position, rows, out)?
            }
        };
        position.rows_read += rows;
        if position.rows_left() == 0 {
            check_end(position)?;
        }
        match out[begin..].iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(at) => Err(DecodeError::NotFinite {
                row: position.rows_read - rows + at / hidden,
                column: at % hidden,
            }),
        }
    }

    /// Returns how many bytes are left.
    fn append_entropy_coded(
        &mut self,
        payload: &[u8],
        position: &mut FramePosition,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<usize, DecodeError> {
        let FrameHeader { format, hidden, .. } = position.header;
        let profile = match (&self.profile, format == Format::TabQEcCalibrated) {
            (_, false) => Profile::built_in(),
            (Some(profile), true) => profile,
            (None, true) => return Err(DecodeError::NoProfile),
        };
        if !profile.fits(hidden) {
            return Err(DecodeError::NoProfile);
        }
        let mut coder = match position.coder_state {
            Some(state) => rans::Decoder::resume(state, payload),
            None => rans::Decoder::new(payload).ok_or(DecodeError::Truncated)?,
        };
        let shape = (rows, hidden);
        entropy_coded::decode_rows(&mut coder, shape, profile, &mut self.scratch, out)?;
        let (state, left) = coder.pause();
        position.coder_state = Some(state);
        Ok(left)
    }
}

fn split(payload: &[u8], bytes: usize) -> Result<(&[u8], &[u8]), DecodeError> {
    payload
        .split_at_checked(bytes)
        .ok_or(DecodeError::Truncated)
}

/// Checks that nothing but its rows was in a frame.
fn check_end(position: &FramePosition) -> Result<(), DecodeError> {
    if position
        .coder_state
        .is_some_and(|state| !rans::Decoder::resume(state, &[]).is_done())
    {
        return Err(DecodeError::Malformed("symbols that no encoder writes"));
    }
    if position.bytes_left > 0 {
        return Err(DecodeError::Malformed("bytes behind the last row"));
    }
    Ok(())
}
