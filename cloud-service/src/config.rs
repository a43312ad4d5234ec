//! The configuration of cloud-service. `cloud.yaml` has every default.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tandem_config::{AutoCount, ByteSize, HumanDuration, Validate, Violations, token_count};
use tandem_engine::{Compute, ModelFiles};
use tandem_model_source::Part;
use tandem_server::engine_config::EngineConfig;
use tandem_server::serve::ServerConfig;
use tandem_shape::WeightType;
use tandem_telemetry::logging::LogConfig;
use tandem_telemetry::traces::TracesConfig;
use tandem_transport::auth::{AuthSettings, Peer};
use tandem_transport::grpc::TransportConfig;
use tandem_transport::tls::{TlsSettings, check_listener};

/// Every default, commented.
pub const DEFAULTS: &str = include_str!("../cloud.yaml");

/// The longest context granted where the configuration leaves it open: edges that cannot go on elsewhere have memory
/// for all of it reserved when they open a session, and few conversations need more.
const OPEN_CONTEXT: usize = 8192;

/// The configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudConfig {
    /// Where edges connect.
    pub listen: SocketAddr,
    /// Where Prometheus and probes connect.
    pub metrics_listen: SocketAddr,
    /// What edges are shown, and must show.
    pub tls: TlsSettings,
    /// Who may connect.
    pub auth: AuthSettings,
    /// Whether other machines may connect without TLS.
    pub insecure: bool,
    /// The model: a directory, a GGUF file, or a hub id.
    pub model: PathBuf,
    /// The model's name for people; empty for the directory's.
    pub name: String,
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
    /// First layer loaded.
    pub first_layer: AutoCount,
    /// Sessions.
    pub sessions: SessionsConfig,
    /// Limits.
    pub limits: LimitsConfig,
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

/// How many sessions, and how large.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionsConfig {
    /// Sessions open at once.
    pub max: usize,
    /// Streams that have not opened their session yet.
    pub max_opening: usize,
    /// Rows that wait or run, of all sessions.
    pub queued_rows: usize,
    /// Positions of one session; 0 for the model's.
    #[serde(deserialize_with = "token_count")]
    pub context: usize,
    /// Memory for keys and values.
    pub kv_memory: ByteSize,
    /// How much of it pages may take that are kept for later sessions to begin with; 0 for none.
    pub prefix_memory: ByteSize,
    /// How long an idle session is kept.
    pub idle_ttl: HumanDuration,
    /// How long a session is kept whose stream broke; zero for not at all.
    pub lease: HumanDuration,
    /// Silence after which an answer may give way to another session.
    pub stall: HumanDuration,
    /// How long a stream may take to open its session.
    pub open_timeout: HumanDuration,
    /// What one peer may have of it.
    pub per_peer: PerPeerConfig,
}

/// What one peer may have; 0 is no limit of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerPeerConfig {
    /// Sessions open at once.
    pub max: usize,
    /// Streams that have not opened their session yet.
    pub max_opening: usize,
    /// Rows that wait or run.
    pub queued_rows: usize,
    /// Memory for keys and values.
    pub kv_memory: ByteSize,
}

/// What is accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// The largest codec frame.
    pub max_frame: ByteSize,
    /// Which edges may bring codec profiles.
    pub accept_profiles: AcceptProfiles,
    /// The longest schema, regular expression or grammar that an answer may have to keep; 0 for none at all.
    pub constraint: ByteSize,
}

/// Which edges may bring codec profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "AcceptProfilesText")]
pub enum AcceptProfiles {
    /// Those that are known: by a certificate or a token, or as processes of this machine.
    Known,
    /// All.
    All,
    /// None.
    None,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AcceptProfilesText {
    Switch(bool),
    Word(String),
}

impl TryFrom<AcceptProfilesText> for AcceptProfiles {
    type Error = String;

