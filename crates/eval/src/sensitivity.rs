//! What precision costs, part by part: the divergence that a layer adds when it alone is held in fewer
//! bits, that keys and values add, and that a codec adds at each cut, all else in f32.
//!
//! The rows before a layer are exact, so the layers before it need no second run: the back from that
//! layer on is loaded once for each type, and its predictions are compared with the exact ones.

use crate::cli::CalibrateArgs;
use crate::divergence::Divergence;
use crate::error::{EvalError, Result};
use crate::precision::Sides;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use tandem_codec::{Codec, Encoder, Profile};
use tandem_engine::{
    Back, BackOpen, Compute, FrontStep, Half as _, KvBudget, MERGED_ROWS, ModelFiles, RowsInput,
};
use tandem_model::{Fingerprint, KvType, ModelConfig, WeightScheme};
use tandem_planner::{
    CodecSensitivity, CutSensitivity, KvSensitivity, Sensitivity, TypeSensitivity,
};
use tandem_service::progress::Progress;

/// Measures all layers and the head, keys and values, and codecs, on chunks of tokens.
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
    let exact = back(args, files, 0, Compute::default())?;
    let mut references = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        references.push(logits(&exact, 0, None, (number, chunk), ids)?);
    }
    drop(exact);
    let measured = Measured {
        chunks,
        references,
        vocabulary: files.config.vocabulary,
    };
    let mut kv = Vec::new();
    for kind in KvType::ALL {
        let compute = Compute {
            kv: Some(kind),
            ..Compute::default()
        };
        let back = back(args, files, 0, compute)?;
        kv.push(KvSensitivity {
            kv: kind.to_string(),
            kl: measured.against(|at| logits(&back, 0, None, at, ids))?,
        });
    }
    let mut types: Vec<TypeSensitivity> = args
        .sensitivity
        .iter()
        .map(|weights| TypeSensitivity {
            weights: weights.to_string(),
            layer_kl: Vec::new(),
            head_kl: 0.0,
        })
        .collect();
    let mut codecs: Vec<(Codec, Vec<CutSensitivity>)> =
        Codec::ALL.map(|codec| (codec, Vec::new())).into();
    for layer in 0..=layers {
        let rows = inputs(args, files, layer, chunks)?;
        for (found, &weights) in types.iter_mut().zip(&args.sensitivity) {
            let scheme = match layer == layers {
                true => WeightScheme::default().with_head(weights),
                false => WeightScheme::default().with_layer(layer, weights),
            };
            let compute = Compute {
                weights: Some(scheme),
                ..Compute::default()
            };
            let back = back(args, files, layer, compute)?;
            let kl = measured.against(|at| {
                let mut parts = rows[at.0].iter();
                let input = |_: &[u32]| {
                    let part = parts.next().map(Vec::as_slice).unwrap_or_default();
                    encoded(&mut Encoder::new(Codec::F32, None), part, &files.config)
                };
                logits(&back, layer, None, at, input)
            })?;
            match layer == layers {
                true => found.head_kl = kl,
                false => found.layer_kl.push(kl),
            }
        }
        if (1..layers).contains(&layer) {
            let back = back(args, files, layer, Compute::default())?;
            let profile = files.profiles.of(layer);
            for (codec, cuts) in &mut codecs {
                let profile = profile.filter(|_| codec.uses_profile());
                let kl = measured.against(|at| {
                    let mut parts = rows[at.0].iter();
                    let mut encoder = Encoder::new(*codec, profile);
                    let input = |_: &[u32]| {
                        let part = parts.next().map(Vec::as_slice).unwrap_or_default();
                        encoded(&mut encoder, part, &files.config)
                    };
                    logits(&back, layer, profile, at, input)
                })?;
                let profile = profile.map(|p| Fingerprint(p.fingerprint()).to_string());
                cuts.push(CutSensitivity { profile, kl });
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
        kv,
        codecs: codecs
            .into_iter()
            .map(|(codec, cuts)| CodecSensitivity {
                codec: codec.to_string(),
                cuts,
            })
            .collect(),
    })
}

/// What predictions are compared with.
struct Measured<'a> {
    chunks: &'a [Vec<u32>],
    /// The exact logits of each chunk.
    references: Vec<Vec<f32>>,
    vocabulary: usize,
}

impl Measured<'_> {
    /// The mean divergence of what `own` makes of each chunk.
    fn against(&self, mut own: impl FnMut((usize, &[u32])) -> Result<Vec<f32>>) -> Result<f64> {
        let mut divergence = Divergence::default();
        for (number, chunk) in self.chunks.iter().enumerate() {
            let own = own((number, chunk))?;
            let first = chunk.len() / 2;
            let pairs = self.references[number]
                .chunks_exact(self.vocabulary)
                .zip(own.chunks_exact(self.vocabulary));
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
        Ok(divergence.mean())
    }
}

