//! Whether a cloud fits this edge: both halves of the same model, and layers from where the edge ends.

use tandem_model::Fingerprint;
use tandem_proto::v1;

/// Why an edge and its cloud cannot work together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Other weights, or another tokenizer.
    #[error(
        "the cloud's {what} ({cloud:.16}, model {model:?}) are not this edge's ({edge:.16}): give both the \
         same model directory, or packages of one model, and restart the one that is wrong"
    )]
    Model {
        /// `weights` or `tokenizer's contents`.
        what: &'static str,
        /// The cloud's fingerprint in hexadecimal.
        cloud: String,
        /// This edge's.
        edge: String,
        /// What the cloud calls its model.
        model: String,
    },
    /// Nobody would run some layers.
    #[error(
        "this edge runs the layers below {split}, and the cloud serves splits from {first} to {layers}: set \
         split here, or first_layer there"
    )]
    Split {
        /// Layers that the edge runs.
        split: usize,
        /// The lowest split that the cloud serves.
        first: u32,
        /// The highest.
        layers: u32,
    },
}

/// Checks a cloud against the edge's model and split, as the cloud itself will when a session opens.
///
/// # Errors
/// How they do not fit.
pub fn check(
    edge: &v1::ModelDescription,
    split: usize,
    cloud: &v1::DescribeBackResponse,
) -> Result<(), Misfit> {
    let theirs = cloud.model.clone().unwrap_or_default();
    let sides = [
        (
            "weights",
            &edge.weights_fingerprint,
            &theirs.weights_fingerprint,
        ),
        (
            "tokenizer's contents",
            &edge.tokenizer_fingerprint,
            &theirs.tokenizer_fingerprint,
        ),
    ];
    for (what, ours, other) in sides {
        if ours != other {
            return Err(Misfit::Model {
                what,
                cloud: shown(other),
                edge: shown(ours),
                model: theirs.name,
            });
        }
    }
    let (first, layers) = (cloud.first_layer, theirs.layers);
    if !(first as usize..=layers as usize).contains(&split) {
        return Err(Misfit::Split {
            split,
            first,
            layers,
        });
    }
    Ok(())
}

fn shown(fingerprint: &[u8]) -> String {
    match tandem_wire::fingerprint(fingerprint) {
        Some(Fingerprint(bytes)) => Fingerprint(bytes).to_string(),
        None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(weights: u8, tokenizer: u8) -> v1::ModelDescription {
        v1::ModelDescription {
            name: "m".to_owned(),
            layers: 30,
            weights_fingerprint: vec![weights; 32],
            tokenizer_fingerprint: vec![tokenizer; 32],
            ..v1::ModelDescription::default()
        }
    }

    fn cloud(model: v1::ModelDescription, first_layer: u32) -> v1::DescribeBackResponse {
        v1::DescribeBackResponse {
            model: Some(model),
            first_layer,
            ..v1::DescribeBackResponse::default()
        }
    }

    #[test]
    fn the_same_model_and_every_split_that_the_cloud_serves_fit() {
        for split in [10, 29, 30] {
            assert_eq!(check(&model(1, 2), split, &cloud(model(1, 2), 10)), Ok(()));
        }
    }

    #[test]
    fn what_does_not_fit_is_said_with_both_sides() {
        let said = |split, cloud| check(&model(1, 2), split, &cloud).unwrap_err().to_string();
        let weights = said(10, cloud(model(3, 2), 0));
        assert!(
            weights.contains("weights (0303030303030303, model \"m\")")
                && weights.contains("this edge's (0101010101010101)"),
            "{weights}"
        );
        assert!(said(10, cloud(model(1, 3), 0)).contains("tokenizer"));
        assert!(said(9, cloud(model(1, 2), 10)).contains("below 9"));
        assert!(said(0, v1::DescribeBackResponse::default()).contains("(none"));
    }
}
