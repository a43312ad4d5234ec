//! Starts everything, in the order in which it depends on each other, and ends it.

use crate::answer_service::AnswerService;
use crate::cloud_watch::watch;
use crate::config::{EdgeConfig, OpenAiConfig};
use crate::edge::{Edge, with_model_here};
use crate::grpc::Gate;
use crate::metrics::{
    BUILD_INFO, CATALOGUE, DATA_PORT, ENGINE_STALLED, TRACES, UPLINK_BYTES, VERSION,
};
use crate::openai;
use crate::opening::Opening;
use crate::plan::drafts::Keeper;
use crate::plan::start::{Patience, Planned, planned};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tandem_client::{SessionPool, SplitClient};
use tandem_model_source::ProgressTo;
use tandem_proto::v1::FILE_DESCRIPTOR_SET;
use tandem_proto::v1::generation_service_server::SERVICE_NAME;
use tandem_server::drain::{Drain, DrainSignal};
use tandem_server::health::Health;
use tandem_server::serve::{Program, Started};
use tandem_server::watchdog::watch_engine;
use tandem_transport::data_port::DataPort;
use tandem_transport::grpc::{self, TransportConfig};
use tandem_transport::reflection;
use tokio::net::TcpListener;

/// How often idle sessions are looked after and gauges published.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// What traces call this program.
pub const SERVICE: &str = "edge-agent";

/// This server.
const PROGRAM: Program = Program {
    name: SERVICE,
    service: SERVICE_NAME,
    version: VERSION,
    metrics: CATALOGUE,
    build_info: BUILD_INFO,
    traces: TRACES,
    data_port: DATA_PORT,
};

/// Serves until a signal's drain has ended.
///
/// # Errors
/// When something cannot be started.
pub async fn serve(config: EdgeConfig) -> anyhow::Result<()> {
    let server = config.clone();
    tandem_server::serve::serve(PROGRAM, server.server(), async |started| {
        let openai_listener = match config.openai.address() {
            Some(address) => Some(grpc::bind(address).await?),
            None => None,
        };
        let Started {
            port,
            listener,
            health,
            drain,
        } = started;
        let opening = Opening::new(config.split.get().is_none());
        let served = Served {
            address: listener.local_addr()?,
            is_tls: port.is_tls(),
            asks_for_tokens: port.asks_for_tokens(),
        };
        let clients = Clients {
            opening: opening.clone(),
            transport: config.transport.clone(),
            openai: config.openai.clone(),
            port,
            health: health.clone(),
            signal: drain.signal(),
        };
        let mut keeping = None;
        let ended = tokio::select! {
            served = clients.serve(listener, openai_listener) => served,
            worked = work(config, &opening, &drain, &health, served, &mut keeping) => worked,
        };
        if let Some((drafts, edge)) = &mut keeping {
            drafts.write(edge.client().draft_starts()).await;
        }
        ended
    })
    .await
}

/// What is served, for the log.
struct Served {
    address: SocketAddr,
    is_tls: bool,
    asks_for_tokens: bool,
}

/// Loads, opens both doors, and looks after what is idle until the drain has ended. Leaves in `keeping` what is to be told
/// of the edge's drafts when all has ended.
async fn work(
    config: EdgeConfig,
    opening: &Opening,
    drain: &Drain,
    health: &Health,
    served: Served,
    keeping: &mut Option<(Keeper, Arc<Edge>)>,
) -> anyhow::Result<()> {
    let Some((config, edge)) = drain.unless_drained(load(config, opening)).await? else {
        return Ok(());
    };
    let edge = Arc::new(edge);
    opening.open(AnswerService {
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
    let client = edge.client();
    let ended = async {
        drain.signal().draining().await;
        edge.answers.pool.close();
        drain.connections_closed().await;
    };
    let engine_lost = async {
        match &client.front().engine {
            Some(engine) => {
                let pulse = engine.pulse();
                watch_engine(
                    || pulse.turn(),
                    || edge.check_model(),
                    &config.engine,
                    health,
                    ENGINE_STALLED,
                )
                .await
            }
            // The cloud has all layers.
            None => std::future::pending().await,
        }
    };
    let drafts = Keeper::new(&config, client.front().identity);
    let (drafts, _) = keeping.insert((drafts, Arc::clone(&edge)));
    tokio::select! {
        () = ended => {}
        () = drafts.keep_of(client) => {}
        lost = engine_lost => return Err(lost.into()),
        () = tidy(&edge.answers.pool, client) => {}
        () = watch(client.clouds(), health, SERVICE_NAME) => {}
    }
    Ok(())
}

/// Plans where that is asked for, and loads.
async fn load(config: EdgeConfig, opening: &Opening) -> anyhow::Result<(EdgeConfig, Edge)> {
    let config = with_model_here(config, ProgressTo::Log).await?;
    let Planned { config, report } = planned(config, Patience::Wait).await?;
    opening.planned();
    let mut edge = Edge::load(&config, |_| {}).await?;
    edge.plan = report;
    Ok((config, edge))
}

/// What clients connect to, from the start: they are refused until the door opens.
struct Clients {
    opening: Opening,
    transport: TransportConfig,
    openai: OpenAiConfig,
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
                    let (config, transport) = (&self.openai, &self.transport);
                    openai::serve(opening, config, transport, &self.port, listener, closing).await
                }
                None => Ok(()),
            }
        };
        tokio::try_join!(serving, openai_serving)?;
        Ok(())
    }
}

/// Looks after what is idle.
async fn tidy(pool: &SessionPool, client: &SplitClient) {
    let mut interval = tokio::time::interval(TIDY_INTERVAL);
    loop {
        interval.tick().await;
        pool.prune();
        if let Some(model) = &client.front().draft_model {
            model.prune();
        }
        let loads = client
            .clouds()
            .links()
            .into_iter()
            .map(|link| link.uplink().load());
        let (in_flight, window) = loads.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        UPLINK_BYTES.gauge(&["in_flight"]).set(in_flight as f64);
        UPLINK_BYTES.gauge(&["window"]).set(window as f64);
    }
}
