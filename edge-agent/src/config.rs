//! The configuration of edge-agent. `edge.yaml` has every default.

use crate::metrics::RELOADS;
use crate::openai::fields::UnknownFields;
use crate::openai::hosts::Hosts;
use crate::openai::origins::cors;
use crate::parts::CallFormat;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tandem_client::adaptation::Target;
use tandem_client::{DialerConfig, ReplayTerms, all_have_tls};
use tandem_codec::Codec;
use tandem_config::address::{Addresses, is_loopback, is_tls};
use tandem_config::{AutoCount, ByteSize, HumanDuration, Validate, Violations, token_count};
use tandem_engine::Compute;
use tandem_planner::Objective;
use tandem_server::engine_config::EngineConfig;
use tandem_server::serve::ServerConfig;
use tandem_shape::{DeviceName, Group, WeightType};
use tandem_telemetry::logging::LogConfig;
use tandem_telemetry::traces::TracesConfig;
use tandem_transport::auth::AuthSettings;
use tandem_transport::grpc::{TransportConfig, endpoint};
use tandem_transport::tls::{ClientTlsSettings, TlsSettings, check_listener};
use tandem_wire::MAX_DRAFT_ROWS;
use tonic::transport::Endpoint;

/// Every default, commented.
pub const DEFAULTS: &str = include_str!("../edge.yaml");

/// The codec that is chosen by what has been calibrated.
const AUTO: &str = "auto";

/// No smaller codec.
const OFF: &str = "off";

/// The configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The OpenAI-compatible API.
    pub openai: OpenAiConfig,
    /// Where Prometheus and probes connect.
    pub metrics_listen: SocketAddr,
    /// What clients are shown, and must show.
    pub tls: TlsSettings,
    /// Who may ask.
    pub auth: AuthSettings,
    /// Whether other machines may connect, and tokens travel, without TLS.
    pub insecure: bool,
    /// The model: a directory, a GGUF file, or a hub id.
    pub model: PathBuf,
    /// The model's name for people; empty for the directory's.
    pub name: String,
    /// The cloud-services.
    pub cloud: Addresses,
    /// What the cloud must show, and is shown.
    pub cloud_tls: ClientTlsSettings,
    /// A file with the token that the cloud is shown.
    pub cloud_token: PathBuf,
    /// How long a connection may take.
    pub connect_timeout: HumanDuration,
    /// When a silent cloud is given up.
    pub cloud_keepalive: KeepaliveConfig,
    /// What `weights` and `codec` are where they are `auto`.
    pub preset: Preset,
    /// Layers that run here; `auto` to plan them.
    pub split: AutoCount,
    /// How the model writes calls of functions.
    pub tool_calls: ToolCalls,
    /// How rows are written.
    pub codec: String,
    /// Whether smaller codecs may be used on a slow link.
    pub adapt: AdaptConfig,
    /// By whose loops the layers run.
    pub backend: String,
    /// Where the layers run.
    pub device: String,
    /// Types of the weights.
    pub weights: String,
    /// Type of keys and values.
    pub kv: String,
    /// Threads that compute; 0 for the processors there are.
    pub threads: usize,
    /// Sessions.
    pub sessions: SessionsConfig,
    /// What happens when an answer's session is lost.
    pub replay: ReplayConfig,
    /// Tokens that are sent before they are known.
    pub drafts: DraftsConfig,
    /// How prompts go up.
    pub prefill: PrefillConfig,
    /// What `split: auto` plans for.
    pub plan: PlanConfig,
    /// The engine.
    pub engine: EngineConfig,
    /// How long a drain may take.
    pub drain_deadline: HumanDuration,
    /// Logs.
    pub log: LogConfig,
    /// Traces.
    pub traces: TracesConfig,
    /// HTTP/2.
    pub transport: TransportConfig,
}

/// What settings that are `auto` come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Small and fast at next to no loss: a front in int8, rows in `high`.
    Standard,
    /// Front and rows in f32: the reference that everything else is measured against.
    Exact,
}

