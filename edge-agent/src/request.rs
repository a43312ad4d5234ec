//! What clients ask for, checked: the first step of an answer.

use crate::answer::AnswerRequest;
use crate::error::RequestError;
use crate::sampling_defaults::SamplingDefaults;
use std::time::Instant;
use tandem_proto::v1;
use tandem_text::StopStrings;

/// The terms of an answer, as both doors have them.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// How tokens are chosen.
    pub sampling: Option<v1::SamplingParameters>,
    /// The most tokens.
    pub max_tokens: Option<u32>,
    /// What ends the answer.
    pub stop: Vec<String>,
}

impl Terms {
    /// Checks the terms and completes them: parameters that are absent are the model's `defaults`, and an
    /// absent seed is drawn. `prompt` has ids of a model of `vocabulary` tokens; the request came at `began`.
    ///
    /// # Errors
    /// The field concerned.
    pub fn check(
        self,
        prompt: Vec<u32>,
        defaults: &SamplingDefaults,
        vocabulary: usize,
        began: Instant,
    ) -> Result<AnswerRequest, RequestError> {
        let mut sampling = self.sampling.unwrap_or_default();
        defaults.complete(&mut sampling);
        let parameters = tandem_wire::parameters(Some(&sampling), vocabulary)?;
        sampling.seed = Some(sampling.seed.unwrap_or_else(rand::random));
        if self.max_tokens == Some(0) {
            return Err(RequestError::MaxTokens);
        }
        let stop = StopStrings::new(self.stop).map_err(RequestError::Stop)?;
        if prompt.is_empty() {
            return Err(RequestError::Prompt("has no tokens"));
        }
        if let Some(&id) = prompt.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(RequestError::TokenId { id, vocabulary });
        }
        Ok(AnswerRequest {
            prompt,
            needs_token_ids: parameters.needs_token_ids(),
            sampling,
            max_tokens: self.max_tokens,
            stop,
            began,
            deadline: None,
        })
    }
}
