//! `tandem-eval compare`: what codecs and precision cost against the model in f32 with exact rows.

use crate::cli::CompareArgs;
use crate::cut::{Crossing, Cut, Reference};
use crate::divergence::Compared;
use crate::error::{EvalError, Result};
use crate::precision::{PrecisionReport, Sides};
use serde::Serialize;
use std::fmt;
use tandem_model::ComputeThread;
use tandem_program::progress::Progress;
use tandem_text::{Corpus, Tokenizer};

/// What `compare --json` prints: one of these for one codec, a list for several.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How rows were encoded.
    pub codec: String,
    /// Whether by a profile calibrated for this cut.
    pub calibrated: bool,
    /// Layers of the front.
    pub split: usize,
    /// Rows a frame: `decode` or `prefill`.
    pub framing: String,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionReport,
    /// Bytes of the front's matrices in memory.
    pub front_weight_bytes: u64,
    /// Bytes of the front's keys and values a position.
    pub front_kv_bytes_per_position: u64,
    /// Bits a value of the rows, frame headers included.
    pub bits_per_value: f64,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub compared: Compared,
}

/// One or several of them.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reports {
    /// One codec.
    One(Box<Report>),
    /// Several, in the order they were asked for.
    Several(Vec<Report>),
}

/// Compares codecs at one cut, on this thread.
///
/// # Errors
/// When model or text cannot be read, or the model fails.
pub fn compare(args: &CompareArgs) -> Result<Reports> {
    let tokenizer = Tokenizer::load(&args.model.model)?;
    let corpus = Corpus::read(&args.text, &tokenizer, args.context)?;
    let chunks = args
        .chunks
        .map_or(corpus.len(), |most| most.get().min(corpus.len()));
    let _computing = ComputeThread::begin(args.model.threads());
    let sides = Sides::open(&args.model, &args.precision)?;
    let profile = if args.uncalibrated {
        None
    } else {
        sides.profile(args.split)
    };
    let at = (args.split, args.context);
    let mut cut = Cut::load(&sides, Reference::Exact, at)?;
    let mut crossings = args
        .codec
        .iter()
        .map(|&codec| cut.crossing(codec, profile.as_ref(), args.framing))
        .collect::<Result<Vec<_>>>()?;
    let mut progress = Progress::new("chunk", chunks, chunks);
    for (number, chunk) in corpus.chunks().take(chunks).enumerate() {
        let rows = cut.rows(&chunk[..chunk.len() - 1])?;
        cut.compare(number, &rows, &chunk[1..], args.context / 2, &mut crossings)?;
        let line: Vec<String> = crossings
            .iter()
            .map(|w| format!("{} {:.2e}", w.codec(), w.divergence.mean()))
            .collect();
        progress.advance(&line.join(", "));
    }
    let report = |crossing: &Crossing| Report {
        codec: crossing.codec().to_string(),
        calibrated: crossing.is_calibrated(),
        split: args.split,
        framing: args.framing.to_string(),
        precision: sides.report(),
        front_weight_bytes: cut.front().weight_bytes(),
        front_kv_bytes_per_position: cut.front().kv_bytes_per_position(),
        bits_per_value: crossing.wire.bits_per_value().unwrap_or(f64::NAN),
        compared: crossing.divergence.summary(),
    };
    match &crossings[..] {
        [] => Err(EvalError::NoCodec),
        [crossing] => Ok(Reports::One(Box::new(report(crossing)))),
        crossings => Ok(Reports::Several(crossings.iter().map(report).collect())),
    }
}

impl fmt::Display for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reports = match self {
            Self::One(report) => std::slice::from_ref(&**report),
            Self::Several(reports) => reports,
        };
        if let Some(report) = reports.first() {
            writeln!(f, "{}\n", report.precision)?;
        }
        writeln!(
            f,
            "| codec | after layer | bits a value | mean KL | p99 KL | top-1 | 95% interval | perplexity change |"
        )?;
        write!(f, "| --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for report in reports {
            let c = &report.compared;
            write!(
                f,
                "\n| {}{} | {} | {:.2} | {:.2e} ± {:.0e} | {:.1e} | {:.2}% | {:.2} to {:.2}% | {:+.3}% |",
                report.codec,
                if report.calibrated {
                    ""
                } else {
                    ", not calibrated"
                },
                report.split,
                report.bits_per_value,
                c.kl_mean,
                c.kl_standard_error,
                c.kl_p99,
                100.0 * c.top1_agreement,
                100.0 * c.top1_interval[0],
                100.0 * c.top1_interval[1],
                100.0 * c.perplexity_change,
            )?;
        }
        Ok(())
    }
}
