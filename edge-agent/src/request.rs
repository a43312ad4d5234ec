//! What clients ask for, checked: the first step of an answer.

use crate::answer::AnswerRequest;
use crate::edge::Edge;
use std::time::Instant;
use tandem_proto::v1;
use tandem_shape::Reason;
use tandem_status::bad_request;
use tandem_text::StopStrings;
use tonic::Status;

/// The terms of an answer, as both client calls have them.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// How tokens are chosen.
    pub sampling: Option<v1::SamplingParameters>,
    /// The most tokens.
    pub max_tokens: Option<u32>,
    /// What ends the answer.
    pub stop: Vec<String>,
}

/// Checks the terms and completes them: parameters that are absent are the model's defaults, and an absent
/// seed is drawn.
///
/// # Errors
/// INVALID_ARGUMENT with the fields concerned.
pub fn answer_request(
    edge: &Edge,
    prompt: Vec<u32>,
    terms: Terms,
    began: Instant,
) -> Result<AnswerRequest, Status> {
    let mut sampling = terms.sampling.unwrap_or_default();
    edge.sampling.complete(&mut sampling);
    let parameters = tandem_wire::parameters(Some(&sampling), edge.config.vocabulary)
        .map_err(|errors| tandem_wire::parameter_status(&errors))?;
    sampling.seed = Some(sampling.seed.unwrap_or_else(rand::random));
    if terms.max_tokens == Some(0) {
        return Err(bad_request(
            Reason::MaxTokens,
            [("max_tokens", "is 0, must be at least 1")],
        ));
    }
    let stop = StopStrings::new(terms.stop)
        .map_err(|error| bad_request(Reason::Stop, [("stop", error.to_string())]))?;
    if prompt.is_empty() {
        return Err(bad_request(Reason::Prompt, [("prompt", "has no tokens")]));
    }
    let vocabulary = edge.config.vocabulary;
    if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocabulary) {
        let problem = format!("{id} is outside the vocabulary of {vocabulary}");
        return Err(bad_request(Reason::TokenId, [("token_ids", problem)]));
    }
    Ok(AnswerRequest {
        prompt,
        needs_token_ids: parameters.needs_token_ids(),
        sampling,
        max_tokens: terms.max_tokens,
        stop,
        began,
    })
}
