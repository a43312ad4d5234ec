//! The client API over gRPC.

use crate::answer::{AnswerEvent, answer};
use crate::edge::Edge;
use crate::metrics::{FAILURES, code_label};
use crate::request::{Terms, answer_request, chat_ids, text_ids};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;
use tandem_proto::v1;
use tandem_proto::v1::generation_service_server::GenerationService;
use tandem_service::auth::Peer;
use tandem_service::drain::{DrainSignal, WorkGuard};
use tandem_service::status::{bad_request, failure, unavailable};
use tandem_service::timeout;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

/// Events that may wait for a client to read them; its answer waits when it does not.
const WAITING_EVENTS: usize = 64;

/// Serves an [`Edge`].
#[derive(Debug, Clone)]
pub struct Generation {
    /// What is served.
    pub edge: Arc<Edge>,
    /// The end of it all.
    pub drain: DrainSignal,
}

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
        let events = self.begin(&metadata, peer, terms, |edge| match &input {
            Some(v1::generate_request::Input::Prompt(text)) => text_ids(edge, text),
            Some(v1::generate_request::Input::TokenIds(ids)) => Ok(ids.ids.clone()),
            None => Err(bad_request("PROMPT", [("prompt", "is absent")])),
        })?;
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
        let events = self.begin(&metadata, peer, terms, |edge| chat_ids(edge, &messages))?;
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
            Some(Input::Text(text)) => text_ids(&self.edge, &text)?,
            Some(Input::Chat(chat)) => chat_ids(&self.edge, &chat.messages)?,
            None => return Err(bad_request("INPUT", [("input", "is absent")])),
        };
        let spelled = |&id: &u32| self.edge.tokenizer.id_to_token(id).unwrap_or_default();
        let tokens = ids.iter().map(spelled).collect();
        Ok(Response::new(v1::TokenizeResponse { ids, tokens }))
    }

    async fn get_model(
        &self,
        _: Request<v1::GetModelRequest>,
    ) -> Result<Response<v1::GetModelResponse>, Status> {
        let edge = &self.edge;
        let cloud = edge.link.describe().await.ok();
        let count = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        Ok(Response::new(v1::GetModelResponse {
            model: Some(edge.description()),
            split: count(edge.split),
            codec: edge.codec.name().to_owned(),
            context: cloud.as_ref().map_or(0, |cloud| count(edge.context(cloud))),
            cloud_reachable: cloud.is_some(),
        }))
    }
}

impl Generation {
    /// Checks a request and begins its answer. Everything that is wrong with the request itself is
    /// said before the stream begins.
    fn begin(
        &self,
        metadata: &MetadataMap,
        peer: Peer,
        terms: Terms,
        prompt: impl FnOnce(&Edge) -> Result<Vec<u32>, Status>,
    ) -> Result<ReceiverStream<Result<AnswerEvent, Status>>, Status> {
        let checked = || {
            let work = self
                .drain
                .work()
                .map_err(|_| unavailable("DRAINING", "the edge is shutting down", None))?;
            let deadline = timeout::deadline(metadata)
                .map_err(|error| bad_request("TIMEOUT", [("grpc-timeout", error.to_string())]))?;
            let prompt = prompt(&self.edge)?;
            let request = answer_request(&self.edge, prompt, terms, Instant::now())?;
            Ok((work, deadline, request))
        };
        let (work, deadline, request) = checked().inspect_err(count_failure)?;
        tracing::info!(%peer, prompt_tokens = request.prompt.len(), "answer begun");
        let (events, stream) = mpsc::channel(WAITING_EVENTS);
        let (edge, closing) = (Arc::clone(&self.edge), self.drain.closing());
        // The task ends with the answer, its deadline, its client, or the drain.
        tokio::spawn(async move {
            let _work: WorkGuard = work;
            let until = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                ended = answer(&edge, request, &events) => ended,
                () = until => Err(failure(
                    Code::DeadlineExceeded,
                    "DEADLINE",
                    "the deadline passed before the answer's end",
                )),
                () = events.closed() => Err(Status::cancelled("the client went away")),
                () = closing => Err(unavailable("DRAINING", "the edge is shutting down", None)),
            };
            if let Err(status) = ended {
                count_failure(&status);
                tracing::debug!(%peer, code = ?status.code(), message = status.message(), "answer failed");
                let _ = events.send(Err(status)).await;
            }
        });
        Ok(ReceiverStream::new(stream))
    }
}

fn count_failure(status: &Status) {
    FAILURES.counter(&[code_label(status.code())]).increment(1);
}
