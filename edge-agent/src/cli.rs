//! The command line. Every flag of `serve` overrides the key of the configuration it is named
//! after; `generate` and `chat` run the same edge in the process itself.

use crate::config::{DEFAULTS, EdgeConfig};
use crate::plan::args::{PlanArgs, PlanLimits};
use anyhow::Context as _;
use clap::{
    Args, Command as ClapCommand, CommandFactory as _, FromArgMatches as _, Id, Parser, Subcommand,
};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use tandem_config::{
    AutoCount, AutoDuration, ByteSize, ConfigError, HumanDuration, Layers, parse_token_count,
    with_defaults,
};
use tandem_prepare::{EmbeddingArg, PrepareArgs};
use tandem_proto::v1;
use tandem_server::arguments::ServerArgs;

/// The edge half of Tandem: front layers and text.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients until SIGTERM.
    Serve(Box<EdgeArgs>),
    /// Continue a prompt and print it.
    Generate(Box<GenerateArgs>),
    /// Talk with the model: of an edge in this process, or with --edge of a running one.
    Chat(Box<ChatArgs>),
    /// Ask a running edge-agent and print its answer.
    Ask(Box<AskArgs>),
    /// Measure this machine, the link and the cloud, and say what to deploy and what to expect of it.
    Plan(Box<PlanArgs>),
    /// Pack the front of a model for edges: its layers in the types they run in, and all that an edge
    /// needs besides.
    Prepare(EdgePrepareArgs),
    /// Exit 0 when an edge-agent serves.
    Health(HealthArgs),
    /// Show what a running edge-agent is doing, until q.
    Top(TopArgs),
    /// Print every setting with its default.
    Config,
}

