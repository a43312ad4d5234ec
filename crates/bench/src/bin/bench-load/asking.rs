//! One answer: through an edge, as its clients get it, or from the cloud, by an edge of split 0 in this process.

use crate::recording::Player;
use anyhow::Result;
use std::path::Path;
use std::time::{Duration, Instant};
use tandem_client::{
    Asked, Asker, CodecChoice, Dialer, DialerConfig, FrontHalf, Generation, Kept, ReplayTerms,
    Session, SessionError, SessionLimits, SplitClient,
};
use tandem_codec::Codec;
use tandem_config::address::Addresses;
use tandem_engine::ModelFiles;
use tandem_proto::v1::{self, generate_response::Event};
use tandem_telemetry::metrics::{Kind, Metric, Unit};
use tandem_telemetry::traces::Span;
use tandem_tests::client::{Client, ids_request};
use tandem_text::Tokenizer;
use tandem_transport::auth::Owner;
use tandem_transport::grpc::TransportConfig;
use tandem_transport::tls::ClientTlsSettings;
use tonic::Status;

/// Counts files that are read again, which nobody looks at here.
const RELOADS: Metric = Metric {
    name: "bench_reloads_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    labels: &[],
    help: "",
};

/// Where answers come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// An edge.
    Edge(Client),
    /// A cloud.
    Cloud(SplitClient),
    /// A cloud, which is sent what a file has.
    Recorded(Player),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) prompt: Vec<u32>,
    pub(crate) tokens: u32,
    /// How many tokens of it are taken.
    pub(crate) give_up_behind: Option<u32>,
}

/// How an answer was.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) prompt_tokens: usize,
    /// When each token came.
    pub(crate) tokens: Vec<Instant>,
    pub(crate) ids: Vec<u32>,
    /// What it waited for in the cloud.
    pub(crate) queue: Duration,
    pub(crate) replays: u32,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    pub(crate) given_up: bool,
}

/// What is left of an answer for the next turn.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<Session>);

impl Source {
    /// An edge at an address.
    pub(crate) async fn edge(url: &str) -> Result<Self> {
        Ok(Self::Edge(Client::connect(url).await?))
    }

    /// An edge of split 0 in this process, with this token.
    pub(crate) async fn cloud(url: &str, model: &Path, token: &Path) -> Result<Self> {
        let files = ModelFiles::open_part(model)?;
        let tokenizer = Tokenizer::load(model)?;
        let front = FrontHalf {
            engine: None,
            split: 0,
            config: files.config.clone(),
            identity: files.identity,
            tokenizer: tandem_shape::Fingerprint(tokenizer.fingerprint()),
            profile: None,
            page_bytes: Some(0),
            is_reproducible: true,
            draft_model: None,
        };
        let transport = TransportConfig {
            keepalive_interval: Duration::from_secs(20).into(),
            keepalive_timeout: Duration::from_secs(10).into(),
            max_connection_age: Duration::ZERO.into(),
            stream_window: tandem_config::ByteSize::mib(4),
            connection_window: tandem_config::ByteSize::mib(16),
            max_message: tandem_config::ByteSize::mib(4),
            connections: tandem_transport::connections::ConnectionsConfig::default(),
        };
        let frame_bytes = 16 << 10;
        let dialer = Dialer::new(DialerConfig {
            clouds: &Addresses::from(url),
            transport,
            tls: &ClientTlsSettings::default(),
            token: &token.to_owned(),
            connect_timeout: Duration::from_secs(5),
            frame_bytes,
            reloads: RELOADS,
        })
        .await?;
        let limits = SessionLimits {
            chunk_rows: 64,
            frame_bytes,
            context: 0,
            replay: ReplayTerms {
                within: Duration::from_secs(60),
                attempts: 30,
                only_exact: false,
            },
            prefix_memory: 0,
            drafts: 0,
            drafts_a_message: 1,
            drafts_memory: 0,
        };
        let choice = CodecChoice::fixed(Codec::F32);
        Ok(Self::Cloud(SplitClient::new(
            front, dialer, choice, limits,
        )?))
    }

