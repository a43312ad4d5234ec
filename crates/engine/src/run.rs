//! One answer: how its tokens are chosen and when it ends.

use crate::constraint::Constraint;
use crate::sampler::{Sampled, SamplingParameters, TokenLogprobs};

/// How an answer is made.
#[derive(Debug, Default)]
pub struct RunRequest {
    /// How tokens are chosen; validated by whoever accepts them.
    pub parameters: SamplingParameters,
    /// The most tokens, or `None` for up to the context's end.
    pub max_tokens: Option<usize>,
    /// Tokens that end the answer.
    pub eos: Vec<u32>,
    /// Ids of the positions from 0 on, where the session does not know them and penalties are on.
    pub history: Vec<u32>,
    /// Tokens of the answer that were sampled in other sessions: the last before the first of this one.
    pub answered: usize,
    /// What it has to keep, where it is to keep anything, behind those tokens.
    pub constraint: Option<Box<dyn Constraint>>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-sequence token.
    Stop,
    /// As many tokens as were asked for, or the context is full.
    Length,
}

/// A chosen token.
#[derive(Debug, Clone, PartialEq)]
pub struct RunToken {
    /// Its position: one past the row it was sampled after.
    pub position: usize,
    /// Its id.
    pub id: u32,
    /// Log probabilities, when asked for.
    pub logprobs: Option<TokenLogprobs>,
    /// Set when it is the answer's last.
    pub finish: Option<FinishReason>,
}

impl RunToken {
    /// Whether a row of this token may be the next one.
    pub fn goes_on_with(&self, id: u32) -> bool {
        self.id == id && self.finish.is_none()
    }
}

/// An answer being made.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) request: RunRequest,
    /// Tokens of the answer so far, those of other sessions included.
    sampled: usize,
}

impl Run {
    pub(crate) fn new(request: RunRequest) -> Self {
        Self {
            sampled: request.answered,
            request,
        }
    }

    /// True before the first token of this session.
    pub(crate) fn is_fresh(&self) -> bool {
        self.sampled == self.request.answered
    }

    /// Counts a token at `position` of a context of `capacity`.
    pub(crate) fn accept(
        &mut self,
        sampled: Sampled,
        position: usize,
        capacity: usize,
    ) -> RunToken {
        self.sampled += 1;
        let request = &self.request;
        let finish = if request.parameters.stops_at(sampled.id, &request.eos) {
            Some(FinishReason::Stop)
        } else if request.max_tokens.is_some_and(|max| self.sampled >= max)
            || position + 1 >= capacity
        {
            Some(FinishReason::Length)
        } else {
            None
        };
        RunToken {
            position,
            id: sampled.id,
            logprobs: sampled.logprobs,
            finish,
        }
    }
}
