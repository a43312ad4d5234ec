//! What precision costs a model in quality, as `tandem-eval calibrate --sensitivity` measures it.

use serde::{Deserialize, Serialize};

/// The file [`Sensitivity::FILE`] beside a model. Every divergence is a mean Kullback-Leibler
/// divergence in nats from the model in f32, of predictions of the same text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// The model's weights.
    pub weights_fingerprint: String,
    /// Tokens whose predictions were compared.
    pub tokens: usize,
    /// What types of weights cost, layer by layer.
    pub types: Vec<TypeSensitivity>,
    /// What types of keys and values cost.
    #[serde(default)]
    pub kv: Vec<KvSensitivity>,
    /// What codecs cost, cut by cut.
    #[serde(default)]
    pub codecs: Vec<CodecSensitivity>,
}

/// What a type of weights costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypeSensitivity {
    /// The type of the matrices.
    pub weights: String,
    /// With one layer held so and the others in f32.
    pub layer_kl: Vec<f64>,
    /// The same for the head.
    pub head_kl: f64,
}

/// What a type of keys and values costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KvSensitivity {
    /// The type.
    pub kv: String,
    /// With those of all layers held so.
    pub kl: f64,
}

/// What a codec costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodecSensitivity {
    /// Its name.
    pub codec: String,
    /// At each cut, from that behind the first layer to that before the last.
    pub cuts: Vec<CutSensitivity>,
}

/// What a codec costs at one cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CutSensitivity {
    /// Fingerprint of the profile that rows were written by; none for the built-in one.
    pub profile: Option<String>,
    /// With one row a frame.
    pub kl: f64,
}

impl Sensitivity {
    /// Where it lies in a model's directory.
    pub const FILE: &str = "codec/sensitivity.json";

    /// What a type of weights costs each layer.
    pub fn layer_kl(&self, weights: &str) -> Option<&[f64]> {
        let found = self.types.iter().find(|t| t.weights == weights)?;
        Some(&found.layer_kl)
    }

    /// What a type of keys and values costs a layer: an equal part of what all cost.
    pub fn kv_layer_kl(&self, kv: &str, layers: usize) -> Option<f64> {
        let found = self.kv.iter().find(|k| k.kv == kv)?;
        Some(found.kl / layers.max(1) as f64)
    }

    /// What a codec costs at a split, if rows are written by the same profile as when it was measured.
    pub fn codec_kl(&self, codec: &str, split: usize, profile: Option<&str>) -> Option<f64> {
        let found = self.codecs.iter().find(|c| c.codec == codec)?;
        let cut = found.cuts.get(split.checked_sub(1)?)?;
        (cut.profile.as_deref() == profile).then_some(cut.kl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_from_before_codecs_were_measured_is_read() {
        let old: Sensitivity = serde_json::from_str(
            r#"{
                "weights_fingerprint": "f",
                "tokens": 508,
                "types": [{"weights": "int8", "layer_kl": [1e-4, 2e-4], "head_kl": 1e-3}]
            }"#,
        )
        .unwrap();
        assert_eq!(old.layer_kl("int8"), Some(&[1e-4, 2e-4][..]));
        assert_eq!(old.layer_kl("int4:64"), None);
        assert_eq!(old.kv_layer_kl("int8", 2), None);
        assert_eq!(old.codec_kl("high", 1, None), None);
    }

    #[test]
    fn a_codec_measured_by_another_profile_says_nothing() {
        let cut = |profile: Option<&str>, kl| CutSensitivity {
            profile: profile.map(str::to_owned),
            kl,
        };
        let sensitivity = Sensitivity {
            weights_fingerprint: String::new(),
            tokens: 0,
            types: Vec::new(),
            kv: vec![KvSensitivity {
                kv: "int8".to_owned(),
                kl: 3e-4,
            }],
            codecs: vec![CodecSensitivity {
                codec: "high".to_owned(),
                cuts: vec![cut(None, 1e-4), cut(Some("p"), 2e-4)],
            }],
        };
        assert_eq!(sensitivity.codec_kl("high", 1, None), Some(1e-4));
        assert_eq!(sensitivity.codec_kl("high", 2, Some("p")), Some(2e-4));
        assert_eq!(sensitivity.codec_kl("high", 2, None), None);
        assert_eq!(sensitivity.codec_kl("high", 3, None), None);
        assert_eq!(sensitivity.codec_kl("high", 0, None), None);
        let layer = sensitivity.kv_layer_kl("int8", 30).unwrap();
        assert!((layer - 1e-5).abs() < 1e-18);
    }
}
