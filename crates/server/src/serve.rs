//! The life of a server: it starts what every server has, works, drains and ends.

use std::net::SocketAddr;
use std::time::Duration;

use tandem_telemetry::logging::{self, LogConfig};
use tandem_telemetry::metrics::{self, Metric, PrometheusHandle, Upkeep};
use tandem_telemetry::traces::TracesConfig;
use tandem_transport::auth::AuthSettings;
use tandem_transport::connections::{ConnectionsConfig, Places};
use tandem_transport::data_port::{DataPort, DataPortMetrics};
use tandem_transport::grpc;
use tandem_transport::tls::TlsSettings;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::admin;
use crate::collector::{TraceMetrics, start_traces};
use crate::drain::Drain;
use crate::health::Health;

/// Which server this is.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// What traces call it.
    pub name: &'static str,
    /// The full name of the service on its data port.
    pub service: &'static str,
    /// The release that it is.
    pub version: &'static str,
    /// Everything that it counts.
    pub metrics: &'static [Metric],
    /// The gauge that has the release as its label.
    pub build_info: Metric,
    /// What its traces count.
    pub traces: TraceMetrics,
    /// What its data port counts.
    pub data_port: DataPortMetrics,
}

/// What every server's configuration has.
#[derive(Debug, Clone, Copy)]
pub struct ServerConfig<'a> {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where Prometheus and probes connect.
    pub metrics_listen: SocketAddr,
    /// What clients are shown, and must show.
    pub tls: &'a TlsSettings,
    /// Who may connect.
    pub auth: &'a AuthSettings,
    /// What clients may have of the listeners.
    pub connections: &'a ConnectionsConfig,
    /// How long a drain may take.
    pub drain_deadline: Duration,
    /// The log.
    pub log: &'a LogConfig,
    /// Traces.
    pub traces: &'a TracesConfig,
}

/// A server that has started, before it serves anything.
#[derive(Debug)]
pub struct Started {
    /// What the data port shows and asks for.
    pub port: DataPort,
    /// The data port's listener, bound already: a taken port is known at once.
    pub listener: TcpListener,
    /// What is ready; nothing is yet.
    pub health: Health,
    /// The end of it all.
    pub drain: Drain,
}

/// Starts what every server has, lets it `work`, and ends it: the log, metrics, traces, signals, the files of
/// the data port, both listeners, and the admin port, which answers from here on.
///
/// # Errors
/// Something cannot be started, or `work` fails.
pub async fn serve(
    program: Program,
    config: ServerConfig<'_>,
    work: impl AsyncFnOnce(Started) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    logging::init(config.log)?;
    let metrics = metrics::install(program.metrics)?;
    program.build_info.gauge(&[program.version]).set(1.0);
    let traces = start_traces(config.traces, program.name, program.traces).await?;
    let served = serve_until_drained(program, config, metrics, work).await;
    traces.flush().await;
    served
}

async fn serve_until_drained(
    program: Program,
    config: ServerConfig<'_>,
    metrics: PrometheusHandle,
    work: impl AsyncFnOnce(Started) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let _upkeep = Upkeep::spawn(metrics.clone());
    let health = Health::new([program.service]);
    let drain = Drain::on_signals(config.drain_deadline, health.clone())?;
    let port = DataPort::load(
        config.tls,
        config.auth,
        config.connections,
        program.data_port,
    )
    .await?;
    // Both listeners before the model: probes see that it loads.
    let admin_listener = grpc::bind(config.metrics_listen).await?;
    let listener = grpc::bind(config.listen).await?;
    let closing = drain.signal().closing();
    // Places of its own: clients cannot keep probes out.
    let places = Places::new(config.connections.clone(), program.data_port.connections);
    let admin = admin::serve(admin_listener, places, metrics, health.clone(), closing)?;
    work(Started {
        port,
        listener,
        health,
        drain,
    })
    .await?;
    admin.ended().await?;
    Ok(())
}

/// The runtime of a server: one thread moves bytes, for the processors are the engine's.
///
/// # Errors
/// The thread cannot be started.
pub fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}
