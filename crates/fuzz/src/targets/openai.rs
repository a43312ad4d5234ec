//! Any bytes are the body of a call of the OpenAI-compatible API, or are refused with a status that says what is wrong.

use super::fixture;
use edge_agent::error::{AnswerError, RequestError};
use edge_agent::openai::fields::UnknownFields;
use edge_agent::openai::request::{Endpoint, Prompt, read};
use edge_agent::openai::responses;
use edge_agent::sampling_defaults::SamplingDefaults;
use std::sync::LazyLock;
use std::time::Instant;
use tandem_shape::Reason;
use tandem_text::{ChatTemplate, Tokenizer};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const MODEL: &str = "qwen2-bias";

static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::load(&fixture(MODEL)).expect("a fixture"));

static TEMPLATE: LazyLock<ChatTemplate> =
    LazyLock::new(|| ChatTemplate::load(&fixture(MODEL)).expect("a fixture"));

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    match responses::read(data, UnknownFields::Refuse) {
        Ok(asked) => drop(asked.conversation.render(&TEMPLATE)),
        Err(error) => says_what_is_wrong(error),
    }
    for endpoint in [Endpoint::Chat, Endpoint::Completion] {
        let request = match read(endpoint, data, UnknownFields::Ignore) {
            Ok(request) => request,
            Err(error) => {
                says_what_is_wrong(error);
                continue;
            }
        };
        for prompt in request.prompts {
            let ids = match prompt {
                Prompt::Ids(ids) => ids,
                Prompt::Text(text) => TOKENIZER.encode(&text, true).expect("any text has ids"),
                Prompt::Conversation(conversation) => match conversation.render(&TEMPLATE) {
                    Ok(text) => TOKENIZER.encode(&text, false).expect("any text has ids"),
                    Err(_) => continue,
                },
            };
            let defaults = SamplingDefaults::llama_server();
            let vocabulary = TOKENIZER.vocabulary_size();
            let terms = request.terms.clone();
            match terms.check(ids, &defaults, vocabulary, Instant::now()) {
                Ok(answer) => assert!(!answer.prompt.is_empty()),
                Err(error) => says_what_is_wrong(error),
            }
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
