//! The command line.

use crate::pipeline::Framing;
use crate::task::name::TaskName;
use clap::{Args, Parser, Subcommand};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread::available_parallelism;
use tandem_codec::{Codec, MAX_REFLECTIONS};
use tandem_shape::{BackendName, DeviceName, KvType, Place, WeightScheme, WeightType};

/// Measures a model through the engine that serves it.
///
/// Results go to stdout, everything else to stderr.
#[derive(Debug, Parser)]
#[command(name = "tandem-eval", version)]
pub struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub command: Command,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// How well a model predicts a text, by the convention of llama.cpp's perplexity tool: the
    /// text is tokenised whole and cut into chunks that each start afresh; the second half of
    /// each chunk is scored.
    Perplexity(PerplexityArgs),
    /// What precision and codecs cost at a cut: divergence, agreement and perplexity against the model
    /// in f32 with exact rows, and bits a value, on the chunks that perplexity scores.
    Compare(CompareArgs),
    /// How many tokens of greedy answers are the same with a codec as with exact rows.
    Generations(GenerationsArgs),
    /// How often a model finds the right answer of a benchmark likeliest: the prompts and the rules of
    /// lm-evaluation-harness, without examples before them.
    Task(TaskArgs),
    /// Learns a codec profile for each cut and writes it beside the model, into
    /// codec/cut-NNN.profile; or measures what each layer costs in fewer bits.
    Calibrate(CalibrateArgs),
    /// How fast a model decodes and prefills, unsplit and as two halves, through the engine
    /// threads that serve it.
    Bench(BenchArgs),
}

impl Command {
    /// The model that it is about.
    pub fn model_mut(&mut self) -> &mut ModelArgs {
        match self {
            Self::Perplexity(args) => &mut args.model,
            Self::Compare(args) => &mut args.model,
            Self::Generations(args) => &mut args.model,
            Self::Task(args) => &mut args.model,
            Self::Calibrate(args) => &mut args.model,
            Self::Bench(args) => &mut args.model,
        }
    }
}

/// Which model, and on what it runs.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// A directory in Hugging Face's layout, a .gguf file, or a hub id such as Qwen/Qwen2.5-0.5B-Instruct.
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Who does the arithmetic: auto, plain (Tandem's own loops) or torch (libtorch).
    #[arg(long, default_value_t)]
    pub backend: BackendName,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value_t)]
    pub device: DeviceName,
    /// Threads to compute with. Default: as many as this process may use.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl ModelArgs {
    /// Where to compute, and by whose loops.
    pub fn place(&self) -> Place {
        Place {
            backend: self.backend,
            device: self.device,
        }
    }

    /// Threads to compute with.
    pub fn threads(&self) -> usize {
        self.threads
            .or_else(|| available_parallelism().ok())
            .map_or(1, NonZeroUsize::get)
    }
}

/// Arguments of `perplexity`.
#[derive(Debug, Args)]
pub struct PerplexityArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    /// The text, UTF-8.
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Tokens of a chunk.
    #[arg(long, value_name = "N", value_parser = context)]
    pub context: usize,
    /// Score the first K chunks only.
    #[arg(long, value_name = "K")]
    pub chunks: Option<NonZeroUsize>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cut: CutArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionArgs,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Where a model is cut, and how rows cross the cut.
#[derive(Debug, Clone, Copy, Args)]
pub struct CutArgs {
    /// Layers of the front. Without it, and with 0, one back runs the whole model on token ids.
    #[arg(long, value_name = "L")]
    pub split: Option<usize>,
    /// How rows are encoded: f32, bf16, int8, tabq, high, balanced or economy.
    #[arg(long, value_name = "NAME", default_value_t, requires = "split")]
    pub codec: Codec,
    /// How many rows a frame holds: decode (one, like generated tokens) or prefill (like
    /// prompts).
    #[arg(long, default_value_t, value_enum, requires = "split")]
    pub framing: Framing,
}

