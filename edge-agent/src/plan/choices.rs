//! What a plan may choose from: what is configured, and where that is `auto` what the limits have room for.

use super::bounds;
use super::measure::Choices;
use crate::config::{EdgeConfig, Preset};
use std::str::FromStr as _;
use tandem_codec::Codec;
use tandem_engine::{Compute, ModelFiles};
use tandem_planner::{CodecOption, Objective, Sensitivity};
use tandem_shape::{Group, KvType, WeightScheme, WeightType};

/// Types of weights from the smallest to the largest.
const BY_SIZE: [WeightType; 6] = [
    WeightType::Int4(Group::G128),
    WeightType::Int4(Group::G64),
    WeightType::Int4(Group::G32),
    WeightType::Int8,
    WeightType::Bf16,
    WeightType::F32,
];
/// Types of keys and values from the smallest to the largest.
const KV_BY_SIZE: [KvType; 4] = [KvType::Int4, KvType::Int8, KvType::Bf16, KvType::F32];

/// The most bits of a value of rows that a plan chooses by itself: f32 and bf16 are for those who ask for
/// them, or for the least divergence.
const MOST_BITS: f64 = 9.0;
/// The types that are no choice of a plan: those that are configured, and f32 where the preset is `exact`.
pub fn given_types(config: &EdgeConfig, files: &ModelFiles) -> Compute {
    let mut compute = config.compute();
    if config.preset == Preset::Exact && files.package().is_none() {
        compute.weights = compute.weights.or_else(|| Some(WeightType::F32.into()));
        compute.kv = compute.kv.or(Some(KvType::F32));
    }
    compute
}

/// The codec that is no choice of a plan, for the same reasons.
pub fn given_codec(config: &EdgeConfig) -> Option<Codec> {
    let exact = (config.preset == Preset::Exact).then_some(Codec::F32);
    config.codec().or(exact)
}

/// What may be chosen: what is configured, and where that is `auto` every type that the limit of divergence
/// has room for: in one layer where what layers cost was measured, in two where bounds count, as a type that
/// serves the shallowest split alone is not worth the time to measure it.
///
/// # Errors
/// When the configuration and the files do not fit.
pub fn types(
    config: &EdgeConfig,
    files: &ModelFiles,
    sensitivity: Option<&Sensitivity>,
) -> anyhow::Result<Choices> {
    let compute = given_types(config, files);
    let limit = match config.plan.max_kl {
        0.0 => f64::INFINITY,
        most => most,
    };
    let last = files.config.layers - 1;
    let package = files.package();
    let deepest = package.map_or(last, |package| package.range.end().min(last));
    let given = package
        .map(|p| p.weights.clone())
        .or(compute.weights.clone());
    let least = |kind: WeightType| {
        let known = sensitivity.and_then(|s| s.layer_kl(&kind.to_string()));
        known.map_or(2.0 * bounds::weights(kind), |layers| {
            layers.iter().copied().fold(f64::INFINITY, f64::min)
        })
    };
    let weights = match given {
        Some(_) => vec![files.precision(&compute)?.weights],
        None => BY_SIZE
            .into_iter()
            .filter(|&kind| kind == WeightType::F32 || least(kind) <= limit)
            .map(WeightScheme::from)
            .collect(),
    };
    let least = |kind: KvType| {
        let known = sensitivity.and_then(|s| s.kv_layer_kl(&kind.to_string(), last + 1));
        known.unwrap_or(2.0 * bounds::kv(kind))
    };
    let kv = match compute.kv {
        Some(kv) => vec![kv],
        None => KV_BY_SIZE
            .into_iter()
            .filter(|&kind| kind == KvType::F32 || least(kind) <= limit)
            .collect(),
    };
    Ok(Choices {
        weights,
        kv,
        deepest: config
            .split
            .get()
            .unwrap_or(deepest)
            .clamp(1, deepest.max(1)),
    })
}

/// The codecs that may be chosen, by their number: the one that is configured; or those no smaller than the
/// floor, as a session follows the link down to it and begins no lower, and of those the compressed ones where
/// there are any, unless the least divergence is asked for.
pub fn codecs(config: &EdgeConfig, codecs: &[CodecOption]) -> Vec<usize> {
    let own = given_codec(config);
    let floor = config.adapt.floor.codec().map_or(0.0, Codec::typical_bits);
    let bits = |option: &CodecOption| {
        let codec = Codec::from_str(&option.name).ok()?;
        match own {
            Some(own) => (own == codec).then_some(0.0),
            None => Some(codec.typical_bits()).filter(|&bits| bits >= floor),
        }
    };
    let allowed: Vec<(usize, f64)> = codecs
        .iter()
        .enumerate()
        .filter_map(|(number, option)| Some((number, bits(option)?)))
        .collect();
    let least = allowed
        .iter()
        .map(|(_, bits)| *bits)
        .fold(f64::INFINITY, f64::min);
    let most = match config.plan.objective {
        Objective::Quality => f64::INFINITY,
        _ => MOST_BITS.max(least),
    };
    let chosen = allowed.into_iter().filter(|(_, bits)| *bits <= most);
    chosen.map(|(number, _)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compressed_unless_someone_asks_for_others() {
        use tandem_config::Layers;
        let options: Vec<CodecOption> = Codec::ALL
            .map(|codec| CodecOption {
                name: codec.to_string(),
                cuts: Vec::new(),
            })
            .into();
        let chosen = |settings: &[(&'static str, &str)]| -> Vec<&str> {
            let mut layers = Layers::new(crate::config::DEFAULTS).set("model", "/m");
            for (key, value) in settings {
                layers = layers.set(key, *value);
            }
            let config: EdgeConfig = layers.build().unwrap();
            let numbers = codecs(&config, &options).into_iter();
            numbers.map(|n| options[n].name.as_str()).collect()
        };
        let compressed = chosen(&[]);
        assert!(compressed.contains(&"high") && compressed.contains(&"economy"));
        assert!(!compressed.contains(&"f32") && !compressed.contains(&"bf16"));
        assert_eq!(chosen(&[("codec", "f32")]), ["f32"]);
        assert_eq!(chosen(&[("preset", "exact")]), ["f32"]);
        assert_eq!(chosen(&[("adapt.floor", "bf16")]), ["bf16"]);
        assert_eq!(chosen(&[("adapt.floor", "f32")]), ["f32"]);
        assert!(chosen(&[("plan.objective", "quality")]).contains(&"f32"));
    }
}
