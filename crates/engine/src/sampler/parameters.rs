//! What a request may say about sampling.

use std::num::NonZeroU32;

use super::violations::{self, ParameterErrors};

/// The highest temperature. OpenAI and vLLM stop at 2, Hugging Face nowhere; at 100 the softmax of
/// any model is flat, so that more changes nothing.
pub const MAX_TEMPERATURE: f32 = 100.0;
/// Below this temperature sampling is greedy (vLLM's `_SAMPLING_EPS`): dividing by less loses the
/// logits' precision, and the most likely token has all the probability anyway.
pub const MIN_TEMPERATURE: f32 = 1e-5;
/// The highest repetition penalty.
pub const MAX_REPETITION_PENALTY: f32 = 10.0;
/// Presence and frequency penalties lie within plus and minus this (OpenAI, vLLM).
pub const MAX_PENALTY: f32 = 2.0;
/// Logit biases lie within plus and minus this (OpenAI).
pub const MAX_LOGIT_BIAS: f32 = 100.0;
/// The most entries of the logit bias.
pub const MAX_LOGIT_BIAS_ENTRIES: usize = 1024;
/// The most alternatives that log probabilities are reported for (OpenAI's chat API).
pub const MAX_LOGPROBS: u32 = 20;

/// How the next token is chosen. The default is greedy, with every other step neutral.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParameters {
    /// Divides the logits before the softmax, in [0, [`MAX_TEMPERATURE`]]. 0, and anything below
    /// [`MIN_TEMPERATURE`], is greedy: the highest logit, and the truncations play no part.
    pub temperature: f32,
    /// Keeps the k most likely tokens. `None`, or at least the vocabulary: all.
    pub top_k: Option<NonZeroU32>,
    /// Keeps the smallest set of most likely tokens whose probability reaches this, in (0, 1]
    /// (nucleus sampling, arXiv 1904.09751). 1: all.
    pub top_p: f32,
    /// Drops tokens less likely than this fraction of the most likely one, in [0, 1] (arXiv
    /// 2407.01082). 0: none.
    pub min_p: f32,
    /// Divides the positive and multiplies the negative logits of tokens in prompt or output, in
    /// (0, [`MAX_REPETITION_PENALTY`]] (arXiv 1909.05858 §4.1, as Hugging Face's
    /// `RepetitionPenaltyLogitsProcessor` does it). 1: neutral.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of every token the run has generated, in ±[`MAX_PENALTY`]
    /// (OpenAI). The prompt does not count (vLLM). 0: neutral.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit once for each time the run has generated it, in
    /// ±[`MAX_PENALTY`] (OpenAI). The prompt does not count (vLLM). 0: neutral.
    pub frequency_penalty: f32,
    /// Names the random numbers: with the same seed, logits and other parameters, a position gets
    /// the same token. Whoever starts the run chooses one where the user has not. Greedy ignores it.
    pub seed: u64,
    /// What is added to single logits, as (token, bias): each token once, each bias in
    /// ±[`MAX_LOGIT_BIAS`], at most [`MAX_LOGIT_BIAS_ENTRIES`]. A bias cannot revive a token that
    /// the model masks with −∞.
    pub logit_bias: Vec<(u32, f32)>,
    /// How many of the most likely tokens to report log probabilities of beside the chosen one's, at
    /// most [`MAX_LOGPROBS`]. `Some(0)`: the chosen one's only. `None`: no log probabilities.
    pub logprobs: Option<u32>,
    /// Goes on past end-of-sequence tokens. They stay as likely as they are (as in vLLM); only
    /// [`stops_at`](Self::stops_at) changes.
    pub ignore_eos: bool,
}

impl Default for SamplingParameters {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
            logit_bias: Vec::new(),
            logprobs: None,
            ignore_eos: false,
        }
    }
}

impl SamplingParameters {
    /// Checks every field against its range, for a model with `vocabulary` tokens.
    ///
    /// # Errors
    /// All violations at once, so that a user can fix them in one go.
    pub fn validate(&self, vocabulary: usize) -> Result<(), ParameterErrors> {
        violations::check(self, vocabulary)
    }

    /// Whether the highest logit is taken and nothing drawn.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature.is_nan() || self.temperature < MIN_TEMPERATURE
    }

    /// Whether a penalty is on, so that sampling needs the ids of prompt and output in a
    /// [`TokenHistory`](super::TokenHistory).
    #[must_use]
    pub fn needs_token_ids(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }

    /// Whether a run ends with the token `id`, `eos` being the end-of-sequence tokens.
    #[must_use]
    pub fn stops_at(&self, id: u32, eos: &[u32]) -> bool {
        !self.ignore_eos && eos.contains(&id)
    }

    /// Top-k as a number below `vocabulary`, where it drops anything.
    pub(super) fn effective_top_k(&self, vocabulary: usize) -> Option<usize> {
        let k = usize::try_from(self.top_k?.get()).ok()?;
        (k < vocabulary).then_some(k)
    }

    /// Whether min-p, top-k or top-p may drop tokens.
    pub(super) fn truncates(&self, vocabulary: usize) -> bool {
        self.min_p > 0.0 || self.top_p < 1.0 || self.effective_top_k(vocabulary).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_greedy_and_neutral() {
        let parameters = SamplingParameters::default();
        assert!(parameters.is_greedy());
        assert!(!parameters.needs_token_ids());
        assert!(!parameters.truncates(100));
        assert_eq!(parameters.validate(1), Ok(()));
    }

    #[test]
    fn temperatures_too_small_to_divide_by_are_greedy() {
        let at = |temperature| SamplingParameters {
            temperature,
            ..Default::default()
        };
        assert!(at(f32::from_bits(1)).is_greedy());
        assert!(at(9e-6).is_greedy());
        assert!(!at(MIN_TEMPERATURE).is_greedy());
    }

    #[test]
    fn each_penalty_asks_for_token_ids() {
        let neutral = SamplingParameters::default();
        let repetition = SamplingParameters {
            repetition_penalty: 1.1,
            ..neutral.clone()
        };
        let presence = SamplingParameters {
            presence_penalty: -0.1,
            ..neutral.clone()
        };
        let frequency = SamplingParameters {
            frequency_penalty: 0.1,
            ..neutral
        };
        for parameters in [repetition, presence, frequency] {
            assert!(parameters.needs_token_ids());
        }
    }

    #[test]
    fn an_end_of_sequence_token_stops_unless_ignored() {
        let mut parameters = SamplingParameters::default();
        assert!(parameters.stops_at(2, &[1, 2]));
        assert!(!parameters.stops_at(3, &[1, 2]));
        parameters.ignore_eos = true;
        assert!(!parameters.stops_at(2, &[1, 2]));
    }

    #[test]
    fn a_top_k_of_the_whole_vocabulary_drops_nothing() {
        let parameters = SamplingParameters {
            top_k: NonZeroU32::new(100),
            ..Default::default()
        };
        assert_eq!(parameters.effective_top_k(100), None);
        assert_eq!(parameters.effective_top_k(101), Some(100));
    }
}