/// What an edge is made of.
#[derive(Debug, Clone, Default, Args)]
pub struct EdgeArgs {
    /// A configuration file; see `edge-agent config`.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The model: a directory in Hugging Face's layout or a package that `prepare` made, a .gguf file, or a
    /// hub id such as Qwen/Qwen2.5-0.5B-Instruct.
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// The cloud-service to work with, such as http://127.0.0.1:50051; https:// for TLS.
    #[arg(long)]
    pub cloud: Option<String>,
    /// The authorities one of which has signed the cloud's certificate, in PEM; without it the
    /// system's.
    #[arg(long)]
    pub cloud_ca: Option<PathBuf>,
    /// The edge's own certificate, for a cloud that asks for one.
    #[arg(long)]
    pub cloud_certificate: Option<PathBuf>,
    /// Its private key.
    #[arg(long)]
    pub cloud_key: Option<PathBuf>,
    /// The name that the cloud's certificate must have; without it the address's host.
    #[arg(long)]
    pub cloud_server_name: Option<String>,
    /// A file with the token that the cloud is shown.
    #[arg(long)]
    pub cloud_token: Option<PathBuf>,
    /// standard, or exact for front and rows in f32.
    #[arg(long)]
    pub preset: Option<String>,
    /// Layers that run here, or auto: what the plan says.
    #[arg(long)]
    pub split: Option<AutoCount>,
    /// How hidden rows are written: auto, f32, bf16, int8, tabq, high, balanced or economy.
    #[arg(long)]
    pub codec: Option<String>,
    /// The smallest codec that rows may be written in when the link is slow, or off: always --codec.
    #[arg(long)]
    pub adapt_floor: Option<String>,
    /// How long a token may take, such as 120ms: rows are written in the best codec that meets it.
    /// 0s: adapt.share counts.
    #[arg(long)]
    pub adapt_deadline: Option<HumanDuration>,
    /// The most tokens on their way that are sent before they are known; 0: none.
    #[arg(long)]
    pub drafts: Option<usize>,
    /// A smaller model with the same tokenizer, which guesses tokens while others are on their way: a directory, a GGUF
    /// file, or a hub id.
    #[arg(long)]
    pub draft_model: Option<PathBuf>,
    /// Types of its weights, as --weights says.
    #[arg(long)]
    pub draft_weights: Option<String>,
    /// Where clients of the OpenAI-compatible API connect; nowhere unless set.
    #[arg(long)]
    pub openai_listen: Option<String>,
    /// Who does the arithmetic: auto, plain (Tandem's own loops) or torch (libtorch, which bf16 and CUDA
    /// take).
    #[arg(long)]
    pub backend: Option<String>,
    /// cpu, cuda or cuda:N.
    #[arg(long)]
    pub device: Option<String>,
    /// Types of the weights: auto (a package's, or f32), f32, bf16, int8 or int4 (int4:32, int4:64,
    /// int4:128 by group), with exceptions for layers and the head: int4,0-1=int8,head=f32.
    #[arg(long)]
    pub weights: Option<String>,
    /// Type of keys and values: auto (f32 with weights in f32, bf16 otherwise), f32, bf16, int8 or int4.
    #[arg(long)]
    pub kv: Option<String>,
    /// Threads that compute; 0 for the processors there are.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Sessions at once, idle ones included.
    #[arg(long)]
    pub max_sessions: Option<usize>,
    /// The most tokens of one session, such as 4k (k is 1024); 0 for what the cloud grants.
    #[arg(long, value_parser = parse_token_count::<usize>)]
    pub context: Option<usize>,
    /// How long a finished conversation is kept, such as 5m.
    #[arg(long)]
    pub idle_ttl: Option<HumanDuration>,
    /// For how long an answer whose session was lost tries to go on, such as 1m; 0s: not at all.
    #[arg(long)]
    pub replay_within: Option<HumanDuration>,
    /// How much longer a step may take for the rows of prompts and of drafts in it, such as 20ms, or auto.
    #[arg(long)]
    pub engine_step: Option<AutoDuration>,
    /// Prompt tokens computed at once.
    #[arg(long)]
    pub chunk_rows: Option<usize>,
    /// About how large a frame of prompt rows gets, such as 16KiB.
    #[arg(long)]
    pub frame: Option<ByteSize>,
    /// What every server has.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// How tokens are chosen.
#[derive(Debug, Default, Args)]
pub struct SamplingArgs {
    /// The most tokens, such as 200 or 1k (1024); as many as fit when absent.
    #[arg(long, value_parser = parse_token_count::<u32>)]
    pub max_tokens: Option<u32>,
    /// 0 is greedy. Like the others, what the model's generation_config.json says when absent, else what
    /// llama-server takes: 0.8, with the 40 most likely tokens, top_p 0.95 and min_p 0.05.
    #[arg(long)]
    pub temperature: Option<f32>,
    /// Keep the k most likely tokens.
    #[arg(long)]
    pub top_k: Option<u32>,
    /// Keep the most likely tokens up to this probability.
    #[arg(long)]
    pub top_p: Option<f32>,
    /// Drop tokens less likely than this fraction of the most likely one.
    #[arg(long)]
    pub min_p: Option<f32>,
    /// Penalty on tokens of prompt and answer.
    #[arg(long)]
    pub repetition_penalty: Option<f32>,
    /// Penalty on tokens of the answer, once.
    #[arg(long, allow_hyphen_values = true)]
    pub presence_penalty: Option<f32>,
    /// Penalty on tokens of the answer, each time.
    #[arg(long, allow_hyphen_values = true)]
    pub frequency_penalty: Option<f32>,
    /// The same seed gives the same text.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Go on past end-of-sequence tokens.
    #[arg(long)]
    pub ignore_eos: bool,
    /// Ends the answer; may be given several times.
    #[arg(long)]
    pub stop: Vec<String>,
    /// A file with the JSON schema of the answer, which is nothing but such JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "regex")]
    pub json_schema: Option<PathBuf>,
    /// A regular expression that the answer matches from its beginning to its end.
    #[arg(long)]
    pub regex: Option<String>,
}

/// Flags of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The edge.
    #[command(flatten)]
    pub edge: EdgeArgs,
    /// The sampling.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Render the prompt as a user's message with the chat template.
    #[arg(long)]
    pub chat: bool,
    /// Print one JSON document instead of the text.
    #[arg(long)]
    pub json: bool,
    /// The prompt.
    pub prompt: String,
}

/// A running edge-agent, and how it is reached.
#[derive(Debug, Default, Args)]
pub struct RunningEdgeArgs {
    /// The edge-agent, such as http://127.0.0.1:50050; https:// for TLS.
    #[arg(long, value_name = "URL")]
    pub edge: Option<String>,
    /// The authorities one of which has signed the edge's certificate, in PEM; without it the
    /// system's.
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// A certificate of your own, for an edge that asks for one.
    #[arg(long)]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[arg(long)]
    pub key: Option<PathBuf>,
    /// The name that the edge's certificate must have; without it the address's host.
    #[arg(long)]
    pub server_name: Option<String>,
    /// A file with your token, for an edge that asks for one.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
}

/// Where an edge listens unless told otherwise.
const EDGE: &str = "http://127.0.0.1:50050";

