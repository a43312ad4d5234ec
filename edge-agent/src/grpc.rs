//! The client API over gRPC: `chat_call` reads what a chat asks for, and `said` tells the parts of its answers apart.

pub(crate) mod chat_call;
pub(crate) mod said;

use crate::answer::AnswerEvent;
use crate::answer_service::{AnswerService, Call};
use crate::conversation::Conversation;
use crate::error::{AnswerError, RequestError};
use crate::opening::Opening;
use crate::parts::Splitter;
use crate::request::Terms;
use crate::several::{self, MAX_ANSWERS, Several};
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use said::Parts;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use tandem_proto::v1;
use tandem_proto::v1::generation_service_server::{
    GenerationService, GenerationServiceServer, SERVICE_NAME,
};
use tandem_transport::auth::Peer;
use tandem_transport::timeout;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tower::Service;

/// The API behind an [`Opening`].
#[derive(Debug, Clone)]
pub struct Gate {
    /// What will be served.
    pub opening: Opening,
    /// The largest message accepted, in bytes.
    pub max_message: usize,
}

impl NamedService for Gate {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for Gate {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match self.opening.service() {
            Ok(service) => {
                let mut server = GenerationServiceServer::new(Generation(service.clone()))
                    .max_decoding_message_size(self.max_message);
                server.call(request)
            }
            Err(error) => Box::pin(ready(Ok(Status::from(error).into_http()))),
        }
    }
}

/// The API of an [`AnswerService`].
#[derive(Debug, Clone)]
struct Generation(AnswerService);

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Generation {
    /// Begins the answers to a call, once it is read: their events by their numbers, the parts told apart that are to be.
    async fn begin(
        &self,
        name: &'static str,
        metadata: &MetadataMap,
        reading: impl Future<Output = Result<(Several, Option<Splitter>), AnswerError>>,
    ) -> Result<Events<(u32, AnswerEvent)>, Status> {
        let headers = metadata.as_ref();
        let reading = async {
            let (several, splitter) = reading.await?;
            let parts = Parts::new(several.count(), splitter);
            Ok((several, parts))
        };
        let begun = several::begin(&self.0, Call { name, headers }, reading).await;
        let (events, mut parts) = begun?;
        let told = events.flat_map(move |(number, event)| {
            let answer = u32::try_from(number).unwrap_or(u32::MAX);
            let events = match event {
                Ok(event) => (parts.told(number, event).into_iter())
                    .map(|event| Ok((answer, event)))
                    .collect(),
                Err(error) => vec![Err(Status::from(error))],
            };
            stream::iter(events)
        });
        Ok(Box::pin(told))
    }
}

#[tonic::async_trait]
impl GenerationService for Generation {
    type GenerateStream = Events<v1::GenerateResponse>;
    type ChatStream = Events<v1::ChatResponse>;

    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        use v1::generate_request::Input;
        use v1::generate_response::Event;
        let (metadata, extensions, request) = request.into_parts();
        let peer = Peer::of(&extensions);
        let reading = async {
            let deadline = deadline(&metadata)?;
            let answers = answers(request.answers)?;
            let terms = Terms {
                sampling: request.sampling,
                max_tokens: request.max_tokens,
                stop: request.stop,
                constraint: request.constraint,
                cache_salt: request.cache_salt,
                tells_steps: request.tells_steps,
                ..Terms::default()
            };
            let prompt = match request.input {
                Some(Input::Prompt(text)) => self.0.edge.text_ids(text).await?,
                Some(Input::TokenIds(ids)) => ids.ids,
                None => return Err(RequestError::Prompt("is absent").into()),
            };
            let several = Several {
                deadline,
                ..Several::new(peer, vec![prompt], answers, terms)
            };
            Ok((several, None))
        };
        let events = self.begin("generate", &metadata, reading).await?;
        let responses = events.map(|event| {
            let (answer, event) = event?;
            let event = Some(match event {
                AnswerEvent::Started(started) => Event::Started(started),
                AnswerEvent::Delta(delta) => Event::Delta(delta),
                AnswerEvent::Step(step) => Event::Step(*step),
                AnswerEvent::Finished(finished) => Event::Finished(finished),
            });
            Ok(v1::GenerateResponse { event, answer })
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn chat(
        &self,
        request: Request<v1::ChatRequest>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let peer = Peer::of(&extensions);
        let reading = async {
            let deadline = deadline(&metadata)?;
            let answers = answers(request.answers)?;
            let read = chat_call::read(&self.0.edge, request).await?;
            let several = Several {
                deadline,
                ..Several::new(peer, vec![read.prompt], answers, read.terms)
            };
            Ok((several, read.parts))
        };
        let events = self.begin("chat", &metadata, reading).await?;
        let responses = events.map(|event| {
            let (answer, event) = event?;
            let event = Some(event.into());
            Ok(v1::ChatResponse { event, answer })
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn tokenize(
        &self,
        request: Request<v1::TokenizeRequest>,
    ) -> Result<Response<v1::TokenizeResponse>, Status> {
        use v1::tokenize_request::Input;
        let ids = match request.into_inner().input {
            Some(Input::Text(text)) => self.0.edge.text_ids(text).await?,
            Some(Input::Chat(chat)) => {
                let conversation = Conversation::new(chat.messages, &chat.tools);
                let conversation = conversation.map_err(AnswerError::from)?;
                self.0.edge.prompt_of(conversation).await?.ids
            }
            None => return Err(AnswerError::from(RequestError::NoInput).into()),
        };
        let spelled = |&id: &u32| {
            self.0
                .edge
                .answers
                .tokenizer
                .id_to_token(id)
                .unwrap_or_default()
        };
        let tokens = ids.iter().map(spelled).collect();
        Ok(Response::new(v1::TokenizeResponse { ids, tokens }))
    }

    async fn get_model(
        &self,
        _: Request<v1::GetModelRequest>,
    ) -> Result<Response<v1::GetModelResponse>, Status> {
        Ok(Response::new(self.0.edge.describe().await))
    }
}

fn deadline(metadata: &MetadataMap) -> Result<Option<Instant>, AnswerError> {
    let deadline = timeout::deadline(metadata).map_err(RequestError::from);
    Ok(deadline?)
}

/// How many answers a call asks for.
fn answers(asked: u32) -> Result<usize, RequestError> {
    let answers = (asked as usize).max(1);
    if answers > MAX_ANSWERS {
        let why = format!("asks for {answers} answers, may ask for {MAX_ANSWERS}");
        return Err(RequestError::field("answers", why));
    }
    Ok(answers)
}
