//! Which types a segment computes with.

use std::fmt;
use std::str::FromStr;
use tch::Kind;

/// The type a segment's matrices are held and multiplied in. The residual stream and the norms
/// are f32 whatever this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightType {
    /// 32-bit floats: the reference, and the faster type on processors without bf16 instructions.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
}

impl WeightType {
    /// Every type, for help texts.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The type of matrices, their inputs, and the keys and values made by them.
    pub fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
        }
    }

    /// Bytes of one weight.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// A name that is no [`WeightType`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a weight type; f32 and bf16 are")]
pub struct UnknownWeightType(String);

impl FromStr for WeightType {
    type Err = UnknownWeightType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|t| t.to_string() == name)
            .ok_or_else(|| UnknownWeightType(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_read_as_it_is_written() {
        for weights in WeightType::ALL {
            assert_eq!(weights.to_string().parse::<WeightType>().unwrap(), weights);
            assert_eq!(weights.bytes(), weights.kind().elt_size_in_bytes());
        }
        for text in ["", "F32", "f16", "int4"] {
            let message = text.parse::<WeightType>().unwrap_err().to_string();
            assert!(message.contains(&format!("{text:?}")), "{message}");
        }
    }
}
