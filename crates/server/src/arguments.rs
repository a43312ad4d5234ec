//! The flags that every server has.

use std::path::PathBuf;

use tandem_config::{HumanDuration, Layers};

/// Flags over the keys of [`ServerConfig`](crate::serve::ServerConfig). Flatten them into a command's own.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServerArgs {
    /// Where clients connect: of a cloud-service these are edges.
    #[arg(long)]
    pub listen: Option<String>,
    /// Where Prometheus and probes connect.
    #[arg(long)]
    pub metrics_listen: Option<String>,
    /// The certificate to show clients, in PEM.
    #[arg(long)]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key.
    #[arg(long)]
    pub tls_key: Option<PathBuf>,
    /// The authorities one of which must have signed a client's certificate.
    #[arg(long)]
    pub tls_client_ca: Option<PathBuf>,
    /// A file of tokens, one of which clients must show.
    #[arg(long)]
    pub auth_tokens: Option<PathBuf>,
    /// Let other machines connect, and tokens travel, without TLS.
    #[arg(long)]
    pub insecure: bool,
    /// How long answers may go on after SIGTERM.
    #[arg(long)]
    pub drain_deadline: Option<HumanDuration>,
    /// A level, or filters.
    #[arg(long)]
    pub log_level: Option<String>,
    /// text or json.
    #[arg(long)]
    pub log_format: Option<String>,
    /// Where traces are sent: a collector's OTLP gRPC port, such as http://127.0.0.1:4317.
    #[arg(long)]
    pub traces_endpoint: Option<String>,
}

impl ServerArgs {
    /// These flags over other layers of a configuration.
    pub fn flags_over(self, layers: Layers) -> Layers {
        layers
            .flag("--listen", "listen", self.listen)
            .flag("--metrics-listen", "metrics_listen", self.metrics_listen)
            .flag("--tls-certificate", "tls.certificate", self.tls_certificate)
            .flag("--tls-key", "tls.key", self.tls_key)
            .flag("--tls-client-ca", "tls.client_ca", self.tls_client_ca)
            .flag("--auth-tokens", "auth.tokens", self.auth_tokens)
            .flag("--insecure", "insecure", self.insecure.then_some(true))
            .flag("--drain-deadline", "drain_deadline", self.drain_deadline)
            .flag("--log-level", "log.level", self.log_level)
            .flag("--log-format", "log.format", self.log_format)
            .flag("--traces-endpoint", "traces.endpoint", self.traces_endpoint)
    }
}
