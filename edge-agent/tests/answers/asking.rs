//! An edge at the end of a cable, and a client of it.

use edge_agent::answer::AnswerEvent;
use edge_agent::answer_service::{AnswerService, AnswerStream, Call, ClientRequest};
use edge_agent::config::{DEFAULTS, EdgeConfig};
use edge_agent::edge::Edge;
use edge_agent::error::AnswerError;
use edge_agent::request::Terms;
use std::sync::Arc;
use tandem_client::Dialer;
use tandem_config::Layers;
use tandem_in_process::{Cable, LocalCloud, WholeModel, demanding, model_directory};
use tandem_proto::v1;
use tandem_server::drain::Drain;
use tandem_server::health::Health;
use tandem_text::{Detokenizer, Tokenizer};
use tandem_transport::auth::Peer;
use tokio_stream::StreamExt as _;
use tonic::codegen::http::HeaderMap;

pub(crate) const PROMPT: [u32; 5] = [40, 41, 42, 43, 44];

/// A cloud with the shipped configuration.
pub(crate) async fn cloud() -> LocalCloud {
    LocalCloud::start(|_| {}).await
}

/// An edge that runs one layer.
#[derive(Debug)]
pub(crate) struct LocalEdge {
    pub(crate) service: AnswerService,
    pub(crate) drain: Drain,
}

impl LocalEdge {
    /// With the shipped configuration, but for what `change` says.
    pub(crate) async fn start(cable: &Cable, change: impl FnOnce(&mut EdgeConfig)) -> Self {
        let layers = Layers::new(DEFAULTS)
            .set("model", model_directory())
            .set("backend", "plain")
            .set("preset", "exact")
            .set("threads", 1)
            .set("split", 1);
        let mut config: EdgeConfig = layers.build().unwrap();
        change(&mut config);
        let dialer = Dialer::over(vec![cable.channel()], config.dialer());
        let edge = Edge::behind(dialer.await.unwrap(), &config, |_| {})
            .await
            .unwrap();
        let drain = Drain::new(config.drain_deadline.get(), Health::new(["test"]));
        Self {
            service: AnswerService {
                edge: Arc::new(edge),
                drain: drain.signal(),
            },
            drain,
        }
    }

    /// An edge of a cloud.
    pub(crate) async fn of(cloud: &LocalCloud) -> Self {
        Self::start(&cloud.cable(), |_| {}).await
    }

    /// Begins an answer.
    pub(crate) async fn begin(&self, request: ClientRequest) -> Result<Answer, AnswerError> {
        let headers = HeaderMap::new();
        let call = Call {
            name: "generate",
            headers: &headers,
        };
        let events = self.service.begin(call, async { Ok(request) }).await?;
        Ok(Answer {
            events,
            started: None,
            pieces: Vec::new(),
            tokens: Vec::new(),
            finished: None,
        })
    }

    /// An answer from its beginning to its end.
    pub(crate) async fn answer(&self, request: ClientRequest) -> Answer {
        let mut answer = self.begin(request).await.unwrap();
        answer.ends().await.unwrap();
        answer
    }
}

/// A request for so many tokens behind a prompt.
pub(crate) fn request(prompt: &[u32], tokens: u32) -> ClientRequest {
    ClientRequest {
        peer: Peer::default(),
        prompt: prompt.to_vec(),
        terms: Terms {
            sampling: Some(demanding()),
            max_tokens: Some(tokens),
            ..Terms::default()
        },
        deadline: None,
        ends: None,
    }
}

/// An answer, as far as it has come.
#[derive(Debug)]
pub(crate) struct Answer {
    events: AnswerStream,
    pub(crate) started: Option<v1::Started>,
    /// The text, as it was streamed.
    pub(crate) pieces: Vec<String>,
    pub(crate) tokens: Vec<u32>,
    pub(crate) finished: Option<v1::Finished>,
}

impl Answer {
    /// Takes the next event of the answer; false once the answer has ended.
    async fn next(&mut self) -> Result<bool, AnswerError> {
        let Some(event) = self.events.next().await else {
            return Ok(false);
        };
        match event? {
            AnswerEvent::Started(started) => self.started = Some(started),
            AnswerEvent::Step(_) => {}
            AnswerEvent::Delta(delta) => {
                self.pieces.push(delta.text);
                self.tokens.extend(delta.token_ids);
            }
            AnswerEvent::Finished(finished) => self.finished = Some(finished),
        }
        Ok(true)
    }

    /// Waits until it has so many tokens.
    pub(crate) async fn reaches(&mut self, count: usize) {
        while self.tokens.len() < count {
            assert!(self.next().await.unwrap(), "it has ended before");
        }
    }

    /// Waits for its end.
    pub(crate) async fn ends(&mut self) -> Result<(), AnswerError> {
        while self.next().await? {}
        Ok(())
    }

    /// The text so far.
    pub(crate) fn text(&self) -> String {
        self.pieces.concat()
    }

    /// How it ended.
    pub(crate) fn finished(&self) -> &v1::Finished {
        self.finished.as_ref().unwrap()
    }

    /// How many tokens of its prompt were there before.
    pub(crate) fn reused(&self) -> u32 {
        self.started.as_ref().unwrap().reused_tokens
    }
}

/// What the model in one piece says behind a prompt.
pub(crate) fn expected(prompt: &[u32], count: usize) -> Vec<u32> {
    WholeModel::load().answer(prompt, count)
}

/// The text of tokens behind a prompt, piece by piece, and what is left at the end.
pub(crate) fn text_of(prompt: &[u32], tokens: &[u32]) -> String {
    let tokenizer = Tokenizer::load(&model_directory()).unwrap();
    let mut detokenizer = Detokenizer::after_prompt(&tokenizer, prompt).unwrap();
    let pieces: Vec<String> = tokens
        .iter()
        .map(|&token| detokenizer.push(token).unwrap())
        .collect();
    pieces.concat() + &detokenizer.finish()
}
