//! What each layer costs alone: the divergence that it adds when it is held in fewer bits and all
//! else is f32.
//!
//! The rows before a layer are exact, so the layers before it need no second run: the back from that
//! layer on is loaded once for each type, and its predictions are compared with the exact ones.

use crate::cli::{CalibrateArgs, ModelArgs};
use crate::divergence::Divergence;
use crate::error::{EvalError, Result};
use crate::precision::Sides;
use bytes::Bytes;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use tandem_codec::Codec;
use tandem_engine::{
    Back, BackOpen, Compute, FrameCodec, FrontStep, Half as _, KvBudget, MERGED_ROWS, ModelFiles,
    RowsInput,
};
use tandem_model::WeightScheme;
use tandem_service::progress::Progress;

/// What `calibrate` writes into `codec/sensitivity.json` beside the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensitivity {
    /// The model's weights.
    pub weights_fingerprint: String,
    /// Tokens whose predictions were compared.
    pub tokens: usize,
    /// One a type.
    pub types: Vec<TypeSensitivity>,
}

/// What a type costs, layer by layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TypeSensitivity {
    /// The type of the matrices.
    pub weights: String,
    /// Mean Kullback-Leibler divergence in nats with one layer held so and the others in f32.
    pub layer_kl: Vec<f64>,
    /// The same for the head.
    pub head_kl: f64,
}

/// Where it lies in a model's directory.
pub fn path(model: &ModelArgs) -> PathBuf {
    model.model.join("codec").join("sensitivity.json")
}

/// Measures all layers and the head on chunks of tokens.
///
/// # Errors
/// When the model cannot be loaded or fails.
pub fn sensitivity(
    args: &CalibrateArgs,
    sides: &Sides,
    chunks: &[Vec<u32>],
) -> Result<Sensitivity> {
    let files = &sides.model;
    let layers = files.config.layers;
    let mut progress = Progress::new("layer", layers + 1, layers + 1);
    let exact = back(args, files, 0, WeightScheme::default())?;
    let mut references = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let input = |part: &[u32]| Ok(RowsInput::Tokens(part.to_vec()));
        references.push(logits(&exact, 0, (number, chunk), input)?);
    }
    drop(exact);
    let mut types: Vec<TypeSensitivity> = args
        .sensitivity
        .iter()
        .map(|weights| TypeSensitivity {
            weights: weights.to_string(),
            layer_kl: Vec::new(),
            head_kl: 0.0,
        })
        .collect();
    for layer in 0..=layers {
        let rows = inputs(args, files, layer, chunks)?;
        for (found, &weights) in types.iter_mut().zip(&args.sensitivity) {
            let scheme = match layer == layers {
                true => WeightScheme::default().with_head(weights),
                false => WeightScheme::default().with_layer(layer, weights),
            };
            let back = back(args, files, layer, scheme)?;
            let mut divergence = Divergence::default();
            for (number, (chunk, rows)) in chunks.iter().zip(&rows).enumerate() {
                let mut parts = rows.iter();
                let input = |_: &[u32]| {
                    let frames = parts.next().cloned().unwrap_or_default();
                    Ok(RowsInput::Frames(frames))
                };
                let own = logits(&back, layer, (number, chunk), input)?;
                let vocabulary = files.config.vocabulary;
                let first = chunk.len() / 2;
                let pairs = references[number]
                    .chunks_exact(vocabulary)
                    .zip(own.chunks_exact(vocabulary));
                for (i, (exact, own)) in pairs.enumerate() {
                    let position = first + i;
                    if !divergence.add(exact, own, chunk[position + 1]) {
                        return Err(EvalError::NotFinite {
                            chunk: number,
                            position,
                        });
                    }
                }
            }
            match layer == layers {
                true => found.head_kl = divergence.mean(),
                false => found.layer_kl.push(divergence.mean()),
            }
        }
        let last = |t: &TypeSensitivity| t.layer_kl.last().copied().unwrap_or(0.0);
        let line: Vec<String> = types
            .iter()
            .map(|t| format!("{} {:.1e}", t.weights, last(t)))
            .collect();
        progress.advance(&line.join(", "));
    }
    Ok(Sensitivity {
        weights_fingerprint: files.weights_fingerprint.to_string(),
        tokens: chunks.iter().map(|c| scored(c)).sum(),
        types,
    })
}

