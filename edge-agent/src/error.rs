//! What can go wrong with a request and its answer. Statuses are made of it at the doors.

use crate::events::READS_WITHIN;
use std::sync::Arc;
use tandem_client::{AllRunning, CloudError, SessionError};
use tandem_engine::sampler::ParameterErrors;
use tandem_text::TextError;
use tandem_transport::timeout::TimeoutError;

/// Why a request has no answer, or its answer no end.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The edge plans its split: it opens its model, measures this machine or waits for its cloud.
    #[error(
        "the edge is planning its split: it opens its model, measures this machine or waits for its cloud"
    )]
    Planning,
    /// The edge loads its model.
    #[error("the edge is loading its model")]
    Loading,
    /// The edge shuts down.
    #[error("the edge is shutting down")]
    Draining,
    /// The request cannot be met.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// As many prompts wait to be tokenised as may.
    #[error("{waiting} prompts wait to be tokenised")]
    TooManyPrompts {
        /// Those that wait.
        waiting: usize,
    },
    /// As many answers run as may.
    #[error(transparent)]
    AllRunning(#[from] AllRunning),
    /// The session of the answer has failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The cloud sent no token where it had to.
    #[error("the cloud sent no token")]
    NoToken,
    /// The tokenizer failed.
    #[error("{0}")]
    Text(Arc<TextError>),
    /// The thread that tokenises has failed.
    #[error("tokenising failed")]
    Tokenising,
    /// The client's deadline passed.
    #[error("the deadline passed before the answer's end")]
    Deadline,
    /// The client cancelled.
    #[error("the client went away")]
    ClientGone,
    /// The client does not read.
    #[error("the client read nothing for {} s", READS_WITHIN.as_secs())]
    NotRead,
    /// Nobody makes the answer any more, and nobody has said why.
    #[error("the answer ended before its end")]
    EndedEarly,
}

impl RequestError {
    /// What is wrong with a field.
    pub fn field(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field {
            path: path.into(),
            problem: problem.into(),
        }
    }
}

/// What is wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It has no prompt.
    #[error("prompt: {0}")]
    Prompt(&'static str),
    /// `Tokenize` without input.
    #[error("input: is absent")]
    NoInput,
    /// A conversation without messages.
    #[error("messages: is empty")]
    NoMessages,
    /// The chat template refuses the messages.
    #[error("messages: {0}")]
    Messages(Arc<TextError>),
    /// The model has no usable chat template.
    #[error("{0}")]
    ChatTemplate(Arc<TextError>),
    /// A token id outside the vocabulary.
    #[error("token_ids: {id} is outside the vocabulary of {vocabulary}")]
    TokenId {
        /// The first one.
        id: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },
    /// The prompt leaves no room in the context.
    #[error("{field}: {problem}")]
    PromptTooLong {
        /// `prompt` or `messages`.
        field: &'static str,
        /// Both numbers.
        problem: String,
    },
    /// No token is asked for.
    #[error("max_tokens: is 0, must be at least 1")]
    MaxTokens,
    /// What the answer has to keep cannot be kept.
    #[error("constraint: {0}")]
    Constraint(&'static str),
    /// Stop strings that cannot be.
    #[error("stop: {0}")]
    Stop(TextError),
    /// Sampling parameters that cannot be.
    #[error(transparent)]
    Sampling(#[from] ParameterErrors),
    /// A malformed deadline.
    #[error("grpc-timeout: {0}")]
    Timeout(#[from] TimeoutError),
    /// A body that is not a JSON object.
    #[error("the body {0}")]
    Body(String),
    /// A field that cannot be, or is not served.
    #[error("{path}: {problem}")]
    Field {
        /// Where it stands: `messages[2].role`.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Another model's name.
    #[error("model: {asked} is not served here, {served} is")]
    Model {
        /// The name asked for.
        asked: String,
        /// The name of what is served.
        served: String,
    },
}

impl From<TextError> for AnswerError {
    fn from(error: TextError) -> Self {
        Self::Text(Arc::new(error))
    }
}

impl From<CloudError> for AnswerError {
    fn from(error: CloudError) -> Self {
        Self::Session(error.into())
    }
}
