//! Whether a cloud fits this edge: both halves of the same model, and layers from where the edge ends.

use tandem_proto::v1;
use tandem_shape::Identity;

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
    /// Weights of which neither side can tell whether they are the other's.
    #[error(
        "one side has only some of the shards of its model, and the other has the weights in other files \
         (the cloud calls its model {model:?}): whether they are the same cannot be told; give both the same \
         hub id"
    )]
    Unknown {
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
    let other = |what, (edge, cloud), model| Misfit::Model {
        what,
        cloud,
        edge,
        model,
    };
    let (ours, its) = (identity(edge), identity(&theirs));
    let same = match (&ours, &its) {
        (Some(ours), Some(its)) => ours.is(its),
        _ => Some(false),
    };
    match same {
        Some(true) => {}
        Some(false) => {
            let shown = |identity: Option<Identity>| {
                identity.map_or_else(|| "none".to_owned(), |identity| identity.to_string())
            };
            return Err(other("weights", (shown(ours), shown(its)), theirs.name));
        }
        None => return Err(Misfit::Unknown { model: theirs.name }),
    }
    let tokenizers = (&edge.tokenizer_fingerprint, &theirs.tokenizer_fingerprint);
    if tokenizers.0 != tokenizers.1 {
        let shown = (shown(tokenizers.0), shown(tokenizers.1));
        return Err(other("tokenizer's contents", shown, theirs.name));
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

fn identity(model: &v1::ModelDescription) -> Option<Identity> {
    tandem_wire::identity(&model.weights_fingerprint, &model.files_fingerprint).ok()
}

fn shown(fingerprint: &[u8]) -> String {
    match tandem_wire::fingerprint(fingerprint) {
        Some(fingerprint) => fingerprint.to_string(),
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
    fn a_side_with_some_shards_fits_one_that_knows_them() {
        let model = |weights: &[u8], files: &[u8]| v1::ModelDescription {
            weights_fingerprint: weights.to_vec(),
            files_fingerprint: files.to_vec(),
            ..model(0, 2)
        };
        let (weights, files) = ([1; 32], [2; 32]);
        let part = model(&[], &files);
        let known = cloud(model(&weights, &files), 0);
        assert_eq!(check(&part, 10, &known), Ok(()));
        assert_eq!(check(&part, 10, &cloud(part.clone(), 0)), Ok(()));
        let elsewhere = check(&part, 10, &cloud(model(&weights, &[]), 0));
        assert!(matches!(elsewhere, Err(Misfit::Unknown { .. })));
        let other = check(&part, 10, &cloud(model(&weights, &[3; 32]), 0));
        assert!(matches!(other, Err(Misfit::Model { .. })));
        // The same weights, cut into other shards.
        let whole = model(&weights, &[3; 32]);
        assert_eq!(check(&whole, 10, &known), Ok(()));
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
