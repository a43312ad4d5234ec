//! Several answers to one request.

use crate::answer::AnswerEvent;
use crate::answer_service::{AnswerService, AnswerStream, Call, ClientRequest};
use crate::error::AnswerError;
use axum::http::HeaderMap;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use std::sync::Arc;

/// Answers of one request that are made at once; the others follow.
const AT_ONCE: usize = 4;

/// An event of one of the answers, by its number.
pub(super) type Numbered = (usize, Result<AnswerEvent, AnswerError>);

/// The events of an answer that has begun, and of `others`, which begin as those before them end.
pub(super) fn events(
    service: &AnswerService,
    name: &'static str,
    headers: &HeaderMap,
    first: AnswerStream,
    others: Vec<ClientRequest>,
) -> BoxStream<'static, Numbered> {
    let first = first.map(|event| (0, event)).boxed();
    if others.is_empty() {
        return first;
    }
    let (service, headers) = (service.clone(), Arc::new(headers.clone()));
    let others = others.into_iter().enumerate().map(move |(at, request)| {
        let (service, headers) = (service.clone(), Arc::clone(&headers));
        let begun = async move {
            let call = Call {
                name,
                headers: &headers,
            };
            match service.begin(call, std::future::ready(Ok(request))).await {
                Ok(events) => events.boxed(),
                Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
            }
        };
        let events = stream::once(begun).flatten();
        events.map(move |event| (at + 1, event)).boxed()
    });
    stream::iter(std::iter::once(first).chain(others))
        .flatten_unordered(AT_ONCE)
        .boxed()
}
