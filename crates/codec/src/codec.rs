//! The codecs by name and number.

use crate::error::UnknownCodec;
use std::fmt;
use std::str::FromStr;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Exact.
    #[default]
    F32,
    /// Rounded to bfloat16.
    Bf16,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The name on command lines, in configs and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// A frame's first byte.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }

    /// Bytes of one value, for codecs of a fixed width.
    pub(crate) fn value_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// The most bytes that a frame of these rows takes.
    pub fn max_frame_bytes(self, rows: usize, hidden: usize) -> usize {
        11 + rows * hidden * self.value_bytes()
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|c| c.name() == name)
            .ok_or_else(|| UnknownCodec(name.to_owned()))
    }
}
