//! `tandem-eval calibrate`: codec profiles for the cuts of a model, and what each layer costs in fewer bits.
//!
//! All in one pass. The rows of all chunks go through the model together, layer by layer. At each cut the
//! first chunks teach a profile what rows look like, and the others are sent across and go on to the
//! model's end, which tells what that costs: see [`steps`]. Profiles are learnt on threads of their
//! own, several at once, while the layers go on.

mod measure;
mod pass;
mod steps;
mod walk;

use crate::cli::{CalibrateArgs, Split};
use crate::error::{EvalError, Result};
use crate::precision::Sides;
use crate::sensitivity::Tables;
use pass::{FrontAndBack, Pass};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use steps::Settled;
use tandem_model::ComputeThread;
use tandem_planner::Sensitivity;
use tandem_text::{Corpus, Tokenizer};

pub(crate) use steps::At;

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
    /// What its codecs come to.
    pub codecs: Vec<CodecReport>,
}

/// A codec at a calibrated cut.
#[derive(Debug, Serialize)]
pub struct CodecReport {
    /// Its name.
    pub codec: String,
    /// Mean divergence on the chunks kept back, as it follows from the step at which it was measured.
    pub kl_mean: f64,
    /// Bits a value, one row a frame, likewise.
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
    let _computing = ComputeThread::begin(args.model.threads());
    let sides = Sides::open(&args.model, &args.precision)?;
    let layers = sides.model.config.layers;
    let mut cuts = Vec::new();
    for split in &args.split {
        match *split {
            Split::All => cuts.extend(1..layers),
            Split::After(cut) if (1..=layers).contains(&cut) => cuts.push(cut),
            Split::After(cut) => return Err(EvalError::NoSuchCut { cut, layers }),
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut chunks: Vec<Vec<u32>> = corpus.chunks().take(needed).collect();
    let check = chunks.split_off(args.chunks.get());
    let mut report = Report {
        cuts: Vec::new(),
        sensitivity: None,
    };
    let with_costs = !args.sensitivity.is_empty();
    // What layers cost is told of the model as it is, so other halves take a pass of their own.
    let together = sides.are_exact() && with_costs;
    if !cuts.is_empty() {
        let halves = FrontAndBack::load(&sides, &cuts)?;
        let mut pass = Pass::begin(args, &sides, halves, (&chunks, &check), &cuts)?;
        report.sensitivity = pass.run(together)?;
        report.cuts = pass.settle(&mut report.sensitivity)?;
    }
    if with_costs && !together || cuts.is_empty() {
        // With the profiles that were just written.
        let sides = Sides::open(&args.model, &args.precision)?;
        let halves = FrontAndBack::exact(&sides)?;
        let mut pass = Pass::begin(args, &sides, halves, (&[], &check), &[])?;
        report.sensitivity = pass.run(true)?;
    }
    if let Some(measured) = &report.sensitivity {
        let json = serde_json::to_vec_pretty(measured).map_err(EvalError::Json)?;
        write(&args.model.model.join(Sensitivity::FILE), &json)?;
    }
    Ok(report)
}

impl CodecReport {
    fn of(settled: &Settled) -> Option<Self> {
        Some(Self {
            codec: settled.codec.to_string(),
            kl_mean: settled.kl,
            bits_per_value: settled.bits?,
        })
    }
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