/// Predictions compared of a chunk: its second half but for the last row, as perplexity scores it.
fn scored(chunk: &[u32]) -> usize {
    chunk.len() - 1 - chunk.len() / 2
}

fn back(
    args: &CalibrateArgs,
    files: &ModelFiles,
    first: usize,
    weights: WeightScheme,
) -> Result<Back> {
    let compute = Compute {
        device: args.model.device,
        weights: Some(weights),
        kv: None,
    };
    Ok(files.back(first, &compute, KvBudget::new(u64::MAX), |_| {})?)
}

/// The logits of a chunk's scored rows, `[scored, vocabulary]`, by what `input` makes of its parts.
fn logits(
    back: &Back,
    split: usize,
    (number, chunk): (usize, &[u32]),
    mut input: impl FnMut(&[u32]) -> Result<RowsInput>,
) -> Result<Vec<f32>> {
    let mut session = back.session(BackOpen {
        split,
        context: chunk.len(),
        profile: None,
    })?;
    let rows = &chunk[..chunk.len() - 1];
    let first = chunk.len() / 2;
    let mut all = Vec::new();
    let mut start = 0;
    for part in rows.chunks(MERGED_ROWS) {
        let residual = back.forward(&mut session, &input(part)?, 0)?;
        let end = start + part.len();
        if end > first {
            let count = end - first.max(start);
            all.extend(tandem_model::values(&back.logits(&residual, count)?)?);
        }
        start = end;
    }
    match all.len() == scored(chunk) * back.config().vocabulary {
        true => Ok(all),
        false => Err(EvalError::NotFinite {
            chunk: number,
            position: start,
        }),
    }
}

/// The exact rows before a layer, in frames of the parts that a back is given.
fn inputs(
    args: &CalibrateArgs,
    files: &ModelFiles,
    layer: usize,
    chunks: &[Vec<u32>],
) -> Result<Vec<Vec<Vec<Bytes>>>> {
    let compute = Compute {
        device: args.model.device,
        ..Compute::default()
    };
    let mut front = files.front(layer, &compute, |_| {})?;
    let longest = chunks.iter().map(Vec::len).max().unwrap_or(0);
    let mut session = front.session(longest)?;
    let mut all = Vec::new();
    for chunk in chunks {
        front.step(&mut session, FrontStep::Truncate { position: 0 })?;
        let mut parts = Vec::new();
        for part in chunk[..chunk.len() - 1].chunks(MERGED_ROWS) {
            let step = FrontStep::Tokens {
                tokens: part.to_vec(),
                codec: FrameCodec::uncalibrated(Codec::F32),
                frame_bytes: usize::MAX,
            };
            let output = front.step(&mut session, step)?;
            parts.push(output.frames.into_iter().map(|f| f.bytes).collect());
        }
        all.push(parts);
    }
    Ok(all)
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mean KL of one layer alone, {} tokens\n", self.tokens)?;
        let row =
            |f: &mut fmt::Formatter<'_>, cells: Vec<String>| write!(f, "| {} |", cells.join(" | "));
        let names = self.types.iter().map(|t| t.weights.clone());
        row(f, ["layer".to_owned()].into_iter().chain(names).collect())?;
        writeln!(f)?;
        row(f, vec!["---".to_owned(); self.types.len() + 1])?;
        let layers = self.types.first().map_or(0, |t| t.layer_kl.len());
        for layer in 0..layers {
            let costs = self
                .types
                .iter()
                .map(|t| format!("{:.2e}", t.layer_kl[layer]));
            writeln!(f)?;
            row(f, [layer.to_string()].into_iter().chain(costs).collect())?;
        }
        let heads = self.types.iter().map(|t| format!("{:.2e}", t.head_kl));
        writeln!(f)?;
        row(f, ["head".to_owned()].into_iter().chain(heads).collect())
    }
}
