//! Choosing the next token from a row of logits: plain arithmetic, no torch, no I/O.
//!
//! The steps and their order are those of vLLM's V1 engine (`vllm/v1/sample/sampler.py`):
//!
//! 1. log probabilities, when asked for, from the logits as the model gave them (vLLM's default
//!    `raw_logprobs`);
//! 2. logit bias, added;
//! 3. penalties: repetition, then frequency, then presence;
//! 4. the mask of what the answer has to keep: all other tokens become impossible;
//! 5. greedy ends here: the highest logit;
//! 6. temperature, dividing the logits;
//! 7. min-p, relative to the most likely token;
//! 8. top-k;
//! 9. top-p over what is left, renormalised;
//! 10. one draw, keyed by seed and position (see [`draw`]).
//!
//! Two things differ from vLLM, so that a replay on another machine cannot choose differently.
//! Ties go to the lowest id everywhere: top-k keeps exactly k tokens where vLLM keeps all that
//! equal the k-th. And probabilities are integers, so that sums do not depend on their order; a
//! token below 2⁻⁴³ of the most likely one counts as impossible, as one masked with −∞ does.
//!
//! Nothing here sorts the vocabulary: every step takes time linear in it, whatever the logits.

pub mod draw;
mod history;
mod logprobs;
mod nucleus;
mod parameters;
mod peak;
mod penalties;
mod rank;
mod softmax;
mod truncation;
mod violations;

#[cfg(test)]
mod tests;

pub use history::TokenHistory;
pub use logprobs::{TokenLogprobs, TopLogprob};
pub use parameters::{
    MAX_LOGIT_BIAS, MAX_LOGIT_BIAS_ENTRIES, MAX_LOGPROBS, MAX_PENALTY, MAX_REPETITION_PENALTY,
    MAX_TEMPERATURE, MIN_TEMPERATURE, SamplingParameters,
};
pub use violations::{FieldViolation, ParameterErrors};

use crate::constraint::TokenMask;
use nucleus::Candidate;
use peak::Peak;
use softmax::Softmax;

/// The most logits a row may have. It keeps the sum of all weights below 2⁶³; vocabularies in use
/// have up to 2¹⁸ tokens.
pub const MAX_VOCABULARY: usize = 1 << 20;

/// Why no token could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// The row is empty.
    #[error("no logits to sample from")]
    NoLogits,
    /// The row is longer than [`MAX_VOCABULARY`].
    #[error("{found} logits in a row, at most {} are supported", MAX_VOCABULARY)]
    TooManyLogits {
        /// Length of the row.
        found: usize,
    },
    /// A logit is NaN or +∞: the model's arithmetic has failed. −∞ is a mask and allowed.
    #[error("the logit of token {index} is not finite")]
    NonFiniteLogits {
        /// The token with the lowest id of which this is true.
        index: usize,
    },
    /// Every logit is −∞, so no token is possible.
    #[error("every token is masked")]
    AllMasked,
    /// A token of the history or of the logit bias has no logit.
    #[error("token {id} is outside the vocabulary of {vocabulary}")]
    UnknownToken {
        /// The token.
        id: u32,
        /// Length of the row.
        vocabulary: usize,
    },
}

/// The token chosen for a position.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// The token's id: an index into the logits.
    pub id: u32,
    /// Log probabilities, when [`SamplingParameters::logprobs`] asks for them.
    pub logprobs: Option<TokenLogprobs>,
}

/// Chooses tokens. It holds only buffers, reused from call to call, and no state that changes what
/// is chosen: one sampler serves any number of sessions, one after the other.
///
/// The buffers grow to at most about 40 bytes a token of the vocabulary.
#[derive(Debug, Default)]
pub struct Sampler {
    /// The logits after bias, penalties and mask, when there are any.
    adjusted: Vec<f32>,
    /// Rank keys, while the best k are looked for.
    keys: Vec<u64>,
    /// What the truncations leave.
    candidates: Vec<Candidate>,
    /// Weight of each block of the vocabulary, when nothing is truncated.
    block_weights: Vec<u64>,
}

impl Sampler {
    /// A sampler with empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the token of `position` (the position it will have itself, 0 being the first of the
    /// session) from `logits`, shape `[vocabulary]`.
    ///
    /// The answer is a function of the arguments alone; without penalties `history` is not read.
    /// `parameters` should have passed [`SamplingParameters::validate`]: what it refuses gives a
    /// token or an error here, never a panic, but nothing useful. Stopping at an end-of-sequence
    /// token is the caller's: see [`SamplingParameters::stops_at`].
    ///
    /// # Errors
    /// [`SampleError`], for a row without a valid distribution or an id outside it.
    pub fn sample(
        &mut self,
        logits: &[f32],
        parameters: &SamplingParameters,
        history: &TokenHistory,
        position: u64,
    ) -> Result<Sampled, SampleError> {
        self.sample_within(None, logits, parameters, history, position)
    }

    /// The same among the tokens of a mask alone.
    ///
    /// # Errors
    /// As [`Sampler::sample`] has them.
    pub fn sample_within(
        &mut self,
        mask: Option<&TokenMask>,
        logits: &[f32],
        parameters: &SamplingParameters,
        history: &TokenHistory,
        position: u64,
    ) -> Result<Sampled, SampleError> {
        if logits.is_empty() {
            return Err(SampleError::NoLogits);
        }
        if logits.len() > MAX_VOCABULARY {
            return Err(SampleError::TooManyLogits {
                found: logits.len(),
            });
        }
        let has_penalties = penalties::change(parameters, history);
        let adjusted = if has_penalties || mask.is_some() {
            self.adjusted.clear();
            self.adjusted.extend_from_slice(logits);
            if has_penalties {
                penalties::apply(&mut self.adjusted, parameters, history)?;
            }
            if let Some(mask) = mask {
                mask.apply(&mut self.adjusted);
            }
            self.adjusted.as_slice()
        } else {
            logits
        };
        let peak = Peak::of(adjusted)?;
        let id = if parameters.is_greedy() {
            peak.id
        } else {
            let softmax = Softmax::new(peak.logit, parameters.temperature);
            let bits = draw::bits(parameters.seed, position, 0);
            if parameters.truncates(logits.len()) {
                truncation::keep(
                    adjusted,
                    softmax,
                    parameters,
                    &mut self.keys,
                    &mut self.candidates,
                );
                nucleus::choose(&mut self.candidates, bits)
            } else {
                softmax.choose(adjusted, bits, &mut self.block_weights)
            }
            .unwrap_or(peak.id)
        };
        let logprobs = match parameters.logprobs {
            Some(top) => Some(TokenLogprobs::of(logits, id, top, &mut self.keys)?),
            None => None,
        };
        Ok(Sampled { id, logprobs })
    }
}