/// What both sides hold their matrices, keys and values in.
#[derive(Debug, Clone, Default, Args)]
pub struct PrecisionArgs {
    /// Types of the front's matrices: f32, bf16, int8, int4, int4:32, int4:64 or int4:128, with
    /// exceptions: int4,0-1=int8. Default: f32.
    #[arg(long, value_name = "TYPES", requires = "split")]
    pub front_weights: Option<WeightScheme>,
    /// A package to take the front from (edge-agent prepare).
    #[arg(
        long,
        value_name = "DIR",
        requires = "split",
        conflicts_with = "front_weights"
    )]
    pub front_package: Option<PathBuf>,
    /// Type of the front's keys and values: f32, bf16, int8 or int4. Default: f32 with weights in f32, bf16 otherwise.
    #[arg(long, value_name = "TYPE", requires = "split")]
    pub front_kv: Option<KvType>,
    /// Types of the back's matrices, or of all when the model is not split. Default: f32.
    #[arg(long, value_name = "TYPES")]
    pub back_weights: Option<WeightScheme>,
    /// A package to take the back from (cloud-service prepare), or all when the model is not split.
    #[arg(long, value_name = "DIR", conflicts_with = "back_weights")]
    pub back_package: Option<PathBuf>,
    /// Type of the back's keys and values, or of all when the model is not split: as the front's.
    #[arg(long, value_name = "TYPE")]
    pub back_kv: Option<KvType>,
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    /// The text, UTF-8.
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Tokens of a chunk.
    #[arg(long, value_name = "N", value_parser = context, default_value = "1024")]
    pub context: usize,
    /// Compare the first K chunks only.
    #[arg(long, value_name = "K")]
    pub chunks: Option<NonZeroUsize>,
    /// Layers of the front.
    #[arg(long, value_name = "L")]
    pub split: usize,
    /// One or more codecs, separated by commas: f32, bf16, int8, tabq, high, balanced, economy.
    #[arg(long, value_name = "NAME", value_delimiter = ',', required = true)]
    pub codec: Vec<Codec>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionArgs,
    /// How many rows a frame holds: decode (one, like generated tokens) or prefill (like
    /// prompts).
    #[arg(long, default_value = "decode", value_enum)]
    pub framing: Framing,
    /// Leave the cut's calibrated profile aside.
    #[arg(long)]
    pub uncalibrated: bool,
    /// Print one JSON document: an object for one codec, a list for several.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `generations`.
#[derive(Debug, Args)]
pub struct GenerationsArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    /// Prompts, one JSON object a line with `prompt`, or `turns` of which the first is taken.
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,
    /// Take the first N prompts.
    #[arg(long, value_name = "N", default_value = "40")]
    pub count: NonZeroUsize,
    /// Most tokens of an answer.
    #[arg(long, value_name = "N", default_value = "64")]
    pub max_tokens: NonZeroUsize,
    /// Layers of the front.
    #[arg(long, value_name = "L")]
    pub split: usize,
    /// One or more codecs, separated by commas: f32, bf16, int8, tabq, high, balanced, economy.
    #[arg(long, value_name = "NAME", value_delimiter = ',', required = true)]
    pub codec: Vec<Codec>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionArgs,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `task`.
