//! The configuration of edge-agent. `edge.yaml` has every default.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tandem_codec::Codec;
use tandem_engine::Compute;
use tandem_service::auth::AuthSettings;
use tandem_service::config::{AutoCount, ByteSize, HumanDuration, Validate, Violations};
use tandem_service::grpc::{TransportConfig, endpoint, is_loopback, is_tls};
use tandem_service::logging::LogConfig;
use tandem_service::tls::{ClientTlsSettings, TlsSettings, check_listener};
use tonic::transport::Endpoint;

/// Every default, commented.
pub const DEFAULTS: &str = include_str!("../edge.yaml");

/// The codec that is chosen by what has been calibrated.
const AUTO: &str = "auto";

/// The configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where Prometheus and probes connect.
    pub metrics_listen: SocketAddr,
    /// What clients are shown, and must show.
    pub tls: TlsSettings,
    /// Who may ask.
    pub auth: AuthSettings,
    /// Whether other machines may connect, and tokens travel, without TLS.
    pub insecure: bool,
    /// The model directory.
    pub model: PathBuf,
    /// The model's name for people; empty for the directory's.
    pub name: String,
    /// The cloud-service.
    pub cloud: String,
    /// What the cloud must show, and is shown.
    pub cloud_tls: ClientTlsSettings,
    /// A file with the token that the cloud is shown.
    pub cloud_token: PathBuf,
    /// How long a connection may take.
    pub connect_timeout: HumanDuration,
    /// Layers that run here; `auto` for a package's.
    pub split: AutoCount,
    /// How rows are written.
    pub codec: String,
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
    /// How prompts go up.
    pub prefill: PrefillConfig,
    /// How long a drain may take.
    pub drain_deadline: HumanDuration,
    /// Logs.
    pub log: LogConfig,
    /// HTTP/2.
    pub transport: TransportConfig,
}

/// How many sessions, and how large.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionsConfig {
    /// Sessions at once, idle ones included.
    pub max: usize,
    /// Positions of one session; 0 for what the cloud grants.
    pub context: usize,
    /// How long a finished conversation is kept.
    pub idle_ttl: HumanDuration,
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

impl EdgeConfig {
    /// Where and in which types to compute.
    pub fn compute(&self) -> Compute {
        // Refused while the configuration was read, had it been otherwise.
        Compute::configured(&self.device, &self.weights, &self.kv).unwrap_or_default()
    }

    /// How rows are written; `None` leaves it to what has been calibrated.
    pub fn codec(&self) -> Option<Codec> {
        self.codec.parse().ok()
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
    fn check_plain_cloud(&self, at: &mut Violations, cloud: &Endpoint) {
        at.check(
            "cloud_tls",
            !self.cloud_tls.is_any_set(),
            format!("is set, and the cloud is {}: write https://", self.cloud),
        );
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
            "is empty, must be a model directory",
        );
        match endpoint(&self.cloud, &self.transport, Duration::from_secs(1)) {
            Err(error) => at.push("cloud", error.to_string()),
            Ok(endpoint) if !is_tls(endpoint.uri()) => self.check_plain_cloud(at, &endpoint),
            Ok(_) => {}
        }
        check_listener(at, self.listen, &self.tls, self.insecure);
        at.nested("tls", &self.tls);
        at.nested("cloud_tls", &self.cloud_tls);
        match self.codec.parse::<Codec>() {
            Err(error) if self.codec != AUTO => at.push("codec", format!("{error}, or {AUTO}")),
            _ => {}
        }
        if let Err(bad) = Compute::configured(&self.device, &self.weights, &self.kv) {
            bad.into_iter().for_each(|(key, why)| at.push(key, why));
        }
        let least = HumanDuration::from(Duration::from_millis(1));
        at.within("connect_timeout", self.connect_timeout, least..);
        at.within("split", self.split.get().unwrap_or(0), ..=4096);
        at.within("threads", self.threads, ..=1024);
        at.nested("sessions", &self.sessions);
        at.nested("prefill", &self.prefill);
        at.nested("log", &self.log);
        at.nested("transport", &self.transport);
        at.under("prefill", |at| {
            self.transport.check_frame(at, "frame", self.prefill.frame);
        });
    }
}

impl Validate for SessionsConfig {
    fn validate(&self, at: &mut Violations) {
        at.within("max", self.max, 1..=65_536);
        at.within("context", self.context, ..=1 << 24);
    }
}

impl Validate for PrefillConfig {
    fn validate(&self, at: &mut Violations) {
        at.within("chunk_rows", self.chunk_rows, 1..=1024);
        at.within("frame", self.frame, ByteSize::kib(1)..=ByteSize::kib(256));
    }
}
