//! Starts everything, in the order in which it depends on each other, and ends it.

use crate::cloud_watch::watch;
use crate::config::EdgeConfig;
use crate::door::Door;
use crate::edge::{Edge, with_model_here};
use crate::gate::{Gate, Opening};
use crate::metrics::{BUILD_INFO, CATALOGUE, DATA_PORT, TRACES, UPLINK_BYTES, VERSION};
use crate::openai;
use crate::plan::start::{Patience, planned};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tandem_model_source::ProgressTo;
use tandem_proto::v1::FILE_DESCRIPTOR_SET;
use tandem_proto::v1::generation_service_server::SERVICE_NAME;
use tandem_service::data_port::DataPort;
use tandem_service::drain::{Drain, DrainSignal};
use tandem_service::grpc::TransportConfig;
use tandem_service::health::Health;
use tandem_service::metrics::{PrometheusHandle, Upkeep};
use tandem_service::{admin, grpc, logging, metrics, reflection, traces};
use tokio::net::TcpListener;

/// How often idle sessions are looked after and gauges published.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// What traces call this program.
pub const SERVICE: &str = "edge-agent";

/// Serves until a signal's drain has ended.
///
/// # Errors
/// When something cannot be started.
pub async fn serve(config: EdgeConfig) -> anyhow::Result<()> {
    logging::init(&config.log)?;
    let metrics = metrics::install(CATALOGUE)?;
    BUILD_INFO.gauge(&[VERSION]).set(1.0);
    let traces = traces::install(&config.traces, SERVICE, TRACES).await?;
    let served = serve_until_drained(config, metrics).await;
    traces.flush().await;
    served
}

async fn serve_until_drained(config: EdgeConfig, metrics: PrometheusHandle) -> anyhow::Result<()> {
    let _upkeep = Upkeep::spawn(metrics.clone());
    let health = Health::new([SERVICE_NAME]);
    let drain = Drain::on_signals(config.drain_deadline.get(), health.clone())?;
    let port = DataPort::load(&config.tls, &config.auth, DATA_PORT).await?;
    let admin_listener = grpc::bind(config.metrics_listen).await?;
    let listener = grpc::bind(config.listen).await?;
    let openai_listener = match config.openai.address() {
        Some(address) => Some(grpc::bind(address).await?),
        None => None,
    };
    let admin = admin::serve(
        admin_listener,
        metrics,
        health.clone(),
        drain.signal().closing(),
    )?;
    let opening = Opening::new(config.split.get().is_none());
    let clients = Clients {
        opening: opening.clone(),
        transport: config.transport.clone(),
        port,
        health: health.clone(),
        signal: drain.signal(),
    };
    let served = Served {
        address: listener.local_addr()?,
        is_tls: clients.port.is_tls(),
        asks_for_tokens: clients.port.asks_for_tokens(),
    };
    tokio::select! {
        served = clients.serve(listener, openai_listener) => served?,
        worked = work(config, &opening, &drain, &health, served) => worked?,
    }
    admin.ended().await?;
    Ok(())
}

/// What is served, for the log.
struct Served {
    address: SocketAddr,
    is_tls: bool,
    asks_for_tokens: bool,
}

/// Loads, opens both doors, and looks after what is idle until the drain has ended.
async fn work(
    config: EdgeConfig,
    opening: &Opening,
    drain: &Drain,
    health: &Health,
    served: Served,
) -> anyhow::Result<()> {
    let (config, edge) = tokio::select! {
        loaded = load(config, opening) => loaded?,
        () = drain.signal().closing() => return Ok(()),
        _ = drain.finished() => return Ok(()),
    };
    let edge = edge.shared();
    opening.open(Door {
        edge: Arc::clone(&edge),
        drain: drain.signal(),
    });
    tracing::info!(
        address = %served.address,
        tls = served.is_tls,
        tokens = served.asks_for_tokens,
        metrics = %config.metrics_listen,
        openai = config.openai.listen,
        cloud = %config.cloud,
        "serving"
    );
    let ended = async {
        drain.signal().draining().await;
        edge.pool.close();
        let _ = drain.finished().await;
        // Answers have ended or were cut off; what keeps a connection open now is no work of ours.
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    tokio::select! {
        () = ended => {}
        () = tidy(&edge) => {}
        () = watch(&edge, health, SERVICE_NAME) => {}
    }
    Ok(())
}

/// Plans where that is asked for, and loads.
async fn load(config: EdgeConfig, opening: &Opening) -> anyhow::Result<(EdgeConfig, Edge)> {
    let config = with_model_here(config, ProgressTo::Log).await?;
    let config = planned(config, Patience::Wait).await?;
    opening.planned();
    let edge = Edge::load(&config, |_| {}).await?;
    Ok((config, edge))
}

/// What clients connect to, from the start: they are refused until the door opens.
struct Clients {
    opening: Opening,
    transport: TransportConfig,
    port: DataPort,
    health: Health,
    signal: DrainSignal,
}

impl Clients {
    /// Serves gRPC, and the OpenAI-compatible API where it is on, until the drain closes.
    async fn serve(self, grpc: TcpListener, openai: Option<TcpListener>) -> anyhow::Result<()> {
        let gate = Gate {
            opening: self.opening.clone(),
            max_message: self.transport.max_message.as_usize(),
        };
        let serving = grpc::server_builder(&self.transport)
            .layer(self.port.authenticate())
            .add_service(gate)
            .add_service(self.health.server())
            .add_service(reflection::v1(FILE_DESCRIPTOR_SET, SERVICE_NAME)?)
            .add_service(reflection::v1alpha(FILE_DESCRIPTOR_SET, SERVICE_NAME)?)
            .serve_with_incoming_shutdown(self.port.incoming(grpc), self.signal.closing());
        let openai_serving = async {
            match openai {
                Some(listener) => {
                    let (opening, closing) = (self.opening.clone(), self.signal.closing());
                    openai::serve(opening, &self.transport, &self.port, listener, closing).await
                }
                None => Ok(()),
            }
        };
        tokio::try_join!(serving, openai_serving)?;
        Ok(())
    }
}

/// Looks after what is idle.
async fn tidy(edge: &Edge) {
    let mut interval = tokio::time::interval(TIDY_INTERVAL);
    loop {
        interval.tick().await;
        if edge.pool.prune() {
            edge.link.forget();
        }
        let (in_flight, window) = edge.link.uplink().load();
        UPLINK_BYTES.gauge(&["in_flight"]).set(in_flight as f64);
        UPLINK_BYTES.gauge(&["window"]).set(window as f64);
    }
}
