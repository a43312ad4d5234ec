//! Several answers to one request.

use crate::answer::AnswerEvent;
use crate::answer_service::{AnswerService, Call, ClientRequest};
use crate::error::AnswerError;
use crate::request::Terms;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tandem_transport::auth::Peer;
use tokio::time::Instant;

/// Answers of one request, at most.
pub const MAX_ANSWERS: usize = 128;

/// Answers of one request that are made at once, at most: half of those that the edge makes. The others follow.
const AT_ONCE: usize = 4;

/// Between two looks whether another answer may begin.
const LOOK: Duration = Duration::from_millis(50);

/// An event of one of the answers, by its number.
pub type Numbered = (usize, Result<AnswerEvent, AnswerError>);

/// The answers that one request asks for.
#[derive(Debug, Clone)]
pub struct Several {
    /// Who asks.
    pub peer: Peer,
    /// The token ids to go on from, at least one list.
    pub prompts: Arc<Vec<Vec<u32>>>,
    /// To each prompt.
    pub answers: usize,
    /// The terms of each answer.
    pub terms: Arc<Terms>,
    /// When the client stops waiting.
    pub deadline: Option<Instant>,
    /// When the last of them is given up.
    pub ends: Option<Instant>,
}

impl Several {
    /// So many answers to each of these prompts, which end when they end.
    pub fn new(peer: Peer, prompts: Vec<Vec<u32>>, answers: usize, terms: Terms) -> Self {
        Self {
            peer,
            prompts: Arc::new(prompts),
            answers,
            terms: Arc::new(terms),
            deadline: None,
            ends: None,
        }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.prompts.len() * self.answers
    }

    /// What one of them asks for: those of one prompt stand behind each other.
    pub fn request(&self, number: usize) -> ClientRequest {
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

/// Begins the answers that a request asks for, once it is read: the first of them at once, the others as those before them
/// end and as the edge may make another. They are one piece of work, which a drain lets end. Returns their events, and
/// what else was read.
///
/// # Errors
/// As [`AnswerService::begin`] says.
pub async fn begin<T>(
    service: &AnswerService,
    call: Call<'_>,
    reading: impl Future<Output = Result<(Several, T), AnswerError>>,
) -> Result<(BoxStream<'static, Numbered>, T), AnswerError> {
    let mut read = None;
    let first = async {
        let work = service.work()?;
        let (several, rest) = reading.await?;
        let first = several.request(0);
        read = Some((several, rest, work.clone()));
        Ok((work, first))
    };
    let first = service.begin_as(call, first).await?;
    let (several, rest, work) = read.ok_or(AnswerError::EndedEarly)?;
    let first = first.map(|event| (0, event)).boxed();
    if several.count() == 1 {
        return Ok((first, rest));
    }
    let at_once = (service.edge.answers.pool.most() / 2).clamp(1, AT_ONCE);
    let (service, name) = (service.clone(), call.name);
    let headers = Arc::new(call.headers.clone());
    let others = (1..several.count()).map(move |number| {
        let (service, headers) = (service.clone(), Arc::clone(&headers));
        let (several, work) = (several.clone(), work.clone());
        let begun = async move {
            // An answer whose time is over while it waits is told so where it begins.
            let ends = [several.deadline, several.ends].into_iter().flatten().min();
            let is_over = || ends.is_some_and(|ends| Instant::now() >= ends);
            while !service.edge.answers.pool.has_turn() && !is_over() {
                tokio::time::sleep(LOOK).await;
            }
            let call = Call {
                name,
                headers: &headers,
            };
            let request = std::future::ready(Ok((work, several.request(number))));
            match service.begin_as(call, request).await {
                Ok(events) => events.boxed(),
                Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
            }
        };
        let events = stream::once(begun).flatten();
        events.map(move |event| (number, event)).boxed()
    });
    let all = stream::iter(std::iter::once(first).chain(others)).flatten_unordered(at_once);
    Ok((all.boxed(), rest))
}
