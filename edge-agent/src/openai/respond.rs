//! From the events of an answer to the response: gathered, or sent as they come (server-sent events).

use super::error::Failure;
use super::reply::Writer;
use crate::answer::AnswerEvent;
use crate::error::AnswerError;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tandem_proto::v1;
use tokio_stream::{Stream, StreamExt as _};

/// How long the headers of a stream wait for its first event. What fails by then still has a status
/// of its own: no session is free, the cloud cannot be reached. A longer prompt's answer is sent to
/// a client that knows by the comments that it still comes.
const STATUS_WITHIN: Duration = Duration::from_secs(5);
/// Between two comments on a stream that has nothing else to say.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Tells nginx to hand each event on as it comes.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// The whole answer in one response.
///
/// # Errors
/// The answer failed.
pub(super) async fn whole(
    mut events: impl Stream<Item = Result<AnswerEvent, AnswerError>> + Unpin,
    mut writer: Writer,
) -> Result<Response, Failure> {
    let mut started = v1::Started::default();
    let mut all = v1::Delta::default();
    loop {
        match events
            .next()
            .await
            .unwrap_or_else(|| Err(AnswerError::EndedEarly))?
        {
            AnswerEvent::Started(event) => started = event,
            AnswerEvent::Delta(delta) => {
                all.text.push_str(&delta.text);
                all.token_ids.extend(delta.token_ids);
                all.logprobs.extend(delta.logprobs);
            }
            AnswerEvent::Finished(finished) => {
                let json = HeaderValue::from_static("application/json");
                let body = writer.whole(started, &all, &finished);
                return Ok(([(CONTENT_TYPE, json)], body).into_response());
            }
        }
    }
}

/// The answer piece by piece. A failure after the first piece is the last event.
///
/// # Errors
/// The answer failed before its first event, within five seconds.
pub(super) async fn pieces(
    mut events: impl Stream<Item = Result<AnswerEvent, AnswerError>> + Unpin + Send + 'static,
    writer: Writer,
) -> Result<Response, Failure> {
    let first = match tokio::time::timeout(STATUS_WITHIN, events.next()).await {
        Err(_) => None,
        Ok(first) => Some(first.unwrap_or_else(|| Err(AnswerError::EndedEarly))?),
    };
    let events = tokio_stream::iter(first.map(Ok)).chain(events);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let sse = Sse::new(sse_events(events, writer)).keep_alive(keep_alive);
    Ok(([UNBUFFERED], sse).into_response())
}

struct Sending<S> {
    events: S,
    writer: Writer,
    ready: VecDeque<String>,
    ended: bool,
}

fn sse_events<S>(events: S, writer: Writer) -> impl Stream<Item = Result<Event, Infallible>> + Send
where
    S: Stream<Item = Result<AnswerEvent, AnswerError>> + Unpin + Send + 'static,
{
    let sending = Sending {
        events,
        writer,
        ready: VecDeque::new(),
        ended: false,
    };
    stream::unfold(sending, |mut sending| async move {
        loop {
            if let Some(piece) = sending.ready.pop_front() {
                return Some((Ok(Event::default().data(piece)), sending));
            }
            if sending.ended {
                return None;
            }
            match sending
                .events
                .next()
                .await
                .unwrap_or_else(|| Err(AnswerError::EndedEarly))
            {
                Ok(event) => {
                    sending.ended = matches!(event, AnswerEvent::Finished(_));
                    sending.ready.extend(sending.writer.pieces(event));
                }
                Err(error) => {
                    sending.ended = true;
                    sending.ready.push_back(Failure::from(error).json());
                }
            }
        }
    })
}

#[cfg(test)]
mod tests;