/// Whether and when rows are written in a smaller codec than `codec`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptConfig {
    /// The smallest codec that may be used.
    pub floor: Floor,
    /// Of the rest of a token's time, what its row's transmission may take.
    pub share: f64,
    /// How long a token may take; 0 where the share counts.
    pub deadline: HumanDuration,
}

/// A codec's name, or `off`, which YAML 1.1 reads as `false`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Floor {
    /// A name, or `off`.
    Name(String),
    /// `off`, as some writers of YAML leave it.
    Off(bool),
}

impl Floor {
    /// The codec; `None` for `off`.
    pub fn codec(&self) -> Option<Codec> {
        match self {
            Self::Name(name) => name.parse().ok(),
            Self::Off(_) => None,
        }
    }

    fn problem(&self, codec: Option<Codec>) -> Option<String> {
        match self {
            Self::Off(false) => None,
            Self::Off(true) => Some(format!("is true, must be a codec or {OFF}")),
            Self::Name(name) if name == OFF => None,
            Self::Name(name) => match (name.parse::<Codec>(), codec) {
                (Err(error), _) => Some(format!("{error}, or {OFF}")),
                (Ok(floor), Some(codec)) if floor.typical_bits() > codec.typical_bits() => {
                    Some(format!(
                        "is {floor}, which is larger than codec, {codec}; name that or a smaller one"
                    ))
                }
                (Ok(_), _) => None,
            },
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Off(_) => f.write_str(OFF),
        }
    }
}

impl AdaptConfig {
    /// What is asked of the link.
    pub fn target(&self) -> Target {
        match self.deadline.get() {
            Duration::ZERO => Target::Share(self.share),
            deadline => Target::Deadline(deadline),
        }
    }
}

/// The OpenAI-compatible API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Where its clients connect; empty for nowhere.
    pub listen: String,
    /// How long an answer may take.
    pub timeout: HumanDuration,
    /// Names in requests' `Host` that are answered, besides loopback's and addresses.
    pub hosts: Vec<String>,
    /// Origins whose pages may call it from a browser.
    pub origins: Vec<String>,
    /// Other names of the model.
    pub aliases: Vec<String>,
    /// Whether requests for a model of any name are answered.
    pub any_model: bool,
    /// What is done about fields that are not known.
    pub unknown_fields: UnknownFields,
    /// Whether there is a page at its address.
    pub page: bool,
}

/// How calls of functions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolCalls {
    /// As the chat template writes them.
    Auto,
    /// In one of the formats that are known.
    #[serde(untagged)]
    Format(CallFormat),
}

/// How many sessions, and how large.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionsConfig {
    /// Sessions at once, idle ones included.
    pub max: usize,
    /// Positions of one session; 0 for what the cloud grants.
    #[serde(deserialize_with = "token_count")]
    pub context: usize,
    /// How long a finished conversation is kept.
    pub idle_ttl: HumanDuration,
    /// Memory for beginnings that later prompts may have in common with earlier ones; 0 for none.
    pub prefix_memory: ByteSize,
}

/// When a connection is given up on which nothing arrives.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepaliveConfig {
    /// It is asked for a sign of life after this.
    pub interval: HumanDuration,
    /// It is dropped where it gives none for so long.
    pub timeout: HumanDuration,
}

/// For how long an answer tries to go on when its session is lost.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// How long; zero for not at all.
    pub within: HumanDuration,
    /// The most attempts in that time.
    pub attempts: u32,
    /// Whether it goes on only in a cloud that is known to compute as the one that it began with.
    pub only_exact: bool,
}

impl ReplayConfig {
    /// The same for the client of the split API.
    pub fn terms(&self) -> ReplayTerms {
        ReplayTerms {
            within: self.within.get(),
            attempts: self.attempts,
            only_exact: self.only_exact,
        }
    }
}

