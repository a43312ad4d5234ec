//! What clients ask for, checked: the first step of an answer.

use crate::answer::AnswerRequest;
use crate::error::RequestError;
use crate::sampling_defaults::SamplingDefaults;
use std::time::Instant;
use tandem_client::Asker;
use tandem_proto::v1;
use tandem_text::StopStrings;
use tandem_transport::auth::Owner;

/// The terms of an answer, as both doors have them.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// How tokens are chosen.
    pub sampling: Option<v1::SamplingParameters>,
    /// The most tokens.
    pub max_tokens: Option<u32>,
    /// What ends the answer.
    pub stop: Vec<String>,
    /// What it has to keep.
    pub constraint: Option<v1::Constraint>,
    /// What keeps conversations apart of those whom the client asks for.
    pub cache_salt: String,
    /// Whether the conversation is not kept for a next turn.
    pub forgets: bool,
    /// Whether each step is told.
    pub tells_steps: bool,
}

/// The longest salt, in bytes.
const MAX_SALT: usize = 256;

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
        if self.cache_salt.len() > MAX_SALT {
            let why = format!("has {} bytes, may have {MAX_SALT}", self.cache_salt.len());
            return Err(RequestError::field("cache_salt", why));
        }
        let constraint = match self.constraint {
            Some(v1::Constraint { form: None }) => {
                return Err(RequestError::Constraint("is of no known form"));
            }
            Some(_) if sampling.ignore_eos => {
                return Err(RequestError::Constraint("cannot be kept with ignore_eos"));
            }
            constraint => constraint,
        };
        let stop = StopStrings::new(self.stop).map_err(RequestError::Stop)?;
        if prompt.is_empty() {
            return Err(RequestError::Prompt("has no tokens"));
        }
        if let Some(&id) = prompt.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(RequestError::TokenId { id, vocabulary });
        }
        Ok(AnswerRequest {
            asker: Asker {
                owner: Owner::Unknown,
                salt: self.cache_salt,
            },
            prompt,
            needs_token_ids: parameters.needs_token_ids(),
            sampling,
            max_tokens: self.max_tokens,
            stop,
            constraint,
            forgets: self.forgets,
            tells_steps: self.tells_steps,
            began,
            deadline: None,
        })
    }
}
