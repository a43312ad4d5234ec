//! The client API over gRPC.

use crate::answer::AnswerEvent;
use crate::door::{Asked, Called, Door};
use crate::request::Terms;
use std::pin::Pin;
use tandem_proto::v1;
use tandem_proto::v1::generation_service_server::GenerationService;
use tandem_shape::Reason;
use tandem_status::bad_request;
use tandem_transport::auth::Peer;
use tandem_transport::timeout;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// Serves an [`Edge`](crate::edge::Edge).
#[derive(Debug, Clone)]
pub struct Generation(pub Door);

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
        };
        let input = request.input;
        let called = Called {
            name: "generate",
            headers: metadata.as_ref(),
        };
        let asked = async {
            Ok(Asked {
                peer,
                deadline: deadline(&metadata)?,
                prompt: match input {
                    Some(v1::generate_request::Input::Prompt(text)) => {
                        self.0.edge.text_ids(text).await?
                    }
                    Some(v1::generate_request::Input::TokenIds(ids)) => ids.ids,
                    None => return Err(bad_request(Reason::Prompt, [("prompt", "is absent")])),
                },
                terms,
            })
        };
        let events = self.0.begin(called, asked).await?;
        use v1::generate_response::Event;
        let stream = events.map(|event| {
            let event = match event? {
                AnswerEvent::Started(started) => Event::Started(started),
                AnswerEvent::Delta(delta) => Event::Delta(delta),
                AnswerEvent::Finished(finished) => Event::Finished(finished),
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
        };
        let messages = request.messages;
        let called = Called {
            name: "chat",
            headers: metadata.as_ref(),
        };
        let asked = async {
            Ok(Asked {
                peer,
                deadline: deadline(&metadata)?,
                prompt: self.0.edge.chat_ids(messages).await?,
                terms,
            })
        };
        let events = self.0.begin(called, asked).await?;
        use v1::chat_response::Event;
        let stream = events.map(|event| {
            let event = match event? {
                AnswerEvent::Started(started) => Event::Started(started),
                AnswerEvent::Delta(delta) => Event::Delta(delta),
                AnswerEvent::Finished(finished) => Event::Finished(finished),
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
            None => return Err(bad_request(Reason::Input, [("input", "is absent")])),
        };
        let spelled = |&id: &u32| self.0.edge.tokenizer.id_to_token(id).unwrap_or_default();
        let tokens = ids.iter().map(spelled).collect();
        Ok(Response::new(v1::TokenizeResponse { ids, tokens }))
    }

    async fn get_model(
        &self,
        _: Request<v1::GetModelRequest>,
    ) -> Result<Response<v1::GetModelResponse>, Status> {
        let edge = &self.0.edge;
        let cloud = edge.link.describe().await.ok();
        let count = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        Ok(Response::new(v1::GetModelResponse {
            model: Some(edge.description()),
            split: count(edge.split),
            codec: edge.codec.name().to_owned(),
            context: cloud.as_ref().map_or(0, |cloud| count(edge.context(cloud))),
            cloud_reachable: cloud.is_some(),
            edge: edge.held(),
            cloud: cloud.and_then(|cloud| cloud.held.clone()),
            default_sampling: Some(edge.sampling.parameters().clone()),
        }))
    }
}

fn deadline(metadata: &MetadataMap) -> Result<Option<Instant>, Status> {
    timeout::deadline(metadata)
        .map_err(|error| bad_request(Reason::Timeout, [("grpc-timeout", error.to_string())]))
}
