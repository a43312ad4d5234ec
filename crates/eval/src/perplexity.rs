//! `tandem-eval perplexity`.

use crate::cli::PerplexityArgs;
use crate::error::{EvalError, Result};
use crate::pipeline::Pipeline;
use crate::precision::{PrecisionReport, Sides};
use crate::score::Score;
use serde::Serialize;
use std::fmt;
use std::time::Instant;
use tandem_model::ComputeThread;
use tandem_program::progress::Progress;
use tandem_text::{Corpus, Tokenizer};

/// What `perplexity --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The perplexity of the scored tokens.
    pub perplexity: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Chunks run.
    pub chunks: usize,
    /// Tokens of a chunk.
    pub context: usize,
    /// Tokens scored: the second half of each chunk but for its last row, which predicts the next
    /// chunk's first token.
    pub tokens_scored: usize,
    /// Layers of the front; null when the model is not split.
    pub split: Option<usize>,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionReport,
    /// How rows were encoded; null when none were.
    pub codec: Option<String>,
    /// Bits a value of the rows, frame headers included; null when none were encoded.
    pub bits_per_value: Option<f64>,
    /// Seconds the chunks took, without loading.
    pub seconds: f64,
}

/// Measures a perplexity on this thread.
///
/// # Errors
/// When model or text cannot be read, or the model fails.
pub fn perplexity(args: &PerplexityArgs) -> Result<Report> {
    let tokenizer = Tokenizer::load(&args.model.model)?;
    let corpus = Corpus::read(&args.text, &tokenizer, args.context)?;
    let chunks = args
        .chunks
        .map_or(corpus.len(), |most| most.get().min(corpus.len()));

    let _computing = ComputeThread::begin(args.model.threads());
    let sides = Sides::open(&args.model, &args.precision)?;
    let mut pipeline = Pipeline::load(&sides, &args.cut, args.context)?;

    let start = Instant::now();
    let mut progress = Progress::new("chunk", chunks, chunks);
    let mut score = Score::default();
    // llama.cpp's convention: the first half is context only.
    let first = args.context / 2;
    for (number, chunk) in corpus.chunks().take(chunks).enumerate() {
        let rows = &chunk[..chunk.len() - 1];
        pipeline.run(rows, first, |position, logits| {
            if score.add(logits, chunk[position + 1]) {
                Ok(())
            } else {
                Err(EvalError::NotFinite {
                    chunk: number,
                    position,
                })
            }
        })?;
        progress.advance(&format!("perplexity {:.4}", score.perplexity()));
    }
    let bits_per_value = pipeline.wire().bits_per_value();
    Ok(Report {
        perplexity: score.perplexity(),
        standard_error: score.standard_error(),
        chunks,
        context: args.context,
        tokens_scored: score.count(),
        split: args.cut.split,
        precision: sides.report(),
        codec: bits_per_value.map(|_| args.cut.codec.to_string()),
        bits_per_value,
        seconds: start.elapsed().as_secs_f64(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "perplexity {:.4} ± {:.4} over {} tokens of {} chunks of {}",
            self.perplexity, self.standard_error, self.tokens_scored, self.chunks, self.context
        )?;
        if let (Some(codec), Some(bits)) = (&self.codec, self.bits_per_value) {
            write!(f, ", {codec} at {bits:.3} bits a value")?;
        }
        write!(f, ", {}, {:.1} s", self.precision, self.seconds)
    }
}
