//! Starts everything, in the order in which it depends on each other, and ends it.

use crate::cloud::{Cloud, Loaded};
use crate::config::CloudConfig;
use crate::metrics::{
    BUILD_INFO, CATALOGUE, DATA_PORT, DEPLOYMENT_INFO, ENGINE_STALLED, TRACES, VERSION,
    WEIGHT_BYTES, observe_step,
};
use crate::service::{Split, publish_kv};
use anyhow::Context as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tandem_engine::{Engine, EngineOptions, KvBudget, ModelFiles};
use tandem_model::ModelError;
use tandem_model_source::{ProgressTo, locate};
use tandem_proto::v1::FILE_DESCRIPTOR_SET;
use tandem_proto::v1::split_service_server::{SERVICE_NAME, SplitServiceServer};
use tandem_server::drain::DrainSignal;
use tandem_server::serve::{Program, Started};
use tandem_server::watchdog::watch_engine;
use tandem_text::Tokenizer;
use tandem_transport::{grpc, reflection};

/// How often gauges of memory are published.
const GAUGE_INTERVAL: Duration = Duration::from_millis(250);

/// This server.
const PROGRAM: Program = Program {
    name: "cloud-service",
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
pub async fn serve(config: CloudConfig) -> anyhow::Result<()> {
    tandem_server::serve::serve(PROGRAM, config.server(), async |started| {
        let loading = load(&config, started.drain.signal());
        if let Some(cloud) = started.drain.unless_drained(loading).await? {
            serve_loaded(&config, Arc::new(cloud), started).await?;
        }
        Ok(())
    })
    .await
}

async fn serve_loaded(
    config: &CloudConfig,
    cloud: Arc<Cloud>,
    started: Started,
) -> anyhow::Result<()> {
    let Started {
        port,
        listener,
        health,
        drain,
    } = started;
    let gauges = publish_gauges(Arc::clone(&cloud));
    let pulse = cloud.engine.pulse();
    let split = SplitServiceServer::new(Split(Arc::clone(&cloud)))
        .max_decoding_message_size(config.transport.max_message.as_usize());
    let address = listener.local_addr()?;
    let serving = grpc::server_builder(&config.transport)
        .layer(port.authenticate())
        .add_service(split)
        .add_service(health.server())
        .add_service(reflection::v1(FILE_DESCRIPTOR_SET, SERVICE_NAME)?)
        .add_service(reflection::v1alpha(FILE_DESCRIPTOR_SET, SERVICE_NAME)?)
        .serve_with_incoming_shutdown(port.incoming(listener), drain.signal().closing());
    health.set_all_serving();
    tracing::info!(
        %address,
        tls = port.is_tls(),
        tokens = port.asks_for_tokens(),
        metrics = %config.metrics_listen,
        "serving"
    );
    let lost = watch_engine(
        || pulse.turn(),
        || cloud.check_model(),
        &config.engine,
        &health,
        ENGINE_STALLED,
    );
    tokio::select! {
        served = serving => served?,
        () = drain.connections_closed() => {}
        () = gauges => {}
        lost = lost => return Err(lost.into()),
    }
    Ok(())
}

async fn load(config: &CloudConfig, drain: DrainSignal) -> anyhow::Result<Cloud> {
    let started = Instant::now();
    let model = config.model.clone();
    let part = config.part_of_model();
    let opened = tokio::task::spawn_blocking(move || {
        let located = locate(&model, part, ProgressTo::Log)?;
        let files = ModelFiles::open_part(&located.directory)?;
        let tokenizer = Tokenizer::load(&located.directory)?;
        anyhow::Ok((files, tokenizer, located.name))
    });
    let (files, tokenizer, own_name) = opened
        .await?
        .with_context(|| format!("cannot open the model {}", config.model.display()))?;
    let limit = files.config.max_context();
    anyhow::ensure!(
        config.sessions.context <= limit,
        "sessions.context is {}, the model attends over {limit} positions",
        config.sessions.context
    );
    let files = Arc::new(files);
    let budget = KvBudget::new(config.sessions.kv_memory.get());
    let first_layer = config.first_layer(&files);
    let compute = config.compute();
    let precision = files.precision(&compute)?;
    let loading = Arc::clone(&files);
    let loaded = Arc::new(OnceLock::new());
    let is_loaded = Arc::clone(&loaded);
    let options = EngineOptions {
        threads: config.thread_count(),
        step: config.engine.step.get(),
        observe: observe_step,
    };
    let engine = Engine::start("back", options, move || {
        let back = loading.back(first_layer, &compute, |_| {})?;
        let _ = is_loaded.set(Loaded::of(&back));
        Ok::<_, ModelError>(back)
    })
    .await
    .context("cannot load the model")?;
    let loaded = loaded
        .get()
        .context("the engine has not said what it loaded")?;
    tracing::info!(
        model = %config.model.display(),
        layers = %format!("{first_layer}..{}", files.config.layers),
        weights = %precision.weights,
        kv = %precision.kv(),
        backend = %config.backend,
        device = %config.device,
        threads = config.thread_count(),
        fingerprint = %format!("{:.16}", files.identity.to_string()),
        seconds = started.elapsed().as_secs_f64(),
        "loaded"
    );
    let cloud = Cloud::new(
        config,
        match &*config.name {
            "" => own_name,
            name => name.to_owned(),
        },
        &files,
        &tokenizer,
        (engine, loaded.clone()),
        budget,
        drain,
    )?;
    let layers = format!("{first_layer}-{}", cloud.held.end);
    let info = [&cloud.name, &layers, &cloud.held.weights, &cloud.held.kv];
    DEPLOYMENT_INFO.named_gauge(info).set(1.0);
    WEIGHT_BYTES.gauge(&[]).set(cloud.held.weight_bytes as f64);
    Ok(cloud)
}

async fn publish_gauges(cloud: Arc<Cloud>) {
    let mut interval = tokio::time::interval(GAUGE_INTERVAL);
    loop {
        interval.tick().await;
        publish_kv(&cloud);
    }
}
