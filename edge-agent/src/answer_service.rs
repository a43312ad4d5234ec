//! How an answer begins, whichever door its request came through: counted as work, checked, and handed to a
//! task that ends with its client, its deadline or the drain.

use crate::answer::AnswerEvent;
use crate::answer_log::{AnswerLog, refused};
use crate::edge::Edge;
use crate::error::AnswerError;
use crate::events::Events;
use crate::metrics::{FAILURES, code_label};
use crate::request::Terms;
use crate::request_span::{request_span, say_failure};
use std::sync::Arc;
use tandem_server::drain::{DrainSignal, WorkGuard};
use tandem_telemetry::traces::TraceContext;
use tandem_transport::auth::Peer;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::codegen::http::HeaderMap;
use tracing::Instrument as _;

/// Events that may wait for a client to read them; its answer waits when it does not.
const WAITING_EVENTS: usize = 64;

/// The events of an answer. Dropping it ends the answer and frees what it held in the cloud.
pub type AnswerStream = ReceiverStream<Result<AnswerEvent, AnswerError>>;

/// Begins answers; both doors have the same.
#[derive(Debug, Clone)]
pub struct AnswerService {
    /// What is served.
    pub edge: Arc<Edge>,
    /// The end of it all.
    pub drain: DrainSignal,
}

/// A call, before its request is read.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `generate`, `chat`, `completions` or `responses`: the name of the request's span.
    pub name: &'static str,
    /// HTTP's headers, or gRPC's metadata, which may name the caller's trace.
    pub headers: &'a HeaderMap,
}

/// A request, read from whatever it came in.
#[derive(Debug)]
pub struct ClientRequest {
    /// Who asks.
    pub peer: Peer,
    /// The token ids to go on from.
    pub prompt: Vec<u32>,
    /// The terms of the answer.
    pub terms: Terms,
    /// When the client stops waiting.
    pub deadline: Option<Instant>,
    /// When its answer ends though the client still waits.
    pub ends: Option<Instant>,
}

impl AnswerService {
    /// Waits for a request to be read, checks it and begins its answer. Everything that is wrong with
    /// the request itself is said before the stream begins, and counted.
    ///
    /// # Errors
    /// The edge drains, which is said before anything is read; what `reading` says; and terms that cannot
    /// be met.
    pub async fn begin(
        &self,
        call: Call<'_>,
        reading: impl Future<Output = Result<ClientRequest, AnswerError>>,
    ) -> Result<AnswerStream, AnswerError> {
        let reading = async { Ok((self.work()?, reading.await?)) };
        self.begin_as(call, reading).await
    }

    /// What keeps a drain waiting.
    ///
    /// # Errors
    /// The edge drains.
    pub(crate) fn work(&self) -> Result<WorkGuard, AnswerError> {
        self.drain.work().map_err(|_| AnswerError::Draining)
    }

    /// As [`AnswerService::begin`], as part of the work that `reading` names.
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn begin_as(
        &self,
        call: Call<'_>,
        reading: impl Future<Output = Result<(WorkGuard, ClientRequest), AnswerError>>,
    ) -> Result<AnswerStream, AnswerError> {
        let began = std::time::Instant::now();
        let caller = || TraceContext::of(call.headers);
        let mut span = request_span(call.name, began, caller);
        let checked = async {
            let (work, read) = reading.await?;
            let mut request = self.edge.check(read.terms, read.prompt, began)?;
            request.deadline = read.deadline.map(Instant::into_std);
            request.asker.owner = read.peer.person();
            let ends = [read.deadline, read.ends].into_iter().flatten().min();
            Ok((work, read.peer, ends, request))
        };
        let (work, peer, ends, request) = checked.await.inspect_err(|error: &AnswerError| {
            let status = Status::from(error);
            count_failure(&status);
            say_failure(&mut span, &status);
            refused(call.name, &status);
        })?;
        let log = span.log_span();
        log.in_scope(|| {
            tracing::info!(%peer, prompt_tokens = request.prompt.len(), "answer begun");
        });
        // And the last word, which never waits.
        let (events, stream) = mpsc::channel(WAITING_EVENTS + 1);
        let events = Events::new(events);
        let line = AnswerLog {
            peer,
            prompt_tokens: request.prompt.len(),
            began,
        };
        let (edge, closing) = (Arc::clone(&self.edge), self.drain.closing());
        // The task ends with the answer, its deadline, its client, or the drain.
        let making = async move {
            let _work: WorkGuard = work;
            let until = async {
                match ends {
                    Some(ends) => tokio::time::sleep_until(ends).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                ended = edge.answers.make(request, &events, &mut span) => ended,
                () = until => Err(AnswerError::Deadline),
                () = events.closed() => Err(AnswerError::ClientGone),
                () = closing => Err(AnswerError::Draining),
            };
            let Err(error) = ended else {
                line.end(&events, None);
                return;
            };
            let status = Status::from(&error);
            line.end(&events, Some(&status));
            count_failure(&status);
            say_failure(&mut span, &status);
            events.fail(error);
        };
        tokio::spawn(making.instrument(log));
        Ok(ReceiverStream::new(stream))
    }
}

/// Counts a request that was refused or failed.
pub(crate) fn count_failure(status: &Status) {
    FAILURES.counter(&[code_label(status.code())]).increment(1);
}
