//! A model as both servers describe it.

use tandem_model::{Fingerprint, ModelConfig};
use tandem_proto::v1::ModelDescription;

/// The description of a model.
pub fn description(
    name: &str,
    config: &ModelConfig,
    weights: Fingerprint,
    tokenizer: Fingerprint,
) -> ModelDescription {
    let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    ModelDescription {
        name: name.to_owned(),
        architecture: config.architecture.name().to_owned(),
        layers: number(config.layers),
        hidden_size: number(config.hidden),
        vocabulary_size: number(config.vocabulary),
        max_position_embeddings: number(config.max_positions),
        weights_fingerprint: weights.0.to_vec(),
        tokenizer_fingerprint: tokenizer.0.to_vec(),
    }
}

/// A fingerprint from the wire, if it is one.
pub fn fingerprint(bytes: &[u8]) -> Option<Fingerprint> {
    bytes.try_into().ok().map(Fingerprint)
}