/// A part's tokens as they are, for a back that runs the whole model.
fn ids(part: &[u32]) -> Result<RowsInput> {
    Ok(RowsInput::Tokens(part.to_vec()))
}

/// A part's rows, one a frame as when tokens are decoded.
fn encoded(encoder: &mut Encoder, rows: &[f32], config: &ModelConfig) -> Result<RowsInput> {
    let mut frames = Vec::new();
    for row in rows.chunks(config.hidden) {
        let mut frame = Vec::new();
        let encoded = encoder.encode(row, config.hidden, &mut frame);
        encoded.map_err(tandem_engine::EngineError::from)?;
        frames.push(Bytes::from(frame));
    }
    Ok(RowsInput::Frames(frames))
}

/// Predictions compared of a chunk: its second half but for the last row, as perplexity scores it.
fn scored(chunk: &[u32]) -> usize {
    chunk.len() - 1 - chunk.len() / 2
}

fn back(args: &CalibrateArgs, files: &ModelFiles, first: usize, compute: Compute) -> Result<Back> {
    let compute = Compute {
        device: args.model.device,
        weights: Some(compute.weights.unwrap_or_default()),
        ..compute
    };
    Ok(files.back(first, &compute, KvBudget::new(u64::MAX), |_| {})?)
}

/// The logits of a chunk's scored rows, `[scored, vocabulary]`, by what `input` makes of its parts.
fn logits(
    back: &Back,
    split: usize,
    profile: Option<&Arc<Profile>>,
    (number, chunk): (usize, &[u32]),
    mut input: impl FnMut(&[u32]) -> Result<RowsInput>,
) -> Result<Vec<f32>> {
    let mut session = back.session(BackOpen {
        split,
        context: chunk.len(),
        profile: profile.cloned(),
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
            all.extend(back.logits(&residual, count)?);
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

/// The exact rows before a layer, `[rows, hidden]` for each part that a back is given of each chunk.
fn inputs(
    args: &CalibrateArgs,
    files: &ModelFiles,
    layer: usize,
    chunks: &[Vec<u32>],
) -> Result<Vec<Vec<Vec<f32>>>> {
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
            parts.push(front.rows(&mut session, part)?);
        }
        all.push(parts);
    }
    Ok(all)
}

/// The tables as a person reads them.
#[derive(Debug)]
pub struct Tables<'a>(pub &'a Sensitivity);

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.0;
        writeln!(f, "mean KL of one layer alone, {} tokens\n", found.tokens)?;
        let names = found.types.iter().map(|t| t.weights.clone());
        row(f, ["layer".to_owned()].into_iter().chain(names))?;
        row(f, vec!["---".to_owned(); found.types.len() + 1])?;
        let layers = found.types.first().map_or(0, |t| t.layer_kl.len());
        for layer in 0..layers {
            let costs = found.types.iter().map(|t| t.layer_kl[layer]);
            row(f, [layer.to_string()].into_iter().chain(costs.map(kl)))?;
        }
        let heads = found.types.iter().map(|t| kl(t.head_kl));
        row(f, ["head".to_owned()].into_iter().chain(heads))?;
        writeln!(f, "\nmean KL of the keys and values of all layers\n")?;
        row(f, found.kv.iter().map(|k| k.kv.clone()))?;
        row(f, found.kv.iter().map(|_| "---".to_owned()))?;
        row(f, found.kv.iter().map(|k| kl(k.kl)))?;
        writeln!(
            f,
            "\nmean KL of a codec at a cut; c: by a calibrated profile\n"
        )?;
        let names = found.codecs.iter().map(|c| c.codec.clone());
        row(f, ["after layer".to_owned()].into_iter().chain(names))?;
        row(f, vec!["---".to_owned(); found.codecs.len() + 1])?;
        let cuts = found.codecs.first().map_or(0, |c| c.cuts.len());
        for cut in 0..cuts {
            let cost = |c: &CodecSensitivity| {
                let at = &c.cuts[cut];
                kl(at.kl) + if at.profile.is_some() { " c" } else { "" }
            };
            let costs = found.codecs.iter().map(cost);
            row(f, [(cut + 1).to_string()].into_iter().chain(costs))?;
        }
        Ok(())
    }
}

fn kl(value: f64) -> String {
    format!("{value:.2e}")
}

fn row(f: &mut fmt::Formatter<'_>, cells: impl IntoIterator<Item = String>) -> fmt::Result {
    let cells: Vec<String> = cells.into_iter().collect();
    writeln!(f, "| {} |", cells.join(" | "))
}