/// Flags of `chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// A running edge, to talk with instead of one of your own.
    #[command(flatten)]
    pub running: RunningEdgeArgs,
    /// An edge of your own.
    #[command(flatten)]
    pub own: EdgeArgs,
    /// The sampling.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Begins the conversation.
    #[arg(long)]
    pub system: Option<String>,
    /// A conversation to go on with, as /save writes it.
    #[arg(long, value_name = "FILE")]
    pub load: Option<PathBuf>,
    /// Neither read nor write what was typed in earlier chats.
    #[arg(long)]
    pub no_history: bool,
    /// No line of figures while an answer comes.
    #[arg(long)]
    pub no_figures: bool,
}

/// Flags of `ask`.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The edge.
    #[command(flatten)]
    pub running: RunningEdgeArgs,
    /// The sampling.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Say on stderr, after the answer, what ran where and what it took.
    #[arg(long)]
    pub summary: bool,
    /// Files whose text follows the question; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// The question. Without it, or with -, it is read from standard input.
    pub prompt: Option<String>,
}

/// Flags of `prepare`.
#[derive(Debug, Args)]
pub struct EdgePrepareArgs {
    /// Layers to pack: the largest split that the edge can have.
    #[arg(long, value_name = "L")]
    pub split: usize,
    /// What the embedding's rows are stored in.
    #[arg(long, default_value = "as-stored", value_enum)]
    pub embedding: EmbeddingArg,
    /// The rest.
    #[command(flatten)]
    pub prepare: PrepareArgs,
}

/// Flags of `health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The metrics address of the server.
    #[arg(long, default_value = "127.0.0.1:9500")]
    pub address: String,
    /// How long to wait for an answer.
    #[arg(long, default_value = "2s")]
    pub timeout: HumanDuration,
}

/// Flags of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The metrics address of the edge.
    #[arg(long, default_value = "127.0.0.1:9500")]
    pub address: String,
    /// How long the figures are of, and how often they are read.
    #[arg(long, default_value = "1s")]
    pub every: HumanDuration,
    /// Show one view and leave, as is done where the output is no terminal.
    #[arg(long)]
    pub once: bool,
}

impl Cli {
    /// Reads the command line; ends the process where it cannot be, or asks for help.
    pub fn read() -> Self {
        let matches = Self::command_with_defaults().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The command line with each setting's default in its flag's help.
    pub fn command_with_defaults() -> ClapCommand {
        let flags = || EdgeArgs::default();
        let serve = flags().flags_over(Layers::new(DEFAULTS));
        let quiet = flags().flags_over(quiet_defaults());
        let plan = PlanLimits::default().flags_over(flags().flags_over(quiet_defaults()));
        Self::command()
            .mut_subcommand("serve", |command| with_defaults(command, &serve))
            .mut_subcommand("generate", |command| with_defaults(command, &quiet))
            .mut_subcommand("chat", |command| with_defaults(one_edge(command), &quiet))
            .mut_subcommand("ask", |command| {
                command.mut_arg("edge", |edge| edge.default_value(EDGE))
            })
            .mut_subcommand("plan", |command| with_defaults(command, &plan))
    }
}

/// The command `chat`, which runs an edge of its own or reaches a running one.
fn one_edge(command: ClapCommand) -> ClapCommand {
    let ids = |flags: ClapCommand| -> Vec<Id> {
        let flags = flags.get_arguments();
        flags.map(|flag| flag.get_id().clone()).collect()
    };
    let own = ids(EdgeArgs::augment_args(ClapCommand::new("own")));
    let reaching = ids(RunningEdgeArgs::augment_args(ClapCommand::new("reaching")));
    reaching.into_iter().fold(command, |command, id| {
        let is_edge = id == "edge";
        command.mut_arg(id, |flag| {
            let flag = flag.conflicts_with_all(&own);
            if is_edge { flag } else { flag.requires("edge") }
        })
    })
}

/// The defaults of a command on a terminal, whose logs are warnings unless asked for.
pub fn quiet_defaults() -> Layers {
    Layers::new(DEFAULTS).set("log.level", "warn")
}

impl EdgeArgs {
    /// The configuration: defaults, then the file, then the flags.
    ///
    /// # Errors
    /// When a file or a value cannot be.
    pub fn load(self) -> Result<EdgeConfig, ConfigError> {
        self.load_over(Layers::new(DEFAULTS))
    }

    /// The same for a command on a terminal, whose logs are warnings unless asked for.
    ///
    /// # Errors
    /// When a file or a value cannot be.
    pub fn load_quiet(self) -> Result<EdgeConfig, ConfigError> {
        self.load_over(quiet_defaults())
    }

    fn load_over(self, layers: Layers) -> Result<EdgeConfig, ConfigError> {
        self.layers_over(layers)?.build()
    }

