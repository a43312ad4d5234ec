//! Which of libtorch's types stand for ours.

use tandem_shape::{KvType, WeightType};
use tch::Kind;

/// The type that libtorch computes with what is held in a type of ours.
pub(super) trait ComputeKind {
    /// That type.
    fn kind(self) -> Kind;
}

impl ComputeKind for WeightType {
    fn kind(self) -> Kind {
        match self {
            Self::F32 | Self::Int8 | Self::Int4(_) => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
        }
    }
}

impl ComputeKind for KvType {
    fn kind(self) -> Kind {
        match self {
            Self::F32 | Self::Int8 | Self::Int4 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
        }
    }
}
