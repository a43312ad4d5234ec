//! `tandem-eval bench`.
//!
//! Every step goes through an engine thread's channel to the half that serves it, so what is timed
//! is what a session of a server waits for, but for text and network.

use crate::bench_rows::{self, RowsReport};
use crate::bench_run::{FrontOf, Load, Phase, Timed, run};
use crate::cli::BenchArgs;
use crate::error::{EvalError, Result};
use crate::precision::{PrecisionReport, Sides};
use crate::summary::Summary;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tandem_engine::{Back, Engine, EngineOptions, FrameCodec, Front};
use tandem_program::progress::Progress;

/// What `bench --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens decoded behind the first.
    pub decode_tokens: usize,
    /// Rows of the chunks that the prompt is run in.
    pub chunk: usize,
    /// Threads of each engine.
    pub threads: usize,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionReport,
    /// Measurements.
    pub repeats: usize,
    /// One back that runs the whole model on token ids.
    pub unsplit: Speed,
    /// The halves; null unless asked for.
    pub split: Option<SplitSpeed>,
}

/// How fast a prompt and the tokens behind it are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// Milliseconds of the whole prompt, to the first token.
    pub prefill_ms: Summary,
    /// Prompt tokens a second, by the median.
    pub prefill_tokens_per_second: f64,
    /// Milliseconds of one token, each repeat's mean.
    pub decode_ms: Summary,
    /// Tokens a second, by the median.
    pub decode_tokens_per_second: f64,
}

/// Both halves in one process, the codec between, no network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitSpeed {
    /// Layers of the front.
    pub layers: usize,
    /// How rows are encoded.
    pub codec: String,
    /// The pair, one half after the other.
    pub pair: Speed,
    /// The front's steps in it: embedding, layers, encoding.
    pub front: Speed,
    /// The back's steps in it: decoding, layers, head, sampling.
    pub back: Speed,
}

/// Measures the model unsplit and, where a split is asked for, as two halves in turn with it.
///
/// # Errors
/// When the model cannot be loaded or a step fails.
pub fn bench(args: &BenchArgs) -> Result<Report> {
    runtime()?.block_on(measure(args))
}

/// Measures decode steps of several numbers of rows.
///
/// # Errors
/// When the model cannot be loaded or a step fails.
pub fn bench_rows(args: &BenchArgs) -> Result<RowsReport> {
    runtime()?.block_on(bench_rows::measure(args))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.map_err(EvalError::Runtime)
}

async fn measure(args: &BenchArgs) -> Result<Report> {
    let sides = Arc::new(Sides::open(&args.model, &args.precision)?);
    let prompt = prompt(args.prompt_tokens.get(), sides.model.config.vocabulary);
    let load = Load {
        prompt: &prompt,
        chunk: args.chunk.get(),
        decode_tokens: args.decode_tokens.get(),
    };
    let back = start_back(args, &sides).await?;
    let mut front = None;
    if let Some(split) = args.split {
        front = Some((split, start_front(args, &sides, split).await?));
    }
    let profile = args.split.and_then(|split| sides.profile(split));
    let front = front.as_ref().map(|(split, engine)| FrontOf {
        engine,
        split: *split,
        codec: FrameCodec {
            codec: args.codec,
            calibrated: true,
        },
        profile: profile.as_ref(),
    });

    let repeats = args.repeats.get();
    let mut progress = Progress::new("run", repeats + 1, repeats + 1);
    let (mut unsplit, mut pairs) = (Vec::new(), Vec::new());
    for _ in 0..=repeats {
        unsplit.push(run(load, &back, None).await?);
        if front.is_some() {
            pairs.push(run(load, &back, front).await?);
        }
        progress.advance("");
    }
    // The first run touches fresh pages and starts the workers.
    let speed = |runs: &[Timed], part| Speed::of(args, &runs[1..], part);
    Ok(Report {
        prompt_tokens: prompt.len(),
        decode_tokens: args.decode_tokens.get(),
        chunk: args.chunk.get(),
        threads: args.model.threads(),
        precision: sides.report(),
        repeats,
        unsplit: speed(&unsplit, |p| p.total),
        split: front.map(|front| SplitSpeed {
            layers: front.split,
            codec: front.codec.codec.to_string(),
            pair: speed(&pairs, |p| p.total),
            front: speed(&pairs, |p| p.front),
            back: speed(&pairs, |p| p.back),
        }),
    })
}

async fn start_back(args: &BenchArgs, sides: &Arc<Sides>) -> Result<Engine<Back>> {
    let (sides, threads) = (Arc::clone(sides), args.model.threads());
    let load = move || {
        let (files, compute) = sides.back();
        files.back(0, compute, |_| {})
    };
    Ok(Engine::start("back", EngineOptions::new(threads), load).await?)
}

async fn start_front(args: &BenchArgs, sides: &Arc<Sides>, split: usize) -> Result<Engine<Front>> {
    let (sides, threads) = (Arc::clone(sides), args.model.threads());
    let load = move || {
        let (files, compute) = sides.front();
        files.front(split, compute, |_| {})
    };
    Ok(Engine::start("front", EngineOptions::new(threads), load).await?)
}

/// Tokens from all over the vocabulary: which they are does not matter to the time they take.
fn prompt(tokens: usize, vocabulary: usize) -> Vec<u32> {
    (0..tokens)
        .map(|i| (i * 7919 % vocabulary) as u32)
        .collect()
}

impl Speed {
    /// `runs` is not empty: at least one repeat is asked for.
    fn of(args: &BenchArgs, runs: &[Timed], part: fn(&Phase) -> Duration) -> Self {
        let milliseconds = |phase: &Phase| part(phase).as_secs_f64() * 1e3;
        let decoded = args.decode_tokens.get() as f64;
        let prefill: Vec<f64> = runs.iter().map(|r| milliseconds(&r.prefill)).collect();
        let decode: Vec<f64> = runs
            .iter()
            .map(|r| milliseconds(&r.decode) / decoded)
            .collect();
        let (prefill_ms, decode_ms) = (Summary::of(&prefill), Summary::of(&decode));
        Self {
            prefill_tokens_per_second: 1e3 * args.prompt_tokens.get() as f64 / prefill_ms.median,
            prefill_ms,
            decode_tokens_per_second: 1e3 / decode_ms.median,
            decode_ms,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "prompt of {} in chunks of {}, {} tokens decoded, {}, {} threads, median (min to max) of {}",
            self.prompt_tokens,
            self.chunk,
            self.decode_tokens,
            self.precision,
            self.threads,
            self.repeats
        )?;
        write!(
            f,
            "{:<18}{:>30}{:>10}{:>28}{:>10}",
            "", "prefill ms", "tokens/s", "decode ms", "tokens/s"
        )?;
        self.unsplit.line(f, "unsplit")?;
        if let Some(split) = &self.split {
            split
                .pair
                .line(f, &format!("split at {}, {}", split.layers, split.codec))?;
            split.front.line(f, "  its front")?;
            split.back.line(f, "  its back")?;
        }
        Ok(())
    }
}

impl Speed {
    fn line(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let range = |s: Summary, digits| {
            format!(
                "{:.digits$} ({:.digits$} to {:.digits$})",
                s.median, s.min, s.max
            )
        };
        write!(
            f,
            "\n{:<18}{:>30}{:>10.1}{:>28}{:>10.1}",
            name,
            range(self.prefill_ms, 1),
            self.prefill_tokens_per_second,
            range(self.decode_ms, 2),
            self.decode_tokens_per_second
        )
    }
}