/// Tokens that are sent before they are known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftsConfig {
    /// The most of them on their way; 0 for none.
    pub max: usize,
    /// The most of them in one message.
    pub message: usize,
    /// Memory for earlier answers, which later ones may repeat; 0 for none.
    pub memory: ByteSize,
    /// A smaller model with the same tokenizer that guesses: a directory, a GGUF file, or a hub id; empty for none.
    pub model: PathBuf,
    /// Types of its weights.
    pub weights: String,
}

impl DraftsConfig {
    /// Whether a model guesses.
    pub fn have_model(&self) -> bool {
        self.max > 0 && !self.model.as_os_str().is_empty()
    }
}

/// How prompts go up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillConfig {
    /// Tokens computed at once.
    pub chunk_rows: usize,
    /// About how large a frame gets.
    pub frame: ByteSize,
}

/// What a plan has to hold, and what it is to be best at.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// What is best.
    pub objective: Objective,
    /// With the objective `balanced`: how many times as long as the fastest candidate's a token may take.
    pub slowdown: f64,
    /// Memory of this process; 0 for a quarter of what it may take.
    pub memory: ByteSize,
    /// Time of a token; 0 for no limit.
    pub deadline: HumanDuration,
    /// Time to the first token; 0 for no limit.
    pub first_token: HumanDuration,
    /// Positions that a session must have room for.
    #[serde(deserialize_with = "token_count")]
    pub context: usize,
    /// Divergence from the exact model in nats; 0 for no limit.
    pub max_kl: f64,
    /// How often a link may be worse than what deadlines are held on.
    pub outage: f64,
    /// Tokens of a typical prompt.
    #[serde(deserialize_with = "token_count")]
    pub prompt_tokens: usize,
    /// Tokens of a typical answer.
    #[serde(deserialize_with = "token_count")]
    pub output_tokens: usize,
    /// Sessions at once that memory is planned for.
    pub sessions: usize,
    /// Where figures and plans are kept; empty for beside the model.
    pub cache: PathBuf,
}

impl EdgeConfig {
    /// Where the clouds are, and how they are spoken to.
    pub fn dialer(&self) -> DialerConfig<'_> {
        DialerConfig {
            clouds: &self.cloud,
            transport: TransportConfig {
                keepalive_interval: self.cloud_keepalive.interval,
                keepalive_timeout: self.cloud_keepalive.timeout,
                ..self.transport.clone()
            },
            tls: &self.cloud_tls,
            token: &self.cloud_token,
            connect_timeout: self.connect_timeout.get(),
            frame_bytes: self.prefill.frame.as_usize(),
            reloads: RELOADS,
        }
    }

    /// What every server's configuration has.
    pub fn server(&self) -> ServerConfig<'_> {
        ServerConfig {
            listen: self.listen,
            metrics_listen: self.metrics_listen,
            tls: &self.tls,
            auth: &self.auth,
            connections: &self.transport.connections,
            drain_deadline: self.drain_deadline.get(),
            log: &self.log,
            traces: &self.traces,
        }
    }

    /// Where and in which types to compute.
    pub fn compute(&self) -> Compute {
        // Refused while the configuration was read, had it been otherwise.
        Compute::configured([&self.backend, &self.device], &self.weights, &self.kv)
            .unwrap_or_default()
    }

    /// How rows are written; `None` leaves it to the preset, or the plan.
    pub fn codec(&self) -> Option<Codec> {
        self.codec.parse().ok()
    }

    /// How rows are written where no plan says it.
    pub fn row_codec(&self) -> Codec {
        self.codec().unwrap_or(match self.preset {
            Preset::Standard => Codec::High,
            Preset::Exact => Codec::F32,
        })
    }

    /// Writes out what the exact preset says of settings that are `auto`, which a plan would choose
    /// otherwise. A package's types are its own.
    pub fn settle_preset(&mut self, package: bool) {
        const EXACT: &str = "f32";
        if self.preset != Preset::Exact {
            return;
        }
        if self.codec == AUTO {
            self.codec = EXACT.to_owned();
        }
        if self.weights == AUTO && !package {
            self.weights = EXACT.to_owned();
        }
    }

    /// Where and in which types the front computes; a package's are its own. On other devices than
    /// processors integers are held as floats, so that they would save nothing there.
    pub fn front_compute(&self, package: bool) -> Compute {
        let mut compute = self.compute();
        let saves = compute.place.device == DeviceName::Cpu && !package;
        if self.preset == Preset::Standard && saves {
            compute.weights = compute.weights.or_else(|| Some(WeightType::Int8.into()));
        }
        compute
    }

    /// In which types the draft model computes; a package's are its own. What it guesses is checked, so that fewer bits cost
    /// no more than a few guesses. It runs on this backend and device as well.
    pub fn draft_compute(&self, package: bool) -> Compute {
        let place = [&self.backend, &self.device].map(String::as_str);
        let mut compute =
            Compute::configured(place, &self.drafts.weights, AUTO).unwrap_or_default();
        if compute.place.device == DeviceName::Cpu && !package {
            compute.weights = compute
                .weights
                .or_else(|| Some(WeightType::Int4(Group::default()).into()));
        }
        compute
    }

    /// Threads that compute.
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

