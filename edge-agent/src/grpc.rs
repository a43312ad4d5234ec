//! The client API over gRPC.

use crate::answer::AnswerEvent;
use crate::answer_service::{AnswerService, Call, ClientRequest};
use crate::error::{AnswerError, RequestError};
use crate::opening::Opening;
use crate::request::Terms;
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
use tokio_stream::{Stream, StreamExt as _};
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

#[tonic::async_trait]
impl GenerationService for Generation {
    type GenerateStream = Events<v1::GenerateResponse>;
    type ChatStream = Events<v1::ChatResponse>;

    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let peer = Peer::of(&extensions);
        let terms = Terms {
            sampling: request.sampling,
            max_tokens: request.max_tokens,
            stop: request.stop,
            constraint: request.constraint,
            cache_salt: request.cache_salt,
            ..Terms::default()
        };
        let input = request.input;
        let call = Call {
            name: "generate",
            headers: metadata.as_ref(),
        };
        let reading = async {
            Ok(ClientRequest {
                peer,
                deadline: deadline(&metadata)?,
                ends: None,
                prompt: match input {
                    Some(v1::generate_request::Input::Prompt(text)) => {
                        self.0.edge.text_ids(text).await?
                    }
                    Some(v1::generate_request::Input::TokenIds(ids)) => ids.ids,
                    None => return Err(RequestError::Prompt("is absent").into()),
                },
                terms,
            })
        };
        let events = self.0.begin(call, reading).await?;
        use v1::generate_response::Event;
        let stream = events.map(|event| {
            let event = match event? {
                AnswerEvent::Started(started) => Event::Started(started),
                AnswerEvent::Delta(delta) => Event::Delta(delta),
                AnswerEvent::Finished(finished) => Event::Finished(finished),
                // Nobody asks for them here.
                AnswerEvent::Step(_) => return Ok(v1::GenerateResponse::default()),
            };
            Ok(v1::GenerateResponse { event: Some(event) })
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn chat(
        &self,
        request: Request<v1::ChatRequest>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let peer = Peer::of(&extensions);
        let terms = Terms {
            sampling: request.sampling,
            max_tokens: request.max_tokens,
            stop: request.stop,
            constraint: request.constraint,
            cache_salt: request.cache_salt,
            ..Terms::default()
        };
        let messages = request.messages;
        let call = Call {
            name: "chat",
            headers: metadata.as_ref(),
        };
        let reading = async {
            Ok(ClientRequest {
                peer,
                deadline: deadline(&metadata)?,
                ends: None,
                prompt: self.0.edge.chat_ids(messages).await?,
                terms,
            })
        };
        let events = self.0.begin(call, reading).await?;
        use v1::chat_response::Event;
        let stream = events.map(|event| {
            let event = match event? {
                AnswerEvent::Started(started) => Event::Started(started),
                AnswerEvent::Delta(delta) => Event::Delta(delta),
                AnswerEvent::Finished(finished) => Event::Finished(finished),
                // Nobody asks for them here.
                AnswerEvent::Step(_) => return Ok(v1::ChatResponse::default()),
            };
            Ok(v1::ChatResponse { event: Some(event) })
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn tokenize(
        &self,
        request: Request<v1::TokenizeRequest>,
    ) -> Result<Response<v1::TokenizeResponse>, Status> {
        use v1::tokenize_request::Input;
        let ids = match request.into_inner().input {
            Some(Input::Text(text)) => self.0.edge.text_ids(text).await?,
            Some(Input::Chat(chat)) => self.0.edge.chat_ids(chat.messages).await?,
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