    /// Asks, and takes the answer.
    pub(crate) async fn ask(&self, question: &Question, held: &mut Held) -> Answered {
        let mut answered = Answered {
            prompt_tokens: question.prompt.len(),
            ..Answered::default()
        };
        let ended = match self {
            Self::Edge(client) => through_edge(client.clone(), question, &mut answered).await,
            Self::Cloud(client) => from_cloud(client, question, held, &mut answered).await,
            Self::Recorded(player) => player.ask(question, &mut answered).await.map_err(said),
        };
        answered.failure = ended.err();
        answered
    }
}

impl Answered {
    /// Takes note of tokens. Returns true when the question wants no more tokens.
    pub(crate) fn took(&mut self, ids: &[u32], question: &Question) -> bool {
        let now = Instant::now();
        self.tokens.extend(ids.iter().map(|_| now));
        self.ids.extend(ids);
        let enough = |most: u32| self.ids.len() >= most as usize;
        self.given_up = question.give_up_behind.is_some_and(enough);
        self.given_up
    }
}

/// A status, in a word.
fn said(status: Status) -> String {
    let reason = tandem_status::reason(&status);
    reason.unwrap_or_else(|| format!("{:?}", status.code()))
}

async fn through_edge(
    mut client: Client,
    question: &Question,
    answered: &mut Answered,
) -> Result<(), String> {
    let request = ids_request(&question.prompt, question.tokens);
    let mut stream = client
        .raw()
        .generate(request)
        .await
        .map_err(said)?
        .into_inner();
    while let Some(response) = stream.message().await.map_err(said)? {
        match response.event {
            Some(Event::Delta(delta)) if answered.took(&delta.token_ids, question) => return Ok(()),
            Some(Event::Finished(finished)) => {
                answered.replays = finished.replays;
                let timings = finished.timings.unwrap_or_default();
                answered.queue = Duration::from_secs_f64(timings.cloud_queue_seconds.max(0.0));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn from_cloud(
    client: &SplitClient,
    question: &Question,
    held: &mut Held,
    answered: &mut Answered,
) -> Result<(), String> {
    let said = |error: SessionError| match &error {
        SessionError::Cloud(tandem_client::CloudError::Status(status)) => {
            let code = || format!("{:?}", status.code);
            status.reason.clone().unwrap_or_else(code)
        }
        other => other.to_string(),
    };
    let asked = Asked {
        asker: Asker {
            owner: Owner::Unknown,
            salt: String::new(),
        },
        prompt: question.prompt.clone(),
        run: v1::Run {
            max_tokens: question.tokens,
            sampling: Some(tandem_tests::client::greedy_parameters()),
            ..v1::Run::default()
        },
        needs_token_ids: false,
        deadline: None,
    };
    let kept = held.0.take().map(|session| Kept {
        shared: session
            .tokens()
            .iter()
            .zip(&question.prompt)
            .take_while(|(a, b)| a == b)
            .count(),
        session,
    });
    let cloud = client.choose(&asked.asker, &asked.prompt).await;
    let cloud = cloud.map_err(|error| said(error.into()))?;
    let span = Span::default();
    let begun = Generation::begin(client, asked, kept, cloud, &span).await;
    let (mut generation, mut tokens) = begun.map_err(said)?;
    loop {
        let ended = tokens.finish_reason != i32::from(v1::FinishReason::Unspecified);
        if answered.took(&tokens.ids, question) && !ended {
            // Half of them end the answer, the others their session.
            if answered.ids.len().is_multiple_of(2) {
                generation.end_early(0).await;
                break;
            }
            answered.queue = generation.usage().cloud_queue;
            return Ok(());
        }
        if ended {
            break;
        }
        let rows = generation.begin_rows().await;
        tokens = generation.next(rows, &span).await.map_err(said)?;
    }
    answered.queue = generation.usage().cloud_queue;
    answered.replays = generation.replays();
    held.0 = generation.into_session();
    Ok(())
}