impl EdgeConfig {
    fn check_clouds(&self, at: &mut Violations) {
        let mut plain = Vec::new();
        for cloud in self.cloud.iter() {
            match endpoint(cloud, &self.transport, Duration::from_secs(1)) {
                Err(error) => at.push("cloud", error.to_string()),
                Ok(endpoint) if !is_tls(endpoint.uri()) => plain.push(endpoint),
                Ok(_) => {}
            }
        }
        at.check(
            "cloud",
            self.cloud.iter().next().is_some(),
            "names no cloud",
        );
        at.check(
            "cloud_tls",
            !self.cloud_tls.is_any_set() || all_have_tls(&self.cloud) != Some(false),
            format!("is set, and the cloud is {}: write https://", self.cloud),
        );
        for cloud in &plain {
            self.check_plain_cloud(at, cloud);
        }
    }

    fn check_plain_cloud(&self, at: &mut Violations, cloud: &Endpoint) {
        let shown = !self.cloud_token.as_os_str().is_empty();
        at.check(
            "cloud_token",
            !shown || self.insecure || is_loopback(cloud.uri()),
            format!(
                "would travel to {} without TLS: write https://, or insecure: true for a network \
                 you trust",
                self.cloud
            ),
        );
    }
}

impl Validate for EdgeConfig {
    fn validate(&self, at: &mut Violations) {
        at.check(
            "model",
            !self.model.as_os_str().is_empty(),
            "is empty, must be a model's directory, GGUF file or hub id",
        );
        self.check_clouds(at);
        check_listener(at, self.listen, &self.tls, self.insecure);
        at.nested("tls", &self.tls);
        at.nested("cloud_tls", &self.cloud_tls);
        match self.codec.parse::<Codec>() {
            Err(error) if self.codec != AUTO => at.push("codec", format!("{error}, or {AUTO}")),
            _ => {}
        }
        if let Err(bad) =
            Compute::configured([&self.backend, &self.device], &self.weights, &self.kv)
        {
            bad.into_iter().for_each(|(key, why)| at.push(key, why));
        }
        let place = [&self.backend, &self.device].map(String::as_str);
        if let Err(bad) = Compute::configured(place, &self.drafts.weights, AUTO) {
            let weights = bad.into_iter().filter(|(key, _)| *key == "weights");
            at.under("drafts", |at| {
                weights.for_each(|(key, why)| at.push(key, why));
            });
        }
        let least = HumanDuration::from(Duration::from_millis(1));
        at.within("connect_timeout", self.connect_timeout, least..);
        at.nested("cloud_keepalive", &self.cloud_keepalive);
        at.within("split", self.split.get().unwrap_or(0), ..=4096);
        at.within("threads", self.threads, ..=1024);
        at.under("adapt", |at| {
            if let Some(problem) = self.adapt.floor.problem(self.codec()) {
                at.push("floor", problem);
            }
            at.within("share", self.adapt.share, 0.01..=10.0);
        });
        at.nested("openai", &self.openai);
        if let Some(address) = self.openai.address() {
            at.under("openai", |at| {
                check_listener(at, address, &self.tls, self.insecure);
            });
        }
        at.nested("sessions", &self.sessions);
        at.nested("replay", &self.replay);
        at.nested("drafts", &self.drafts);
        at.nested("prefill", &self.prefill);
        at.nested("plan", &self.plan);
        at.nested("engine", &self.engine);
        at.nested("log", &self.log);
        at.nested("traces", &self.traces);
        at.nested("transport", &self.transport);
        at.under("prefill", |at| {
            self.transport.check_frame(at, "frame", self.prefill.frame);
        });
    }
}

