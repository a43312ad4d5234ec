//! The codecs people choose by name, and the formats that frames are written in.

use crate::error::UnknownCodec;
use std::fmt;
use std::str::FromStr;

/// How rows are written: what command lines, configs and the wire name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Exact: the reference that every other one is measured against.
    #[default]
    F32,
    /// Rounded to bfloat16: exact where the residual is bf16.
    Bf16,
    /// 8 bits a value, asymmetric, by row: what others use, as a yardstick.
    Int8,
    /// Threshold splitting and token-wise adaptive bit quantisation with codes of a fixed width.
    TabQ,
    /// The same two ideas, entropy coded: next to no loss.
    High,
    /// Entropy coded: about 98% of greedy tokens agree.
    Balanced,
    /// Entropy coded, for slow links: about 95% agree.
    Economy,
}

/// How a frame's payload is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE 754 binary32.
    F32,
    /// bfloat16.
    Bf16,
    /// A scale, an offset and bytes.
    Int8,
    /// TS and TAB-Q, bits packed.
    TabQ,
    /// TS and TAB-Q, entropy coded by the built-in profile.
    TabQEc,
    /// The same by the profile that the session's two sides have agreed on.
    TabQEcCalibrated,
}

impl Codec {
    /// Every codec, from the most exact to the smallest.
    pub const ALL: [Self; 7] = [
        Self::F32,
        Self::Bf16,
        Self::Int8,
        Self::High,
        Self::TabQ,
        Self::Balanced,
        Self::Economy,
    ];

    /// The name on command lines, in configs and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::TabQ => "tabq",
            Self::High => "high",
            Self::Balanced => "balanced",
            Self::Economy => "economy",
        }
    }

    /// Whether it does better with a profile of the rows' cut.
    pub fn uses_profile(self) -> bool {
        self.point().is_some() || self == Self::TabQ
    }

    /// Whether its calibrated frames can only be read by the profile that they were written by.
    pub fn is_read_by_profile(self) -> bool {
        self.point().is_some()
    }

    /// Where its step lies in a profile.
    pub(crate) fn point(self) -> Option<usize> {
        match self {
            Self::High => Some(0),
            Self::Balanced => Some(1),
            Self::Economy => Some(2),
            _ => None,
        }
    }

    /// About how many bits a value takes, to cut rows into frames by.
    pub fn typical_bits(self) -> f64 {
        match self {
            Self::F32 => 32.0,
            Self::Bf16 => 16.0,
            Self::Int8 => 8.2,
            Self::High => 5.8,
            Self::TabQ => 6.5,
            Self::Balanced => 4.8,
            Self::Economy => 3.5,
        }
    }
}

impl Format {
    const ALL: [Self; 6] = [
        Self::F32,
        Self::Bf16,
        Self::Int8,
        Self::TabQ,
        Self::TabQEc,
        Self::TabQEcCalibrated,
    ];

    /// A frame's first byte.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 3,
            Self::TabQ => 4,
            Self::TabQEc => 5,
            Self::TabQEcCalibrated => 6,
        }
    }

    /// The format of a frame that begins with `number`.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.number() == number)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_as_they_are_written() {
        for codec in Codec::ALL {
            assert_eq!(codec.name().parse(), Ok(codec));
        }
        for format in Format::ALL {
            assert_eq!(Format::from_number(format.number()), Some(format));
        }
        assert_eq!(Format::from_number(0), None);
        let refused = "int4".parse::<Codec>().unwrap_err().to_string();
        for codec in Codec::ALL {
            assert!(refused.contains(codec.name()), "{refused}");
        }
    }
}
