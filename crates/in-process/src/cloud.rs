//! cloud-service in the process of a test.

use crate::cable::Cable;
use crate::faults::{Faults, FaultyBack};
use crate::model::{MODEL, compute, model_directory};
use cloud_service::cloud::{Cloud, Loaded};
use cloud_service::config::{CloudConfig, DEFAULTS};
use cloud_service::service::Split;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tandem_config::Layers;
use tandem_engine::{Engine, EngineOptions, KvBudget, ModelFiles};
use tandem_proto::v1::split_service_server::SplitServiceServer;
use tandem_server::drain::Drain;
use tandem_server::health::Health;
use tandem_text::Tokenizer;
use tandem_transport::auth::Peer;
use tandem_transport::grpc;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::service::InterceptorLayer;

/// Connections that may wait to be taken.
const WAITING: usize = 16;

/// How long a test waits for what takes no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cloud with the model in one piece, so that it serves every split.
#[derive(Debug)]
pub struct LocalCloud {
    /// What its streams share.
    pub cloud: Arc<Cloud>,
    /// What goes wrong in its engine.
    pub faults: Faults,
    /// Its end.
    pub drain: Drain,
    config: CloudConfig,
}

impl LocalCloud {
    /// Starts one with the shipped configuration, but for what `change` says.
    pub async fn start(change: impl FnOnce(&mut CloudConfig)) -> Self {
        let layers = Layers::new(DEFAULTS)
            .set("model", model_directory())
            .set("backend", "plain")
            .set("threads", 1);
        let mut config: CloudConfig = layers.build().expect("the shipped configuration");
        change(&mut config);
        let files = ModelFiles::open(&model_directory()).expect("the fixture is there");
        let tokenizer = Tokenizer::load(&model_directory()).expect("so is its tokenizer");
        let faults = Faults::default();
        let loaded = Arc::new(OnceLock::new());
        let (files, loading) = (Arc::new(files), Arc::clone(&loaded));
        let (of_engine, of_back) = (faults.clone(), Arc::clone(&files));
        let options = EngineOptions::new(1);
        let started = Engine::start_with("back", options, move || {
            let back = of_back.back(0, &compute(), |_| {})?;
            let _ = loading.set(Loaded::of(&back));
            Ok::<_, tandem_model::ModelError>(FaultyBack {
                back,
                faults: of_engine,
            })
        });
        let engine = started.await.expect("the model can be loaded");
        let loaded = loaded.get().expect("it is loaded").clone();
        let drain = Drain::new(config.drain_deadline.get(), Health::new(["test"]));
        let cloud = Cloud::new(
            &config,
            MODEL.to_owned(),
            &files,
            &tokenizer,
            (engine, loaded),
            KvBudget::new(config.sessions.kv_memory.get()),
            drain.signal(),
        );
        Self {
            cloud: Arc::new(cloud.expect("it can be served")),
            faults,
            drain,
            config,
        }
    }

    /// A cable to it from a process of this machine, which is known.
    pub fn cable(&self) -> Cable {
        let cable = Cable::local();
        cable.plug_in(self);
        cable
    }

    /// A cable to it from an address.
    pub fn cable_from(&self, address: &str) -> Cable {
        let cable = Cable::from(address);
        cable.plug_in(self);
        cable
    }

    /// Waits until all its streams have ended and no session has any memory.
    pub async fn is_free(&self) {
        let drain = self.drain.signal();
        until(|| drain.in_flight() == 0 && self.cloud.session_bytes() == 0).await;
    }

    /// Waits until no answer is under way in it.
    pub async fn rests(&self) {
        until(|| self.cloud.admission.running().0 == 0).await;
    }

    /// Where it takes the connections of a peer, and serves them as cloud-service does.
    pub(crate) fn connections(&self, peer: Peer) -> mpsc::Sender<DuplexStream> {
        let (connections, incoming) = mpsc::channel(WAITING);
        let transport = &self.config.transport;
        let split = SplitServiceServer::new(Split(Arc::clone(&self.cloud)))
            .max_decoding_message_size(transport.max_message.as_usize());
        let is_from = move |mut request: Request<()>| {
            request.extensions_mut().insert(peer.clone());
            Ok(request)
        };
        let serving = grpc::server_builder(transport)
            .layer(InterceptorLayer::new(is_from))
            .add_service(split)
            .serve_with_incoming_shutdown(
                ReceiverStream::new(incoming).map(io::Result::Ok),
                self.drain.signal().closing(),
            );
        // It ends with the cable.
        tokio::spawn(serving);
        connections
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.expect("it comes in no time");
}
