//! Sampling parameters and sampled tokens.

use std::num::NonZeroU32;
use tandem_engine::FinishReason;
use tandem_engine::sampler::{ParameterErrors, SamplingParameters, TokenLogprobs};
use tandem_proto::v1;

/// The parameters a message asks for, every absent field neutral, checked against a vocabulary.
///
/// # Errors
/// All fields that cannot be met.
pub fn parameters(
    message: Option<&v1::SamplingParameters>,
    vocabulary: usize,
) -> Result<SamplingParameters, ParameterErrors> {
    let neutral = SamplingParameters::default();
    let Some(message) = message else {
        return Ok(neutral);
    };
    let parameters = SamplingParameters {
        temperature: message.temperature.unwrap_or(neutral.temperature),
        top_k: message.top_k.and_then(NonZeroU32::new),
        top_p: message.top_p.unwrap_or(neutral.top_p),
        min_p: message.min_p.unwrap_or(neutral.min_p),
        repetition_penalty: message
            .repetition_penalty
            .unwrap_or(neutral.repetition_penalty),
        presence_penalty: message.presence_penalty.unwrap_or(neutral.presence_penalty),
        frequency_penalty: message
            .frequency_penalty
            .unwrap_or(neutral.frequency_penalty),
        seed: message.seed.unwrap_or(neutral.seed),
        logit_bias: message
            .logit_bias
            .iter()
            .map(|bias| (bias.token_id, bias.bias))
            .collect(),
        logprobs: message.logprobs,
        ignore_eos: message.ignore_eos,
    };
    parameters.validate(vocabulary)?;
    Ok(parameters)
}

/// Log probabilities as the wire has them.
pub fn token_logprobs(logprobs: TokenLogprobs) -> v1::TokenLogprobs {
    v1::TokenLogprobs {
        logprob: logprobs.logprob,
        top: logprobs
            .top
            .into_iter()
            .map(|top| v1::TopLogprob {
                token_id: top.id,
                logprob: top.logprob,
            })
            .collect(),
    }
}

/// A finish reason as the wire has it.
pub fn finish_reason(finish: Option<FinishReason>) -> v1::FinishReason {
    match finish {
        None => v1::FinishReason::Unspecified,
        Some(FinishReason::Stop) => v1::FinishReason::Stop,
        Some(FinishReason::Length) => v1::FinishReason::Length,
    }
}

/// What metrics, logs, traces and clients call it.
pub fn finish_name(finish: v1::FinishReason) -> &'static str {
    match finish {
        v1::FinishReason::Length => "length",
        v1::FinishReason::Stop | v1::FinishReason::Unspecified => "stop",
    }
}