    /// The file and the flags over other layers.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn layers_over(self, mut layers: Layers) -> Result<Layers, ConfigError> {
        if let Some(file) = &self.config {
            layers = layers.file(file)?;
        }
        Ok(self.flags_over(layers))
    }

    /// The flags alone over other layers.
    fn flags_over(self, layers: Layers) -> Layers {
        self.server
            .flags_over(layers)
            .flag("--model", "model", self.model)
            .flag("--cloud", "cloud", self.cloud)
            .flag("--preset", "preset", self.preset)
            .flag("--split", "split", self.split)
            .flag("--codec", "codec", self.codec)
            .flag("--adapt-floor", "adapt.floor", self.adapt_floor)
            .flag("--adapt-deadline", "adapt.deadline", self.adapt_deadline)
            .flag("--drafts", "drafts.max", self.drafts)
            .flag("--draft-model", "drafts.model", self.draft_model)
            .flag("--draft-weights", "drafts.weights", self.draft_weights)
            .flag("--openai-listen", "openai.listen", self.openai_listen)
            .flag("--cloud-ca", "cloud_tls.ca", self.cloud_ca)
            .flag(
                "--cloud-certificate",
                "cloud_tls.certificate",
                self.cloud_certificate,
            )
            .flag("--cloud-key", "cloud_tls.key", self.cloud_key)
            .flag(
                "--cloud-server-name",
                "cloud_tls.server_name",
                self.cloud_server_name,
            )
            .flag("--cloud-token", "cloud_token", self.cloud_token)
            .flag("--backend", "backend", self.backend)
            .flag("--device", "device", self.device)
            .flag("--weights", "weights", self.weights)
            .flag("--kv", "kv", self.kv)
            .flag("--threads", "threads", self.threads)
            .flag("--max-sessions", "sessions.max", self.max_sessions)
            .flag("--context", "sessions.context", self.context)
            .flag("--idle-ttl", "sessions.idle_ttl", self.idle_ttl)
            .flag("--replay-within", "replay.within", self.replay_within)
            .flag("--engine-step", "engine.step", self.engine_step)
            .flag("--chunk-rows", "prefill.chunk_rows", self.chunk_rows)
            .flag("--frame", "prefill.frame", self.frame)
    }
}

impl RunningEdgeArgs {
    /// The edge's address.
    pub fn address(&self) -> &str {
        self.edge.as_deref().unwrap_or(EDGE)
    }
}

impl SamplingArgs {
    /// The message that carries them.
    pub fn message(&self) -> v1::SamplingParameters {
        v1::SamplingParameters {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
            ignore_eos: self.ignore_eos,
            ..v1::SamplingParameters::default()
        }
    }

    /// What the answer has to be.
    ///
    /// # Errors
    /// The schema's file cannot be read.
    pub fn constraint(&self) -> anyhow::Result<Option<v1::Constraint>> {
        use v1::constraint::Form;
        let form = match (&self.json_schema, &self.regex) {
            (Some(path), _) => Form::JsonSchema(read_text(path)?),
            (None, Some(regex)) => Form::Regex(regex.clone()),
            (None, None) => return Ok(None),
        };
        Ok(Some(v1::Constraint { form: Some(form) }))
    }
}

impl SamplingArgs {
    /// What a chat of these messages asks for.
    ///
    /// # Errors
    /// The schema's file cannot be read.
    pub fn chat_request(&self, messages: Vec<v1::ChatMessage>) -> anyhow::Result<v1::ChatRequest> {
        Ok(v1::ChatRequest {
            messages,
            constraint: self.constraint()?,
            sampling: Some(self.message()),
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            ..v1::ChatRequest::default()
        })
    }
}

impl AskArgs {
    /// The question and what follows it.
    ///
    /// # Errors
    /// Standard input or a file cannot be read, or there is no question.
    pub fn question(&self) -> anyhow::Result<String> {
        let mut texts = Vec::new();
        match self.prompt.as_deref() {
            Some(prompt) if prompt != "-" => texts.push(prompt.to_owned()),
            given => {
                let stdin = std::io::stdin();
                anyhow::ensure!(
                    given.is_some() || !stdin.is_terminal(),
                    "there is no question: write it behind the command, or into its standard input"
                );
                let text = std::io::read_to_string(stdin).context("cannot read standard input")?;
                texts.push(text.trim_end().to_owned());
            }
        }
        for path in &self.file {
            texts.push(read_text(path)?);
        }
        Ok(texts.join("\n\n"))
    }
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests;
