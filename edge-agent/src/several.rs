//! Several answers to one request.

use crate::answer::AnswerEvent;
use crate::answer_service::{AnswerService, AnswerStream, Call, ClientRequest};
use crate::error::AnswerError;
use crate::request::Terms;
use axum::http::HeaderMap;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use std::sync::Arc;
use std::time::Duration;
use tandem_transport::auth::Peer;
use tokio::time::Instant;

/// Answers of one request, at most.
pub(crate) const MAX_ANSWERS: usize = 128;

/// Answers of one request that are made at once, at most: half of those that the edge makes. The others follow.
const AT_ONCE: usize = 4;

/// Between two looks whether another answer may begin.
const LOOK: Duration = Duration::from_millis(50);

/// An event of one of the answers, by its number.
pub(crate) type Numbered = (usize, Result<AnswerEvent, AnswerError>);

/// The answers that one request asks for.
#[derive(Debug, Clone)]
pub(crate) struct Several {
    pub(crate) peer: Peer,
    /// At least one.
    pub(crate) prompts: Arc<Vec<Vec<u32>>>,
    /// To each prompt.
    pub(crate) answers: usize,
    pub(crate) terms: Arc<Terms>,
    /// When the client stops waiting.
    pub(crate) deadline: Option<Instant>,
    /// When the last of them is given up.
    pub(crate) ends: Option<Instant>,
}

impl Several {
    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.prompts.len() * self.answers
    }

    /// What one of them asks for: those of one prompt stand behind each other.
    pub(crate) fn request(&self, number: usize) -> ClientRequest {
        let answer = number % self.answers;
        let mut terms = Terms::clone(&self.terms);
        if let Some(sampling) = &mut terms.sampling {
            // Answers to one prompt are to differ, and to be the same again.
            sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(answer as u64));
        }
        // One conversation is kept for its next turn, as of a request with one answer.
        terms.forgets |= number > 0;
        ClientRequest {
            peer: self.peer.clone(),
            prompt: self
                .prompts
                .get(number / self.answers)
                .cloned()
                .unwrap_or_default(),
            terms,
            deadline: self.deadline,
            ends: self.ends,
        }
    }
}

/// The events of an answer that has begun, the first of `several`, and of the others, which begin as those before them end
/// and as the edge may make another.
pub(crate) fn events(
    service: &AnswerService,
    name: &'static str,
    headers: &HeaderMap,
    first: AnswerStream,
    several: Several,
) -> BoxStream<'static, Numbered> {
    let first = first.map(|event| (0, event)).boxed();
    if several.count() == 1 {
        return first;
    }
    let at_once = (service.edge.answers.pool.most() / 2).clamp(1, AT_ONCE);
    let (service, headers) = (service.clone(), Arc::new(headers.clone()));
    let others = (1..several.count()).map(move |number| {
        let (service, headers) = (service.clone(), Arc::clone(&headers));
        let several = several.clone();
        let begun = async move {
            while !service.edge.answers.pool.has_turn() {
                tokio::time::sleep(LOOK).await;
            }
            let call = Call {
                name,
                headers: &headers,
            };
            let request = std::future::ready(Ok(several.request(number)));
            match service.begin(call, request).await {
                Ok(events) => events.boxed(),
                Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
            }
        };
        let events = stream::once(begun).flatten();
        events.map(move |event| (number, event)).boxed()
    });
    stream::iter(std::iter::once(first).chain(others))
        .flatten_unordered(at_once)
        .boxed()
}
