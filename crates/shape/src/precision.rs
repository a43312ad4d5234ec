//! Which types a segment computes with.

pub(crate) mod weight_scheme;

use crate::precision::weight_scheme::WeightScheme;
use std::fmt;
use std::str::FromStr;

/// What a segment is held in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Precision {
    /// Its matrices.
    pub weights: WeightScheme,
    /// Its sessions' keys and values; none for f32 where most matrices are f32, and bf16 otherwise: what rounding
    /// to it changes is far below what rounding the matrices does.
    pub kv: Option<KvType>,
}

impl Precision {
    /// What keys and values are held in.
    pub fn kv(&self) -> KvType {
        self.kv.unwrap_or(match self.weights.of_most() {
            WeightType::F32 => KvType::F32,
            WeightType::Bf16 | WeightType::Int8 | WeightType::Int4(_) => KvType::Bf16,
        })
    }

    /// True where everything is f32: the model as it is.
    pub fn is_exact(&self) -> bool {
        self.weights == WeightScheme::default() && self.kv() == KvType::F32
    }
}

impl From<WeightType> for Precision {
    fn from(weights: WeightType) -> Self {
        Self {
            weights: weights.into(),
            kv: None,
        }
    }
}

/// The type that keys and values are held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvType {
    /// 32-bit floats.
    F32,
    /// bfloat16: half the memory.
    Bf16,
    /// 8-bit integers, a scale for each position's key and value of a head: about a quarter.
    Int8,
    /// 4-bit integers in groups of 32 dimensions, each with a scale and an offset: 5 bits a number.
    Int4,
}

impl KvType {
    /// Every type, for help texts.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Int8, Self::Int4];
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        })
    }
}

impl KvType {
    /// Dimensions that share a scale and an offset in 4 bits; the last group may have fewer.
    pub const GROUP: usize = 32;

    /// Bytes of one head's key or value at one position.
    pub fn row_bytes(self, head_dim: usize) -> usize {
        self.code_bytes(head_dim) + self.scale_bytes(head_dim)
    }

    /// Those of its numbers, or of the codes for them.
    pub fn code_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F32 => 4 * head_dim,
            Self::Bf16 => 2 * head_dim,
            Self::Int8 => head_dim,
            Self::Int4 => head_dim / 2,
        }
    }

    /// Those of what makes numbers of codes.
    pub fn scale_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F32 | Self::Bf16 => 0,
            Self::Int8 => size_of::<f32>(),
            Self::Int4 => 2 * size_of::<u16>() * head_dim.div_ceil(Self::GROUP),
        }
    }
}

/// A name that is no [`KvType`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a type of keys and values; f32, bf16, int8 and int4 are")]
pub struct UnknownKvType(String);

impl FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|t| t.to_string() == name)
            .ok_or_else(|| UnknownKvType(name.to_owned()))
    }
}

/// The type a segment's matrices are held in. The residual stream and the norms are f32 whatever
/// this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightType {
    /// 32-bit floats: the reference, and the faster type on processors without bf16 instructions.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
    /// 8-bit integers, one scale an output. What is multiplied with these, or with 4 bits, is rounded to
    /// 16-bit integers where the processor has AVX2 or NEON.
    Int8,
    /// 4-bit integers in groups of inputs, each with a scale and an offset.
    Int4(Group),
}

/// Inputs that share a scale and an offset: the smaller, the closer, at 32 bits a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Group {
    /// 32 inputs: 5 bits a weight.
    G32,
    /// 64 inputs: 4.5 bits a weight.
    #[default]
    G64,
    /// 128 inputs: 4.25 bits a weight.
    G128,
}

impl Group {
    /// Inputs of a group.
    pub fn inputs(self) -> usize {
        match self {
            Self::G32 => 32,
            Self::G64 => 64,
            Self::G128 => 128,
        }
    }

    /// A group's part of what there is one of for each input; nothing of nothing.
    pub fn of(self, all: &[f32], number: usize) -> &[f32] {
        let begin = (number * self.inputs()).min(all.len());
        &all[begin..all.len().min(begin + self.inputs())]
    }
}

impl WeightType {
    /// Every type, for help texts.
    pub const ALL: [Self; 6] = [
        Self::F32,
        Self::Bf16,
        Self::Int8,
        Self::Int4(Group::G32),
        Self::Int4(Group::G64),
        Self::Int4(Group::G128),
    ];

    /// Bits of a weight, with its part of what its group has.
    pub fn bits(self) -> f64 {
        match self {
            Self::F32 => 32.0,
            Self::Bf16 => 16.0,
            Self::Int8 => 8.0,
            Self::Int4(group) => 4.0 + 32.0 / group.inputs() as f64,
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4(Group::G32) => "int4:32",
            Self::Int4(Group::G64) => "int4:64",
            Self::Int4(Group::G128) => "int4:128",
        })
    }
}

/// A name that is no [`WeightType`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a weight type; f32, bf16, int8, int4, int4:32, int4:64 and int4:128 are")]
pub struct UnknownWeightType(String);

impl FromStr for WeightType {
    type Err = UnknownWeightType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "int4" => Ok(Self::Int4(Group::default())),
            _ => Self::ALL
                .into_iter()
                .find(|t| t.to_string() == name)
                .ok_or_else(|| UnknownWeightType(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_read_as_it_is_written() {
        for weights in WeightType::ALL {
            assert_eq!(weights.to_string().parse::<WeightType>().unwrap(), weights);
        }
        for kv in KvType::ALL {
            assert_eq!(kv.to_string().parse::<KvType>().unwrap(), kv);
        }
        assert!("int4:32".parse::<KvType>().is_err());
        let int4 = "int4".parse::<WeightType>().unwrap();
        assert_eq!(int4, WeightType::Int4(Group::G64));
        for text in ["", "F32", "f16", "int4:16", "int2"] {
            let message = text.parse::<WeightType>().unwrap_err().to_string();
            assert!(message.contains(&format!("{text:?}")), "{message}");
        }
    }
}