#[derive(Debug, Args)]
pub struct TaskArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    /// Which benchmark.
    #[arg(long, value_name = "NAME", value_enum)]
    pub task: TaskName,
    /// Its items, one JSON object a line, as the data set has them or scripts/fetch-tasks writes them.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// PIQA's labels, one a line, where the items have none.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Take the first N items.
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cut: CutArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionArgs,
    /// Write each item's likelihoods to this file as they come. Where it exists, its items are taken
    /// from it, and the run goes on behind them.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Compare with another run on the same items: the file that it wrote with --log.
    #[arg(long, value_name = "FILE")]
    pub reference: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Cuts to calibrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// All between the first layer and the last.
    All,
    /// The one behind this many layers.
    After(usize),
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            layers => layers
                .parse()
                .map(Self::After)
                .map_err(|_| "a number of layers, or all".to_owned()),
        }
    }
}

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    /// The text to learn from, UTF-8. Not one that results are reported on.
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Learn profiles for these cuts: layers before each, separated by commas, or all. All take one pass
    /// through the model.
    #[arg(
        long,
        value_name = "L",
        value_delimiter = ',',
        required_unless_present = "sensitivity"
    )]
    pub split: Vec<Split>,
    /// Measure what each layer costs alone in these types, separated by commas, and what codecs cost at
    /// each cut, in the same pass, and write it into codec/sensitivity.json.
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub sensitivity: Vec<WeightType>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionArgs,
    /// Tokens of a chunk.
    #[arg(long, value_name = "N", value_parser = context, default_value = "1024")]
    pub context: usize,
    /// Chunks that rows are learnt from.
    #[arg(long, value_name = "K", default_value = "16")]
    pub chunks: NonZeroUsize,
    /// Further chunks that steps are set on. All serve at a few cuts; the first half of one in four at
    /// those between, and to measure layers on.
    #[arg(long, value_name = "K", default_value = "4")]
    pub check_chunks: NonZeroUsize,
    /// Reflections of the transform, each 2 multiply-adds a value: at most 64, 0 for none.
    #[arg(long, value_name = "N", default_value = "48", value_parser = reflections)]
    pub reflections: usize,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
    /// Measure both halves too, cut after L layers.
    #[arg(long, value_name = "L")]
    pub split: Option<usize>,
    /// How rows are encoded between the halves: f32, bf16, int8, tabq, high, balanced or economy.
    #[arg(long, value_name = "NAME", default_value_t, requires = "split")]
    pub codec: Codec,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionArgs,
    /// Tokens of the prompt.
    #[arg(long, value_name = "N", default_value = "256")]
    pub prompt_tokens: NonZeroUsize,
    /// Tokens to decode behind it.
    #[arg(long, value_name = "N", default_value = "64")]
    pub decode_tokens: NonZeroUsize,
    /// Rows of the chunks that the prompt is sent in.
    #[arg(long, value_name = "N", default_value = "128")]
    pub chunk: NonZeroUsize,
    /// Measure decode steps of so many rows instead, one a session: by themselves, and by the engine.
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with = "split", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub rows: Vec<u16>,
    /// How often to measure, unsplit and split in turn, after one run unmeasured.
    #[arg(long, value_name = "N", default_value = "5")]
    pub repeats: NonZeroUsize,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

fn reflections(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(count) if count <= MAX_REFLECTIONS => Ok(count),
        Ok(_) => Err(format!("at most {MAX_REFLECTIONS}")),
        Err(error) => Err(format!("{error}")),
    }
}

/// A chunk needs a scored token: one behind its first half and before its last.
fn context(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(tokens) if tokens >= 3 => Ok(tokens),
        Ok(_) => Err("a chunk has at least 3 tokens".to_owned()),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn refused(arguments: &str) -> bool {
        let words = format!("tandem-eval {arguments}");
        Cli::try_parse_from(words.split(' ')).is_err()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_only_a_cut_uses_is_refused_without_one() {
        let base = "perplexity --model m --text t --context 64";
        assert!(!refused(base));
        for option in [
            "--codec bf16",
            "--framing decode",
            "--front-weights bf16",
            "--front-kv bf16",
            "--front-package p",
        ] {
            assert!(refused(&format!("{base} {option}")), "{option}");
            assert!(!refused(&format!("{base} {option} --split 1")), "{option}");
        }
        assert!(!refused(&format!("{base} --back-weights bf16")));
        let both = "--back-weights bf16 --back-package p";
        assert!(refused(&format!("{base} {both}")));
    }

    #[test]
    fn chunks_that_score_nothing_are_refused() {
        assert!(refused("perplexity --model m --text t --context 2"));
        assert!(refused(
            "perplexity --model m --text t --context 64 --chunks 0"
        ));
        assert!(refused("bench --model m --repeats 0"));
    }

    #[test]
    fn cuts_are_numbers_or_all() {
        let base = "calibrate --model m --text t --split";
        assert!(!refused(&format!("{base} 3,10")));
        assert!(!refused(&format!("{base} all --front-weights int8")));
        assert!(refused(&format!("{base} most")));
    }
}
