//! Upper bounds of what precision costs a model on which nobody has measured it.
//!
//! Every number is nats of mean Kullback-Leibler divergence from the model in f32: what a codec promises, or
//! twice the worst that was measured for a type, so that a plan made from bounds is a cautious one. docs/measurements
//! has the figures: precision.md ("What a layer costs alone"), keys-and-values.md, codec.md.
//!
//! | type | measured | bound |
//! | --- | --- | --- |
//! | weights `int8` | 4.0e-4, the worst layer of the default model | 8e-4 a layer |
//! | weights `bf16` | as `int8`: it was less in every layer that was measured | 8e-4 a layer |
//! | weights `int4:64` | 1.3e-2, the worst layer | 2.6e-2 a layer |
//! | weights `int4:32` | as `int4:64`: the default model's own weights lie on that grid, so it shows nothing | 2.6e-2 a layer |
//! | weights `int4:128` | twice `int4:64`, as perplexity rises twice as much | 5.2e-2 a layer |
//! | keys and values `int8` | 3.3e-4 of 15 layers, perplexity +0.1% of 30 | 7e-5 a layer |
//! | keys and values `int4` | 3.8e-2 of 15 layers, the error of the measurement included | 5e-3 a layer |
//! | keys and values `bf16` | as `int8`, whose perplexity rises more | 7e-5 a layer |
//! | rows in `high`, `tabq`, `balanced`, `economy` | 2.2e-4, 1.6e-4, 8.9e-4, 6.7e-3 uncalibrated | what they promise with or without a profile: 2.2e-4, 9e-4, 9e-4, 7e-3 |
//! | rows in `int8` | top-1 agreement of 92.7% published for Qwen2.5-0.5B, about 1.6e-2 | 3.2e-2 |
//! | rows in `bf16` | top-1 agreement of 99.7%, about 2e-5 | 4e-5 |

use tandem_codec::Codec;
use tandem_shape::{Group, KvType, WeightType};

/// The most that holding one layer's weights in a type costs.
pub fn weights(kind: WeightType) -> f64 {
    match kind {
        WeightType::F32 => 0.0,
        WeightType::Bf16 | WeightType::Int8 => 8e-4,
        WeightType::Int4(Group::G32 | Group::G64) => 2.6e-2,
        WeightType::Int4(Group::G128) => 5.2e-2,
    }
}

/// The most that holding one layer's keys and values in a type costs.
pub fn kv(kind: KvType) -> f64 {
    match kind {
        KvType::F32 => 0.0,
        KvType::Bf16 | KvType::Int8 => 7e-5,
        KvType::Int4 => 5e-3,
    }
}

/// The most that writing rows in a codec costs at any cut, with a calibrated profile or without one.
pub fn codec(codec: Codec) -> f64 {
    match codec {
        Codec::F32 => 0.0,
        Codec::Bf16 => 4e-5,
        Codec::High => 2.2e-4,
        Codec::TabQ | Codec::Balanced => 9e-4,
        Codec::Economy => 7e-3,
        Codec::Int8 => 3.2e-2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_bits_never_cost_less() {
        let falls = |bounds: &[f64]| bounds.windows(2).all(|pair| pair[0] >= pair[1]);
        let groups = [Group::G128, Group::G64, Group::G32].map(WeightType::Int4);
        let kinds = [WeightType::Int8, WeightType::Bf16, WeightType::F32];
        assert!(falls(
            &[groups, kinds]
                .concat()
                .into_iter()
                .map(weights)
                .collect::<Vec<_>>()
        ));
        assert!(falls(
            &[KvType::Int4, KvType::Int8, KvType::Bf16, KvType::F32].map(kv)
        ));
        let codecs = [
            Codec::Economy,
            Codec::Balanced,
            Codec::High,
            Codec::Bf16,
            Codec::F32,
        ];
        assert!(falls(&codecs.map(codec)));
    }
}