impl OpenAiConfig {
    /// Where its clients connect, if it is on.
    pub fn address(&self) -> Option<SocketAddr> {
        // Refused while the configuration was read, had it been no address.
        self.listen.parse().ok()
    }
}

impl Validate for OpenAiConfig {
    fn validate(&self, at: &mut Violations) {
        at.check(
            "listen",
            self.listen.is_empty() || self.address().is_some(),
            format!(
                "is {}, must be an address and a port such as 127.0.0.1:8000, or empty",
                self.listen
            ),
        );
        let second = HumanDuration::from(Duration::from_secs(1));
        at.within("timeout", self.timeout, second..);
        if let Err(problem) = Hosts::new(&self.hosts) {
            at.push("hosts", problem);
        }
        if let Err(problem) = cors(&self.origins) {
            at.push("origins", problem);
        }
        let named = self.aliases.iter().all(|alias| !alias.is_empty());
        at.check("aliases", named, "has an empty name".to_owned());
    }
}

impl Validate for SessionsConfig {
    fn validate(&self, at: &mut Violations) {
        at.within("max", self.max, 1..=65_536);
        at.within("context", self.context, ..=1 << 24);
    }
}

impl Validate for KeepaliveConfig {
    fn validate(&self, at: &mut Violations) {
        let least = HumanDuration::from(Duration::from_millis(100));
        at.within("interval", self.interval, least..);
        at.within("timeout", self.timeout, least..);
    }
}

impl Validate for ReplayConfig {
    fn validate(&self, at: &mut Violations) {
        at.within("attempts", self.attempts, 1..=10_000);
        at.within(
            "within",
            self.within,
            ..=HumanDuration::from(Duration::from_secs(86_400)),
        );
    }
}

impl Validate for DraftsConfig {
    fn validate(&self, at: &mut Violations) {
        at.within("max", self.max, ..=256);
        at.within("message", self.message, 1..MAX_DRAFT_ROWS);
    }
}

impl Validate for PlanConfig {
    fn validate(&self, at: &mut Violations) {
        at.within("context", self.context, 1..=1 << 24);
        at.within("prompt_tokens", self.prompt_tokens, 1..=1 << 20);
        at.within("output_tokens", self.output_tokens, 1..=1 << 20);
        at.within("sessions", self.sessions, 1..=65_536);
        at.check(
            "context",
            self.context >= self.prompt_tokens.saturating_add(self.output_tokens),
            format!(
                "is {}, must have room for prompt_tokens and output_tokens, {} and {}",
                self.context, self.prompt_tokens, self.output_tokens
            ),
        );
        at.check(
            "slowdown",
            (1.0..=100.0).contains(&self.slowdown),
            format!("is {}, must be between 1 and 100", self.slowdown),
        );
        at.check(
            "max_kl",
            (0.0..=100.0).contains(&self.max_kl),
            format!("is {}, must be between 0 and 100", self.max_kl),
        );
        at.check(
            "outage",
            (0.0..=0.5).contains(&self.outage),
            format!("is {}, must be between 0 and 0.5", self.outage),
        );
    }
}

impl Validate for PrefillConfig {
    fn validate(&self, at: &mut Violations) {
        at.within("chunk_rows", self.chunk_rows, 1..=1024);
        at.within("frame", self.frame, ByteSize::kib(1)..=ByteSize::kib(256));
    }
}