    fn try_from(text: AcceptProfilesText) -> Result<Self, String> {
        match text {
            AcceptProfilesText::Switch(true) => Ok(Self::All),
            AcceptProfilesText::Switch(false) => Ok(Self::None),
            AcceptProfilesText::Word(word) if word == "auto" => Ok(Self::Known),
            AcceptProfilesText::Word(word) => Err(format!("{word} is not true, false or auto")),
        }
    }
}

impl AcceptProfiles {
    /// Whether `peer` may.
    pub fn from(self, peer: &Peer) -> bool {
        match self {
            Self::Known => peer.is_known(),
            Self::All => true,
            Self::None => false,
        }
    }
}

impl CloudConfig {
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

    /// The first layer loaded: what is said, a package's, or 0.
    pub fn first_layer(&self, files: &ModelFiles) -> usize {
        let package = files.package().map(|package| package.range.start());
        self.first_layer.get().or(package).unwrap_or(0)
    }

    /// The layers that a hub is asked for: all where it is not said from which on they run here.
    pub fn part_of_model(&self) -> Option<Part> {
        let weights = self.compute().weights.unwrap_or_default();
        // 4-bit codes are chosen by the embedding too, whichever layers they are of.
        let has_int4 = weights.types().any(|t| matches!(t, WeightType::Int4(_)));
        Some(Part::back(self.first_layer.get()?, has_int4))
    }

    /// Threads that compute.
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// The most positions of a session for a model that allows `model_limit`.
    pub fn context(&self, model_limit: usize) -> usize {
        match self.sessions.context {
            0 => model_limit.min(OPEN_CONTEXT),
            context => context,
        }
    }
}

impl Validate for CloudConfig {
    fn validate(&self, at: &mut Violations) {
        at.check(
            "model",
            !self.model.as_os_str().is_empty(),
            "is empty, must be a model's directory, GGUF file or hub id",
        );
        if let Err(bad) =
            Compute::configured([&self.backend, &self.device], &self.weights, &self.kv)
        {
            bad.into_iter().for_each(|(key, why)| at.push(key, why));
        }
        at.within("threads", self.threads, ..=1024);
        check_listener(at, self.listen, &self.tls, self.insecure);
        at.nested("tls", &self.tls);
        at.nested("sessions", &self.sessions);
        at.nested("limits", &self.limits);
        at.nested("engine", &self.engine);
        at.nested("log", &self.log);
        at.nested("traces", &self.traces);
        at.nested("transport", &self.transport);
        at.under("limits", |at| {
            self.transport
                .check_frame(at, "max_frame", self.limits.max_frame);
        });
    }
}

impl Validate for SessionsConfig {
    fn validate(&self, at: &mut Violations) {
        at.within("max", self.max, 1..=65_536);
        at.within("max_opening", self.max_opening, 1..=65_536);
        at.within("queued_rows", self.queued_rows, 1..=1 << 30);
        at.nested("per_peer", &self.per_peer);
        at.within("context", self.context, ..=1 << 24);
        let least = HumanDuration::from(Duration::from_millis(1));
        at.within("idle_ttl", self.idle_ttl, least..);
        let longest = HumanDuration::from(Duration::from_secs(86_400));
        at.within("lease", self.lease, ..=longest);
        at.within("stall", self.stall, least..);
        at.within("open_timeout", self.open_timeout, least..);
        at.within("kv_memory", self.kv_memory, ByteSize::mib(1)..);
    }
}

impl Validate for PerPeerConfig {
    fn validate(&self, at: &mut Violations) {
        at.within("max", self.max, ..=65_536);
        at.within("max_opening", self.max_opening, ..=65_536);
        at.within("queued_rows", self.queued_rows, ..=1 << 30);
    }
}

impl Validate for LimitsConfig {
    fn validate(&self, at: &mut Violations) {
        at.within(
            "max_frame",
            self.max_frame,
            ByteSize::kib(4)..=ByteSize::mib(64),
        );
        at.within("constraint", self.constraint, ..=ByteSize::mib(1));
    }
}
