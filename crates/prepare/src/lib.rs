//! The command `prepare` of both servers: a part of a model becomes a package that its server loads
//! without the rest.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;
use tandem_engine::{ModelFiles, PackagePlan};
use tandem_model::ComputeThread;
use tandem_model::{EmbeddingType, Manifest};
use tandem_model_source::{ProgressTo, locate};
use tandem_program::progress::Progress;
use tandem_shape::{Fingerprint, WeightScheme};
use tandem_text::{Corpus, Tokenizer};

/// Flags that both servers' commands have.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    /// The model: a Hugging Face directory.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Types of the matrices: f32, bf16, int8 or int4 (int4:32, int4:64, int4:128 by group), with
    /// exceptions for layers and the head: int4,0-1=int8.
    #[arg(long, value_name = "TYPES", default_value = "int4")]
    pub weights: WeightScheme,
    /// The package to write, a directory that is not there yet.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Calibrate 4-bit codes on a text, UTF-8: closer to the model, minutes instead of seconds. Not a
    /// text that results are reported on.
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<PathBuf>,
    /// Chunks of the text that are read, from its beginning.
    #[arg(long, value_name = "K", default_value = "32", requires = "calibrate")]
    pub calibration_chunks: NonZeroUsize,
    /// Tokens of a chunk.
    #[arg(long, value_name = "N", default_value = "1024", requires = "calibrate")]
    pub calibration_context: NonZeroUsize,
    /// Threads to compute with. Default: as many as this process may use.
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

/// What an embedding's rows are stored in.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum EmbeddingArg {
    /// As the model has them.
    #[default]
    AsStored,
    /// 8-bit integers, one scale a row.
    Int8,
}

impl From<EmbeddingArg> for EmbeddingType {
    fn from(arg: EmbeddingArg) -> Self {
        match arg {
            EmbeddingArg::AsStored => Self::AsStored,
            EmbeddingArg::Int8 => Self::Int8,
        }
    }
}

/// Which part of a model is packed.
#[derive(Debug)]
pub struct Part {
    /// Its layers.
    pub layers: Range<usize>,
    /// Whether it has norm and head, if the layers end the model.
    pub head: bool,
}

/// What was written.
#[derive(Debug)]
pub struct Prepared {
    manifest: Manifest,
    out: PathBuf,
    seconds: f64,
}

/// Makes a package of a part that is known once the model's number of layers is, on this thread.
///
/// # Errors
/// When model or text cannot be read, or the package cannot be written.
pub fn prepare(
    args: &PrepareArgs,
    embedding: EmbeddingType,
    part: impl FnOnce(usize) -> Part,
) -> anyhow::Result<Prepared> {
    let started = Instant::now();
    // Before minutes are spent.
    anyhow::ensure!(
        args.out.symlink_metadata().is_err(),
        "{} is there already",
        args.out.display()
    );
    let model = locate(&args.model, None, ProgressTo::Terminal)?.directory;
    let files = ModelFiles::open(&model)
        .with_context(|| format!("cannot open the model in {}", model.display()))?;
    let tokenizer = Tokenizer::load(&model)?;
    let mut calibration = Vec::new();
    if let Some(text) = &args.calibrate {
        let context = args
            .calibration_context
            .get()
            .min(files.config.max_context());
        let corpus = Corpus::read(text, &tokenizer, context)?;
        let chunks = args.calibration_chunks.get();
        anyhow::ensure!(
            corpus.len() >= chunks,
            "{} fills {} chunks of {context} tokens, {chunks} are asked for: take a longer text, or \
             fewer by --calibration-chunks",
            text.display(),
            corpus.len()
        );
        calibration = corpus.chunks().take(chunks).collect();
    }
    let part = part(files.config.layers);
    let plan = PackagePlan {
        layers: part.layers,
        head: part.head,
        weights: args.weights.clone(),
        embedding,
        calibration,
        tokenizer: Fingerprint(tokenizer.fingerprint()),
    };
    let threads = args
        .threads
        .or_else(|| std::thread::available_parallelism().ok());
    let _computing = ComputeThread::begin(threads.map_or(1, NonZeroUsize::get));
    let mut progress = Progress::new("packing layer", plan.layers.len(), plan.layers.len());
    let manifest = files.prepare(&args.out, &plan, |_| progress.advance(""))?;
    drop(progress);
    Ok(Prepared {
        manifest,
        out: args.out.clone(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = self.manifest.layers;
        let bytes: u64 = self.manifest.files.values().map(|file| file.bytes).sum();
        write!(
            f,
            "{}: layers {} to {} of {} in {}",
            self.out.display(),
            layers.start,
            layers.end,
            layers.of,
            self.manifest.weights,
        )?;
        match self.manifest.calibration_tokens {
            0 => {}
            tokens => write!(f, " (calibrated on {tokens} tokens)")?,
        }
        let megabytes = bytes as f64 / f64::from(1 << 20);
        write!(f, ", {megabytes:.1} MiB, {:.1} s", self.seconds)
    }
}
