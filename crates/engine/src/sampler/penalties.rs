//! Logit bias and the three penalties: the steps that change single logits.

use super::{SampleError, SamplingParameters, TokenHistory};

/// Whether [`apply`] would change anything, so that the logits need a copy.
pub(super) fn change(parameters: &SamplingParameters, history: &TokenHistory) -> bool {
    !parameters.logit_bias.is_empty() || (parameters.needs_token_ids() && !history.is_empty())
}

/// Adds the biases, then applies the penalties (vLLM's `apply_penalties`): a token in prompt or
/// output has its logit divided by the repetition penalty where it is positive and multiplied where
/// it is not; then a generated one loses frequency penalty × its count, and the presence penalty.
///
/// What is not finite stays what it is, so that the check that follows sees the model's NaN and −∞;
/// what is finite stays finite.
///
/// # Errors
/// [`SampleError::UnknownToken`] for an id without a logit.
pub(super) fn apply(
    logits: &mut [f32],
    parameters: &SamplingParameters,
    history: &TokenHistory,
) -> Result<(), SampleError> {
    for &(id, bias) in &parameters.logit_bias {
        change_one(logits, id, |logit| logit + bias)?;
    }
    if !parameters.needs_token_ids() {
        return Ok(());
    }
    let repetition = parameters.repetition_penalty;
    for (id, occurrences) in history.occurrences() {
        change_one(logits, id, |logit| {
            let mut changed = if logit > 0.0 {
                logit / repetition
            } else {
                logit * repetition
            };
            if occurrences.generated > 0 {
                changed -= parameters.frequency_penalty * occurrences.generated as f32;
                changed -= parameters.presence_penalty;
            }
            changed
        })?;
    }
    Ok(())
}

fn change_one(
    logits: &mut [f32],
    id: u32,
    change: impl FnOnce(f32) -> f32,
) -> Result<(), SampleError> {
    let vocabulary = logits.len();
    let logit = usize::try_from(id)
        .ok()
        .and_then(|index| logits.get_mut(index))
        .ok_or(SampleError::UnknownToken { id, vocabulary })?;
    if logit.is_finite() {
        *logit = change(*logit).clamp(f32::MIN, f32::MAX);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(prompt: &[u32], generated: &[u32]) -> TokenHistory {
        let mut history = TokenHistory::new();
        history.begin_run(prompt.len());
        history.extend(prompt.iter().chain(generated).copied());
        history
    }

    #[test]
    fn repetition_sees_the_prompt_and_the_others_do_not() {
        let parameters = SamplingParameters {
            repetition_penalty: 2.0,
            presence_penalty: 0.5,
            frequency_penalty: 0.25,
            logit_bias: vec![(0, 1.0), (4, -3.0)],
            ..Default::default()
        };
        let mut logits = [3.0, -3.0, 3.0, -3.0, 1.0];
        let history = history(&[0, 1, 1], &[2, 3, 3, 3]);
        assert!(change(&parameters, &history));
        assert_eq!(apply(&mut logits, &parameters, &history), Ok(()));
        assert_eq!(
            logits,
            [
                (3.0 + 1.0) / 2.0,
                -3.0 * 2.0,
                3.0 / 2.0 - 0.25 - 0.5,
                -3.0 * 2.0 - 3.0 * 0.25 - 0.5,
                1.0 - 3.0,
            ]
        );
    }

    #[test]
    fn masks_and_failures_pass_through_and_nothing_overflows() {
        let parameters = SamplingParameters {
            repetition_penalty: 1e-30,
            presence_penalty: -2.0,
            ..Default::default()
        };
        let mut logits = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 1e30, -1e30];
        assert_eq!(
            apply(&mut logits, &parameters, &history(&[], &[0, 1, 2, 3, 4])),
            Ok(())
        );
        assert_eq!(logits[0], f32::NEG_INFINITY);
        assert_eq!(logits[1], f32::INFINITY);
        assert!(logits[2].is_nan());
        assert_eq!(logits[3], f32::MAX);
        assert_eq!(logits[4], 1.0);
    }

    #[test]
    fn ids_without_a_logit_are_refused() {
        let expected = Err(SampleError::UnknownToken {
            id: 3,
            vocabulary: 3,
        });
        let biased = SamplingParameters {
            logit_bias: vec![(3, 1.0)],
            ..Default::default()
        };
        let nothing = TokenHistory::new();
        assert_eq!(apply(&mut [0.0; 3], &biased, &nothing), expected);
        let penalised = SamplingParameters {
            presence_penalty: 1.0,
            ..Default::default()
        };
        assert_eq!(
            apply(&mut [0.0; 3], &penalised, &history(&[3], &[])),
            expected
        );
    }

    #[test]
    fn without_bias_and_penalties_nothing_changes() {
        let neutral = SamplingParameters::default();
        assert!(!change(&neutral, &history(&[1], &[2])));
        let penalised = SamplingParameters {
            presence_penalty: 1.0,
            ..Default::default()
        };
        assert!(!change(&penalised, &TokenHistory::new()));
    }
}
