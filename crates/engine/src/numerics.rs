//! What the bits of a half's results depend on, besides the model and the cut.

use crate::model_files::ModelFiles;
use tandem_model::ARITHMETIC_REVISION;
use tandem_shape::Precision;

/// A name for how a half computes: rows come to the same bits in two halves of the same model and cut that have the
/// same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numerics(pub [u8; 16]);

impl Numerics {
    /// Of a half that [computes the same](crate::Back::is_reproducible) wherever it runs, and holds these files so.
    pub fn of(files: &ModelFiles, precision: &Precision) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tandem numerics 1");
        let mut add = |part: &str| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        };
        add(&ARITHMETIC_REVISION.to_string());
        add(&precision.weights.to_string());
        add(&precision.kv().to_string());
        // Codes of 4 bits are chosen by what is known of the rest of the model.
        add(&files.identity.weights().is_some().to_string());
        add(files.calibrated_codes().unwrap_or_default());
        let mut half = [0; 16];
        hasher.finalize_xof().fill(&mut half);
        Self(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tandem_shape::{KvType, WeightType};

    #[test]
    fn what_is_held_otherwise_computes_otherwise() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models");
        let open = |name: &str| ModelFiles::open(&models.join(name)).unwrap();
        let files = open("llama-gqa-llama3-tied");
        let of = |weights: WeightType, kv: Option<KvType>| {
            let weights = weights.into();
            Numerics::of(&files, &Precision { weights, kv })
        };
        let exact = of(WeightType::F32, None);
        assert_eq!(exact, of(WeightType::F32, Some(KvType::F32)));
        let other = [
            of(WeightType::F32, Some(KvType::Bf16)),
            of(WeightType::Int8, None),
            of(WeightType::Int8, Some(KvType::F32)),
        ];
        assert!(other.iter().all(|numerics| *numerics != exact));
        assert_ne!(other[1], other[2]);
    }
}
