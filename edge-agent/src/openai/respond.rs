//! From the events of an answer to the response: gathered, or sent as they come (server-sent events).

use super::error::Failure;
use crate::answer::AnswerEvent;
use crate::error::AnswerError;
use crate::several::Numbered;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
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

/// What is said to a client at once, in a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// What kind of event it is, where a stream has several.
    pub(super) name: Option<String>,
    /// JSON, or what a stream ends with.
    pub(super) data: String,
}

/// Makes what clients read of the events of their answers.
pub(super) trait Reply {
    /// Whether all answers have ended.
    fn is_done(&self) -> bool;
    /// What there is to say of an event of an answer.
    fn pieces(&mut self, index: usize, event: AnswerEvent) -> Vec<Said>;
    /// Keeps an event of an answer that is written whole.
    fn gather(&mut self, index: usize, event: AnswerEvent);
    /// The answers that were gathered, as JSON.
    fn whole(self) -> String;
    /// What there is to say of a failure.
    fn failure(&mut self, failure: &Failure) -> Said;
}

/// The whole answers in one response.
///
/// # Errors
/// One of them failed.
pub(super) async fn whole(
    mut events: impl Stream<Item = Numbered> + Unpin,
    mut writer: impl Reply,
) -> Result<Response, Failure> {
    while !writer.is_done() {
        let (index, event) = events.next().await.unwrap_or_else(ended_early);
        writer.gather(index, event?);
    }
    let json = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, json)], writer.whole()).into_response())
}

/// The answers piece by piece. A failure after the first piece is the last event.
///
/// # Errors
/// The first event is a failure, within five seconds.
pub(super) async fn pieces(
    mut events: impl Stream<Item = Numbered> + Unpin + Send + 'static,
    writer: impl Reply + Send + 'static,
) -> Result<Response, Failure> {
    let first = match tokio::time::timeout(STATUS_WITHIN, events.next()).await {
        Err(_) => None,
        Ok(first) => {
            let (index, event) = first.unwrap_or_else(ended_early);
            Some((index, Ok(event?)))
        }
    };
    let events = tokio_stream::iter(first).chain(events);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let sse = Sse::new(sse_events(events, writer)).keep_alive(keep_alive);
    Ok(([UNBUFFERED], sse).into_response())
}

/// What is to be said where nothing more comes.
fn ended_early() -> Numbered {
    (0, Err(AnswerError::EndedEarly))
}

struct Sending<S, W> {
    events: S,
    writer: W,
    ready: VecDeque<Said>,
    ended: bool,
}

fn sse_events<S, W>(events: S, writer: W) -> impl Stream<Item = Result<Event, Infallible>> + Send
where
    S: Stream<Item = Numbered> + Unpin + Send + 'static,
    W: Reply + Send + 'static,
{
    let sending = Sending {
        events,
        writer,
        ready: VecDeque::new(),
        ended: false,
    };
    stream::unfold(sending, |mut sending| async move {
        loop {
            if let Some(said) = sending.ready.pop_front() {
                let event = Event::default().data(said.data);
                let event = match said.name {
                    Some(name) => event.event(name),
                    None => event,
                };
                return Some((Ok(event), sending));
            }
            if sending.ended {
                return None;
            }
            let next = sending.events.next().await;
            let (index, event) = next.unwrap_or_else(ended_early);
            match event {
                Ok(event) => {
                    let pieces = sending.writer.pieces(index, event);
                    sending.ready.extend(pieces);
                    sending.ended = sending.writer.is_done();
                }
                Err(error) => {
                    sending.ended = true;
                    let said = sending.writer.failure(&Failure::from(error));
                    sending.ready.push_back(said);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests;
