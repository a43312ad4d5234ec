//! An edge's side of the split API.

use crate::cable::Cable;
use crate::model::{compute, model_directory};
use cloud_service::metrics::DATA_PORT;
use std::path::PathBuf;
use std::time::Duration;
use tandem_client::{
    CodecChoice, Dialer, DialerConfig, DraftModel, FrontHalf, ReplayTerms, SessionLimits,
    SplitClient,
};
use tandem_codec::Codec;
use tandem_config::ByteSize;
use tandem_config::address::Addresses;
use tandem_engine::{Engine, EngineOptions, Front, ModelFiles};
use tandem_model::ModelError;
use tandem_shape::Fingerprint;
use tandem_text::Tokenizer;
use tandem_transport::connections::ConnectionsConfig;
use tandem_transport::grpc::TransportConfig;
use tandem_transport::tls::ClientTlsSettings;

/// What a test may want otherwise.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// Layers that run here.
    pub split: usize,
    /// For how long answers try to go on, and how often.
    pub replay: ReplayTerms,
    /// The most drafts on their way, and in one message.
    pub drafts: (usize, usize),
    /// The model drafts for itself, whole, and keeps sessions of ended answers for so long.
    pub draft_model: Option<Duration>,
    /// The most bytes of the beginnings that are kept for later prompts.
    pub prefix_memory: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            split: 1,
            replay: ReplayTerms {
                within: Duration::from_secs(60),
                attempts: 30,
                only_exact: false,
            },
            drafts: (0, 1),
            draft_model: None,
            prefix_memory: 0,
        }
    }
}

/// A client at the end of a cable, which writes its rows as they are.
pub async fn client(cable: &Cable, options: ClientOptions) -> SplitClient {
    client_of_many(&[cable], options).await
}

/// The same at the ends of several, each of which leads to a cloud of its own.
pub async fn client_of_many(cables: &[&Cable], options: ClientOptions) -> SplitClient {
    let files = ModelFiles::open(&model_directory()).expect("the fixture is there");
    let tokenizer = Tokenizer::load(&model_directory()).expect("so is its tokenizer");
    let (config, identity) = (files.config.clone(), files.identity);
    let split = options.split;
    let mut page_bytes = Some(0);
    let mut engine = None;
    if split > 0 {
        let front = files.front(split, &compute(), |_| {});
        let front: Front = front.expect("it can be loaded");
        page_bytes = front.page_bytes();
        let load = move || Ok::<_, ModelError>(front);
        let started = Engine::start("front", EngineOptions::new(1), load).await;
        engine = Some(started.expect("it starts"));
    }
    let draft_model = match options.draft_model {
        Some(idle_ttl) => Some(draft_model(&files, idle_ttl).await),
        None => None,
    };
    let front = FrontHalf {
        engine,
        split,
        config,
        identity,
        tokenizer: Fingerprint(tokenizer.fingerprint()),
        profile: None,
        page_bytes,
        is_reproducible: true,
        draft_model,
    };
    let limits = SessionLimits {
        chunk_rows: 16,
        frame_bytes: 4096,
        context: 0,
        replay: options.replay,
        prefix_memory: options.prefix_memory,
        drafts: options.drafts.0,
        drafts_a_message: options.drafts.1,
        drafts_memory: 1 << 20,
    };
    let choice = CodecChoice::fixed(Codec::F32);
    let client = SplitClient::new(front, dialer(cables).await, choice, limits);
    client.expect("channels are there already")
}

/// The model as one that drafts.
async fn draft_model(files: &ModelFiles, idle_ttl: Duration) -> DraftModel {
    let back = files.back(0, &compute(), |_| {});
    let back = back.expect("it can be loaded");
    let weight_bytes = back.weight_bytes();
    let load = move || Ok::<_, ModelError>(back);
    let engine = Engine::start("draft-model", EngineOptions::new(1), load).await;
    let engine = engine.expect("it starts");
    let model = DraftModel::new(engine, files.config.clone(), weight_bytes, idle_ttl).await;
    model.expect("it runs")
}

async fn dialer(cables: &[&Cable]) -> Dialer {
    let transport = TransportConfig {
        keepalive_interval: Duration::from_secs(20).into(),
        keepalive_timeout: Duration::from_secs(10).into(),
        max_connection_age: Duration::ZERO.into(),
        stream_window: ByteSize::mib(4),
        connection_window: ByteSize::mib(16),
        max_message: ByteSize::mib(4),
        connections: ConnectionsConfig::default(),
    };
    let clouds = vec!["http://cloud:1"; cables.len()].join(",");
    let config = DialerConfig {
        clouds: &Addresses::from(clouds.as_str()),
        transport,
        tls: &ClientTlsSettings::default(),
        token: &PathBuf::new(),
        connect_timeout: Duration::from_secs(3),
        frame_bytes: 4096,
        reloads: DATA_PORT.reloads,
    };
    let channels = cables.iter().map(|cable| cable.channel()).collect();
    let dialer = Dialer::over(channels, config).await;
    dialer.expect("no token is shown")
}
