//! Any bytes are the body of a call of the OpenAI-compatible API, or are refused with a status that says what is wrong.

use super::fixture;
use edge_agent::error::{AnswerError, RequestError};
use edge_agent::openai::request::{Endpoint, Prompt, read};
use edge_agent::sampling_defaults::SamplingDefaults;
use std::sync::LazyLock;
use std::time::Instant;
use tandem_shape::Reason;
use tandem_text::{ChatMessage, ChatTemplate, RenderOptions, Tokenizer};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const MODEL: &str = "qwen2-bias";

static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::load(&fixture(MODEL)).expect("a fixture"));

static TEMPLATE: LazyLock<ChatTemplate> =
    LazyLock::new(|| ChatTemplate::load(&fixture(MODEL)).expect("a fixture"));

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    for endpoint in [Endpoint::Chat, Endpoint::Completion] {
        let request = match read(endpoint, data) {
            Ok(request) => request,
            Err(error) => {
                says_what_is_wrong(error);
                continue;
            }
        };
        let ids = match request.prompt {
            Prompt::Ids(ids) => ids,
            Prompt::Text(text) => TOKENIZER.encode(&text, true).expect("any text has ids"),
            Prompt::Messages(messages) => {
                let messages = messages.into_iter();
                let messages: Vec<ChatMessage> = messages
                    .map(|m| ChatMessage::new(m.role, m.content))
                    .collect();
                let Ok(text) = TEMPLATE.render(&messages, &RenderOptions::default()) else {
                    continue;
                };
                TOKENIZER.encode(&text, false).expect("any text has ids")
            }
        };
        let defaults = SamplingDefaults::llama_server();
        let vocabulary = TOKENIZER.vocabulary_size();
        let checked = request
            .terms
            .check(ids, &defaults, vocabulary, Instant::now());
        match checked {
            Ok(answer) => assert!(!answer.prompt.is_empty()),
            Err(error) => says_what_is_wrong(error),
        }
    }
}

fn says_what_is_wrong(error: RequestError) {
    let status = Status::from(AnswerError::from(error));
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let reason = tandem_status::reason(&status).expect("a reason");
    let reason = reason.parse::<Reason>();
    assert!(reason.is_ok(), "{status:?}");
    // A body that is no JSON object has no fields.
    if reason != Ok(Reason::Body) {
        let violations = status
            .get_details_bad_request()
            .map(|bad| bad.field_violations);
        assert!(
            violations.is_some_and(|list| !list.is_empty()),
            "{status:?}"
        );
    }
}
