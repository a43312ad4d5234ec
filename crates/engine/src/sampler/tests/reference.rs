//! Sampling written down naively, for the tests: f64, full sorts, one step after the other.

use super::{SamplingParameters, TokenHistory};

/// The logits after bias and penalties, tokens counted afresh from the ids.
pub(super) fn adjusted(
    logits: &[f32],
    parameters: &SamplingParameters,
    prompt: &[u32],
    generated: &[u32],
) -> Vec<f64> {
    let mut adjusted: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    for &(id, bias) in &parameters.logit_bias {
        adjusted[id as usize] += f64::from(bias);
    }
    for (index, logit) in adjusted.iter_mut().enumerate() {
        let in_prompt = prompt.iter().any(|&id| id as usize == index);
        let count = generated.iter().filter(|&&id| id as usize == index).count();
        if in_prompt || count > 0 {
            let penalty = f64::from(parameters.repetition_penalty);
            *logit = if *logit > 0.0 {
                *logit / penalty
            } else {
                *logit * penalty
            };
        }
        *logit -= f64::from(parameters.frequency_penalty) * count as f64;
        if count > 0 {
            *logit -= f64::from(parameters.presence_penalty);
        }
    }
    adjusted
}

/// A history with these tokens.
pub(super) fn history(prompt: &[u32], generated: &[u32]) -> TokenHistory {
    let mut history = TokenHistory::new();
    history.begin_run(prompt.len());
    history.extend(prompt.iter().chain(generated).copied());
    history
}

/// The probability of each token after temperature, min-p, top-k and top-p; 0 for those dropped.
/// `None` where rounding could decide whether a token stays.
pub(super) fn distribution(logits: &[f64], parameters: &SamplingParameters) -> Option<Vec<f64>> {
    let peak = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let temperature = f64::from(parameters.temperature);
    let weight = |id: usize| ((logits[id] - peak) / temperature).exp();
    let mut ranked: Vec<usize> = (0..logits.len()).collect();
    ranked.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));

    let min_p = f64::from(parameters.min_p);
    let close = |id: &&usize| (weight(**id) - min_p).abs() < 1e-11;
    if min_p > 0.0
        && ranked
            .iter()
            .find(close)
            .is_some_and(|id| logits[*id] < peak)
    {
        return None;
    }
    ranked.retain(|&id| weight(id) >= min_p);
    if let Some(k) = parameters.top_k {
        ranked.truncate(k.get() as usize);
    }
    if parameters.top_p < 1.0 {
        let total: f64 = ranked.iter().map(|&id| weight(id)).sum();
        let mut reached = 0.0;
        let mut kept = 0;
        for &id in &ranked {
            reached += weight(id) / total;
            kept += 1;
            if (reached - f64::from(parameters.top_p)).abs() < 1e-9 {
                return None;
            }
            if reached >= f64::from(parameters.top_p) {
                break;
            }
        }
        ranked.truncate(kept);
    }
    let total: f64 = ranked.iter().map(|&id| weight(id)).sum();
    let mut probabilities = vec![0.0; logits.len()];
    for id in ranked {
        probabilities[id] = weight(id) / total;
    }
    Some(probabilities)
}
