//! `tandem-eval calibrate`: codec profiles for the cuts of a model.
//!
//! The first chunks of the text teach a profile what rows look like. Then steps are set: the last
//! chunks are sent across with a guess, their divergence is measured, and as it grows with the
//! square of the step, the next guess is nearly right.

use crate::cli::CalibrateArgs;
use crate::cut::{Cut, Reference};
use crate::error::{EvalError, Result};
use crate::pipeline::Framing;
use crate::precision::Sides;
use crate::sensitivity::{Tables, sensitivity};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tandem_codec::{Codec, Profile};
use tandem_engine::Profiles;
use tandem_model::Fingerprint;
use tandem_planner::Sensitivity;
use tandem_service::progress::Progress;
use tandem_text::{Corpus, Tokenizer};

/// The mean divergence that each codec's step is set for. A little below what is promised of it
/// (2.2e-4, 9e-4, 7e-3), since another text is not this one.
const TARGETS: [(Codec, f64); 4] = [
    (Codec::High, 1.65e-4),
    (Codec::TabQ, 6.5e-4),
    (Codec::Balanced, 6.8e-4),
    (Codec::Economy, 5.6e-3),
];

/// What `calibrate --json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// One entry a cut.
    pub cuts: Vec<CutReport>,
    /// What each layer costs alone; null unless asked for.
    pub sensitivity: Option<Sensitivity>,
}

/// A calibrated cut.
#[derive(Debug, Serialize)]
pub struct CutReport {
    /// Layers before it.
    pub split: usize,
    /// The profile's file.
    pub path: PathBuf,
    /// The profile's fingerprint.
    pub fingerprint: String,
    /// Its bytes.
    pub bytes: usize,
    /// What the last chunks gave, codec by codec.
    pub codecs: Vec<CodecReport>,
}

/// A codec at a calibrated cut.
#[derive(Debug, Serialize)]
pub struct CodecReport {
    /// Its name.
    pub codec: String,
    /// Mean divergence on the chunks kept back.
    pub kl_mean: f64,
    /// Bits a value, one row a frame.
    pub bits_per_value: f64,
}

/// Calibrates on this thread, and writes a profile a cut.
///
/// # Errors
/// When model or text cannot be read, the model fails, or a file cannot be written.
pub fn calibrate(args: &CalibrateArgs) -> Result<Report> {
    let tokenizer = Tokenizer::load(&args.model.model)?;
    let corpus = Corpus::read(&args.text, &tokenizer, args.context)?;
    let needed = args.chunks.get() + args.check_chunks.get();
    if corpus.len() < needed {
        return Err(EvalError::ShortText {
            found: corpus.len() * args.context,
            needed: needed * args.context,
        });
    }
    let _no_grad = tandem_model::no_grad();
    tandem_model::set_threads(args.model.threads());
    let sides = Sides::open(&args.model, &args.precision)?;
    let chunks: Vec<Vec<u32>> = corpus.chunks().take(needed).collect();
    let mut cuts = Vec::new();
    for &split in &args.split {
        cuts.push(calibrate_cut(args, &sides, split, &chunks)?);
    }
    let mut found = None;
    if !args.sensitivity.is_empty() {
        let (_, check) = chunks.split_at(args.chunks.get());
        let measured = sensitivity(args, &sides, check)?;
        let json = serde_json::to_vec_pretty(&measured).map_err(EvalError::Json)?;
        write(&args.model.model.join(Sensitivity::FILE), &json)?;
        found = Some(measured);
    }
    Ok(Report {
        cuts,
        sensitivity: found,
    })
}

fn calibrate_cut(
    args: &CalibrateArgs,
    sides: &Sides,
    split: usize,
    chunks: &[Vec<u32>],
) -> Result<CutReport> {
    let at = (split, args.context);
    let mut cut = Cut::load(sides, Reference::SameHalves, at)?;
    let (learn, check) = chunks.split_at(args.chunks.get());
    let mut progress = Progress::new("chunk", chunks.len() + check.len() * ROUNDS, chunks.len());
    let mut rows = Vec::new();
    for chunk in learn {
        rows.extend(cut.rows(chunk)?.values);
        progress.advance("rows");
    }
    let mut profile = tandem_codec::fit(
        &rows,
        cut.hidden(),
        sides.model.weights_fingerprint.0,
        u16::try_from(split).unwrap_or(u16::MAX),
        args.reflections,
    );
    drop(rows);
    let mut kept = Vec::new();
    for chunk in check {
        kept.push(cut.rows(&chunk[..chunk.len() - 1])?);
        progress.advance("rows");
    }
    let mut codecs = Vec::new();
    for round in 1..=ROUNDS {
        let shared = Arc::new(profile.clone());
        let mut ways = TARGETS
            .iter()
            .map(|&(codec, _)| cut.way(codec, Some(&shared), Framing::Decode))
            .collect::<Result<Vec<_>>>()?;
        for (number, (rows, chunk)) in kept.iter().zip(check).enumerate() {
            cut.compare(number, rows, &chunk[1..], args.context / 2, &mut ways)?;
            progress.advance(&format!("steps, round {round} of {ROUNDS}"));
        }
        codecs = ways
            .iter()
            .map(|way| CodecReport {
                codec: way.codec().to_string(),
                kl_mean: way.divergence.mean(),
                bits_per_value: way.wire.bits_per_value().unwrap_or(f64::NAN),
            })
            .collect();
        // The last round is a check of what is written.
        if round < ROUNDS {
            profile = next_guess(profile, &codecs);
        }
    }
    let path = Profiles::path(sides.front().0.directory(), split);
    let bytes = profile.to_bytes();
    write(&path, &bytes)?;
    Ok(CutReport {
        split,
        path,
        fingerprint: Fingerprint(profile.fingerprint()).to_string(),
        bytes: bytes.len(),
        codecs,
    })
}

const ROUNDS: usize = 3;

fn next_guess(mut profile: Profile, measured: &[CodecReport]) -> Profile {
    for ((codec, target), found) in TARGETS.iter().zip(measured) {
        if let Some(step) = profile.step(*codec) {
            // Divergence goes with the square of the step.
            let correction = 0.5 * (target / found.kl_mean.max(1e-9)).log2();
            profile = profile.with_step(*codec, step + correction.clamp(-6.0, 6.0));
        }
    }
    profile
}

/// Whole or not at all: a reader never sees half a profile.
fn write(path: &std::path::Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| EvalError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let partial = path.with_extension("partial");
    std::fs::write(&partial, bytes).map_err(failed)?;
    std::fs::rename(&partial, path).map_err(failed)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, cut) in self.cuts.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(
                f,
                "after layer {}: {} ({} bytes, {:.16})",
                cut.split,
                cut.path.display(),
                cut.bytes,
                cut.fingerprint
            )?;
            for codec in &cut.codecs {
                write!(
                    f,
                    "\n  {:<9} KL {:.2e} at {:.2} bits a value",
                    codec.codec, codec.kl_mean, codec.bits_per_value
                )?;
            }
        }
        let Some(sensitivity) = &self.sensitivity else {
            return Ok(());
        };
        if !self.cuts.is_empty() {
            writeln!(f, "\n")?;
        }
        write!(f, "{}", Tables(sensitivity))
    }
}
