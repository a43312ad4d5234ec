//! How an answer begins, whichever way its request came: counted as work, checked, and handed to a
//! task that ends with its client, its deadline or the drain.

use crate::answer::{AnswerEvent, answer};
use crate::answer_log::{AnswerLog, refused};
use crate::edge::Edge;
use crate::events::Events;
use crate::metrics::{FAILURES, code_label};
use crate::request::{Terms, answer_request};
use crate::request_span::{request_span, say_failure};
use std::sync::Arc;
use tandem_server::drain::{DrainSignal, WorkGuard};
use tandem_shape::Reason;
use tandem_status::{failure, unavailable};
use tandem_telemetry::traces::TraceContext;
use tandem_transport::auth::Peer;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};
use tracing::Instrument as _;

/// Events that may wait for a client to read them; its answer waits when it does not.
const WAITING_EVENTS: usize = 64;

/// The events of an answer. Dropping it ends the answer and frees what it held in the cloud.
pub type AnswerStream = ReceiverStream<Result<AnswerEvent, Status>>;

/// What every way in has: what is served, and the end of it all.
#[derive(Debug, Clone)]
pub struct Door {
    /// What is served.
    pub edge: Arc<Edge>,
    /// The end of it all.
    pub drain: DrainSignal,
}

/// What was called, and with what around it.
#[derive(Debug, Clone, Copy)]
pub struct Called<'a> {
    /// `generate`, `chat` or `completions`: the name of the request's span.
    pub name: &'static str,
    /// HTTP's headers, or gRPC's metadata, which may name the caller's trace.
    pub headers: &'a HeaderMap,
}

/// A request, read from whatever it came in.
#[derive(Debug)]
pub struct Asked {
    /// Who asks.
    pub peer: Peer,
    /// The token ids to go on from.
    pub prompt: Vec<u32>,
    /// The terms of the answer.
    pub terms: Terms,
    /// When the client stops waiting.
    pub deadline: Option<Instant>,
}

impl Door {
    /// Waits for a request to be read, checks it and begins its answer. Everything that is wrong with
    /// the request itself is said before the stream begins, and counted.
    ///
    /// # Errors
    /// UNAVAILABLE while the edge drains, before anything is read; what `asked` says; and
    /// INVALID_ARGUMENT for terms that cannot be met.
    pub async fn begin(
        &self,
        called: Called<'_>,
        asked: impl Future<Output = Result<Asked, Status>>,
    ) -> Result<AnswerStream, Status> {
        let began = std::time::Instant::now();
        let caller = || TraceContext::of(called.headers);
        let mut span = request_span(called.name, began, caller);
        let checked = async {
            let work = self.drain.work().map_err(|_| draining())?;
            let asked = asked.await?;
            let request = answer_request(&self.edge, asked.prompt, asked.terms, began)?;
            Ok((work, asked.peer, asked.deadline, request))
        };
        let (work, peer, deadline, request) = checked.await.inspect_err(|status: &Status| {
            count_failure(status);
            say_failure(&mut span, status);
            refused(called.name, status);
        })?;
        let log = span.log_span();
        log.in_scope(|| {
            tracing::info!(%peer, prompt_tokens = request.prompt.len(), "answer begun");
        });
        let (events, stream) = mpsc::channel(WAITING_EVENTS);
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
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                ended = answer(&edge, request, &events, &mut span) => ended,
                () = until => Err(failure(
                    Code::DeadlineExceeded,
                    Reason::Deadline,
                    "the deadline passed before the answer's end",
                )),
                () = events.closed() => Err(Status::cancelled("the client went away")),
                () = closing => Err(draining()),
            };
            line.end(&events, ended.as_ref().err());
            if let Err(status) = ended {
                count_failure(&status);
                say_failure(&mut span, &status);
                events.fail(status).await;
            }
        };
        tokio::spawn(making.instrument(log));
        Ok(ReceiverStream::new(stream))
    }
}

fn draining() -> Status {
    unavailable(Reason::Draining, "the edge is shutting down", None)
}

/// Counts a request that was refused or failed.
pub(crate) fn count_failure(status: &Status) {
    FAILURES.counter(&[code_label(status.code())]).increment(1);
}
