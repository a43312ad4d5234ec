//! A model as both servers describe it.

use tandem_proto::v1::{HeldLayers, ModelDescription};
use tandem_shape::{Fingerprint, Identity, ModelConfig, Precision};

/// The description of a model.
pub fn description(
    name: &str,
    config: &ModelConfig,
    identity: Identity,
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
        weights_fingerprint: bytes(identity.weights()),
        files_fingerprint: bytes(identity.files()),
        tokenizer_fingerprint: tokenizer.0.to_vec(),
    }
}

/// What a side holds of a model.
pub fn held_layers(
    range: std::ops::Range<usize>,
    precision: &Precision,
    weight_bytes: u64,
) -> HeldLayers {
    let number = |layer: usize| u32::try_from(layer).unwrap_or(u32::MAX);
    HeldLayers {
        first: number(range.start),
        end: number(range.end),
        weights: precision.weights.to_string(),
        kv: precision.kv().to_string(),
        weight_bytes,
    }
}

/// A fingerprint from the wire, if it is one.
pub fn fingerprint(bytes: &[u8]) -> Option<Fingerprint> {
    bytes.try_into().ok().map(Fingerprint)
}

/// A model's identity from the two fields that name its weights, of which one may be empty.
///
/// # Errors
/// The name of the field that is no fingerprint.
pub fn identity(weights: &[u8], files: &[u8]) -> Result<Identity, &'static str> {
    let read = |bytes: &[u8], field| match bytes {
        [] => Ok(None),
        bytes => fingerprint(bytes).map(Some).ok_or(field),
    };
    let files = read(files, "files_fingerprint")?;
    match (read(weights, "weights_fingerprint")?, files) {
        (Some(weights), files) => Ok(Identity::whole(weights, files)),
        (None, Some(files)) => Ok(Identity::of_files(files)),
        (None, None) => Err("weights_fingerprint"),
    }
}

/// An identity's fingerprint as it travels.
pub fn bytes(fingerprint: Option<Fingerprint>) -> Vec<u8> {
    fingerprint.map_or_else(Vec::new, |fingerprint| fingerprint.0.to_vec())
}
