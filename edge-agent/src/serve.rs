//! Starts everything, in the order in which it depends on each other, and ends it.

use crate::cloud_watch::watch;
use crate::config::EdgeConfig;
use crate::door::Door;
use crate::edge::{Edge, with_model_here};
use crate::metrics::{BUILD_INFO, CATALOGUE, DATA_PORT, TRACES, UPLINK_BYTES, VERSION};
use crate::openai;
use crate::plan::start::{Patience, planned};
use crate::service::Generation;
use std::sync::Arc;
use std::time::Duration;
use tandem_model_source::Report;
use tandem_proto::v1::FILE_DESCRIPTOR_SET;
use tandem_proto::v1::generation_service_server::{GenerationServiceServer, SERVICE_NAME};
use tandem_service::data_port::DataPort;
use tandem_service::drain::Drain;
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
    tokio::select! {
        loaded = load(config) => {
            let (config, edge) = loaded?;
            let listeners = Listeners {
                grpc: listener,
                openai: openai_listener,
            };
            serve_loaded(&config, edge.shared(), &port, &drain, &health, listeners).await?;
        }
        () = drain.signal().closing() => {}
        _ = drain.finished() => {}
    }
    admin.ended().await?;
    Ok(())
}

/// Where clients connect.
struct Listeners {
    grpc: TcpListener,
    /// For those of the OpenAI-compatible API, where it is on.
    openai: Option<TcpListener>,
}

/// Plans where that is asked for, and loads.
async fn load(config: EdgeConfig) -> anyhow::Result<(EdgeConfig, Edge)> {
    let config = with_model_here(config, Report::Log).await?;
    let config = planned(config, Patience::Wait).await?;
    let edge = Edge::load(&config, |_| {}).await?;
    Ok((config, edge))
}

async fn serve_loaded(
    config: &EdgeConfig,
    edge: Arc<Edge>,
    port: &DataPort,
    drain: &Drain,
    health: &Health,
    listeners: Listeners,
) -> anyhow::Result<()> {
    let door = Door {
        edge: Arc::clone(&edge),
        drain: drain.signal(),
    };
    let generation = GenerationServiceServer::new(Generation(door.clone()))
        .max_decoding_message_size(config.transport.max_message.as_usize());
    let address = listeners.grpc.local_addr()?;
    let serving = grpc::server_builder(&config.transport)
        .layer(port.authenticate())
        .add_service(generation)
        .add_service(health.server())
        .add_service(reflection::v1(FILE_DESCRIPTOR_SET, SERVICE_NAME)?)
        .add_service(reflection::v1alpha(FILE_DESCRIPTOR_SET, SERVICE_NAME)?)
        .serve_with_incoming_shutdown(port.incoming(listeners.grpc), drain.signal().closing());
    let openai_serving = async {
        match listeners.openai {
            Some(listener) => openai::serve(door, &config.transport, port, listener).await,
            None => Ok(()),
        }
    };
    tracing::info!(
        %address,
        tls = port.is_tls(),
        tokens = port.asks_for_tokens(),
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
        served = async { tokio::try_join!(serving, openai_serving) } => {
            served?;
        }
        () = ended => {}
        () = tidy(&edge) => {}
        () = watch(&edge, health, SERVICE_NAME) => {}
    }
    Ok(())
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
