//! Rows to frames.

use crate::codec::{Codec, Format};
use crate::entropy_coded::{Profile, RowEncoder};
use crate::error::EncodeError;
use crate::header::FrameHeader;
use crate::plain;
use crate::tab_q::{self, StepRule};
use half::bf16;
use std::sync::Arc;

/// Values from here on may leave binary32's range on the way through a transform and back. No model
/// has them; a frame that does is written exactly.
const EXTREME: f32 = 7.9e28;

/// Writes frames with one codec. Keeps the memory it works in: after the first rows it allocates
/// nothing but what a frame itself grows by.
#[derive(Debug)]
pub struct Encoder {
    codec: Codec,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    F32,
    Bf16,
    Int8,
    TabQ(StepRule, Box<tab_q::Scratch>),
    EntropyCoded(Format, Box<RowEncoder>),
}

/// What a frame was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// What the frame says of itself.
    pub header: FrameHeader,
    /// Values that were written apart from the others, more exactly.
    pub outliers: usize,
}

impl Encoder {
    /// An encoder with a profile calibrated for the rows' cut, or with what fits all.
    pub fn new(codec: Codec, profile: Option<&Arc<Profile>>) -> Self {
        let kind = match codec {
            Codec::F32 => Kind::F32,
            Codec::Bf16 => Kind::Bf16,
            Codec::Int8 => Kind::Int8,
            Codec::TabQ => Kind::TabQ(StepRule::of(profile), Box::default()),
            Codec::High | Codec::Balanced | Codec::Economy => {
                let point = codec.point().unwrap_or(0);
                let format = match profile {
                    Some(_) => Format::TabQEcCalibrated,
                    None => Format::TabQEc,
                };
                let profile = Arc::clone(profile.unwrap_or(Profile::built_in()));
                Kind::EntropyCoded(format, Box::new(RowEncoder::new(profile, point, true)))
            }
        };
        Self { codec, kind }
    }

    /// The same without the trellis: half a frame's time, for a sixth of a bit a value more.
    /// Changes nothing for a codec that has none.
    #[must_use]
    pub fn without_trellis(mut self) -> Self {
        if let Kind::EntropyCoded(_, rows) = &mut self.kind {
            rows.leave_trellis();
        }
        self
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends a frame of `values`, `[rows, hidden]` row-major, to `out`.
    ///
    /// # Errors
    /// When the values are not whole rows, a row has another length than the profile's, or a value
    /// is not finite in the codec's type. `out` is then as it was.
    pub fn encode(
        &mut self,
        values: &[f32],
        hidden: usize,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, EncodeError> {
        if hidden == 0 || values.is_empty() || !values.len().is_multiple_of(hidden) {
            return Err(EncodeError::Shape {
                values: values.len(),
                hidden,
            });
        }
        self.check_finite(values, hidden)?;
        let format = match self.format() {
            Format::TabQEc | Format::TabQEcCalibrated if values.iter().any(is_extreme) => {
                Format::F32
            }
            format => format,
        };
        let header = FrameHeader {
            format,
            rows: values.len() / hidden,
            hidden,
        };
        let begin = out.len();
        header.put(out);
        let mut outliers = 0;
        match &mut self.kind {
            Kind::F32 => plain::put_f32(values, out),
            Kind::Bf16 => plain::put_bf16(values, out),
            Kind::Int8 => values
                .chunks_exact(hidden)
                .for_each(|row| plain::put_int8(row, out)),
            Kind::TabQ(rule, scratch) => {
                for row in values.chunks_exact(hidden) {
                    outliers += tab_q::put_row(row, *rule, scratch, out);
                }
            }
            Kind::EntropyCoded(..) if format == Format::F32 => plain::put_f32(values, out),
            Kind::EntropyCoded(_, rows) => {
                if !rows.profile().fits(hidden) {
                    out.truncate(begin);
                    return Err(EncodeError::Profile {
                        hidden,
                        expected: rows.profile().hidden().unwrap_or(0),
                    });
                }
                outliers = rows.encode(values, hidden, out);
            }
        }
        Ok(Encoded { header, outliers })
    }

    /// What frames are written in, but for extreme values.
    fn format(&self) -> Format {
        match &self.kind {
            Kind::F32 => Format::F32,
            Kind::Bf16 => Format::Bf16,
            Kind::Int8 => Format::Int8,
            Kind::TabQ(..) => Format::TabQ,
            Kind::EntropyCoded(format, _) => *format,
        }
    }

    fn check_finite(&self, values: &[f32], hidden: usize) -> Result<(), EncodeError> {
        let encodable = |v: f32| match self.codec {
            Codec::Bf16 => bf16::from_f32(v).is_finite(),
            _ => v.is_finite(),
        };
        match values.iter().position(|&v| !encodable(v)) {
            None => Ok(()),
            Some(at) => Err(EncodeError::NotFinite {
                value: values[at],
                row: at / hidden,
                column: at % hidden,
                codec: self.codec.name(),
            }),
        }
    }
}

fn is_extreme(value: &f32) -> bool {
    value.abs() >= EXTREME
}
