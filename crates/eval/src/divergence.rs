//! How far one run's predictions are from another's.

use crate::score::negative_log_likelihood;
use serde::Serialize;

/// Predictions compared, token by token.
#[derive(Debug, Clone, Default)]
pub struct Divergence {
    kl: Vec<f64>,
    same: usize,
    cost: f64,
    reference_cost: f64,
}

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Compared {
    /// Mean Kullback-Leibler divergence of a token's prediction from the reference's, in nats.
    pub kl_mean: f64,
    /// Its standard error.
    pub kl_standard_error: f64,
    /// The divergence that 99% of tokens stay below.
    pub kl_p99: f64,
    /// The share of tokens whose likeliest successor is the same.
    pub top1_agreement: f64,
    /// Its 95% confidence interval (Wilson 1927).
    pub top1_interval: [f64; 2],
    /// Perplexity.
    pub perplexity: f64,
    /// The reference's.
    pub perplexity_reference: f64,
    /// The first less the second, as a share of the second.
    pub perplexity_change: f64,
    /// Tokens compared.
    pub tokens_scored: usize,
}

impl Divergence {
    /// Adds the predictions of `target` by both runs' logits, `[vocabulary]` each. Returns false,
    /// and adds nothing, when one of them gives no finite probabilities.
    #[must_use]
    pub fn add(&mut self, reference: &[f32], logits: &[f32], target: u32) -> bool {
        let costs = [reference, logits].map(|l| negative_log_likelihood(l, target));
        let kl = kl(reference, logits);
        if !(kl.is_finite() && costs.iter().all(|c| c.is_finite())) {
            return false;
        }
        self.kl.push(kl);
        self.same += usize::from(likeliest(reference) == likeliest(logits));
        self.reference_cost += costs[0];
        self.cost += costs[1];
        true
    }

    /// The mean divergence so far.
    pub fn mean(&self) -> f64 {
        self.kl.iter().sum::<f64>() / self.kl.len() as f64
    }

    /// All of it.
    pub fn summary(&self) -> Compared {
        let count = self.kl.len() as f64;
        let mean = self.mean();
        let variance = self.kl.iter().map(|kl| (kl - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let mut sorted = self.kl.clone();
        sorted.sort_by(f64::total_cmp);
        let p99 = (0.99 * count).ceil() as usize;
        let perplexity = (self.cost / count).exp();
        let perplexity_reference = (self.reference_cost / count).exp();
        Compared {
            kl_mean: mean,
            kl_standard_error: (variance / count).sqrt(),
            kl_p99: sorted
                .get(p99.saturating_sub(1))
                .copied()
                .unwrap_or(f64::NAN),
            top1_agreement: self.same as f64 / count,
            top1_interval: wilson(self.same as f64, count),
            perplexity,
            perplexity_reference,
            perplexity_change: perplexity / perplexity_reference - 1.0,
            tokens_scored: self.kl.len(),
        }
    }
}

/// KL(softmax(reference) ‖ softmax(logits)).
fn kl(reference: &[f32], logits: &[f32]) -> f64 {
    kl_given(reference, log_sum(reference), logits)
}

/// The same, given the reference's [`log_sum`].
pub(crate) fn kl_given(reference: &[f32], of_reference: f64, logits: &[f32]) -> f64 {
    let of_logits = log_sum(logits);
    let mut sum = 0.0;
    for (&p, &q) in reference.iter().zip(logits) {
        let log_p = (f64::from(p) - of_reference) as f32;
        // What is left out is less than 1e-7 of a probability.
        if log_p > -30.0 {
            let difference = f64::from(p) - of_reference - (f64::from(q) - of_logits);
            sum += f64::from(log_p.exp()) * difference;
        }
    }
    // `max` would turn NaN into 0 and hide it.
    if sum < 0.0 { 0.0 } else { sum }
}

/// The logarithm of the sum of the logits' exponentials.
pub(crate) fn log_sum(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits
        .chunks(1024)
        .map(|part| part.iter().map(|&l| (l - max).exp()).sum::<f32>())
        .sum();
    f64::from(max) + f64::from(sum).ln()
}

/// The place of the greatest logit, the first of equals.
pub(crate) fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (at, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = at;
        }
    }
    best
}

/// The standard normal distribution's quantile that 95% lie within, on both sides of 0.
pub(crate) const Z: f64 = 1.959_964;

/// The 95% confidence interval of a share (Wilson 1927).
pub(crate) fn wilson(successes: f64, count: f64) -> [f64; 2] {
    let share = successes / count;
    let scale = 1.0 + Z * Z / count;
    let middle = (share + Z * Z / (2.0 * count)) / scale;
    let half = Z / scale * (share * (1.0 - share) / count + Z * Z / (4.0 * count * count)).sqrt();
    [middle - half, middle + half]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_predictions_do_not_diverge() {
        let mut divergence = Divergence::default();
        for target in 0..3 {
            assert!(divergence.add(&[1.0, 2.0, 3.0], &[5.0, 6.0, 7.0], target));
        }
        let compared = divergence.summary();
        assert!(compared.kl_mean < 1e-9, "{compared:?}");
        assert_eq!(compared.top1_agreement, 1.0);
        assert!(compared.perplexity_change.abs() < 1e-9);
        assert!(!divergence.add(&[f32::NAN], &[0.0], 0));
    }

    #[test]
    fn divergence_is_kullback_and_leiblers() {
        // (1/2, 1/2) against (3/4, 1/4): ½ ln(½ ÷ ¾) + ½ ln(½ ÷ ¼).
        let mut divergence = Divergence::default();
        assert!(divergence.add(&[0.0, 0.0], &[3f32.ln(), 0.0], 1));
        assert!(divergence.add(&[0.0, 1.0], &[1.0, 0.0], 1));
        let expected = 0.5 * (2.0f64 / 3.0).ln() + 0.5 * 2f64.ln();
        assert!((divergence.kl[0] - expected).abs() < 1e-6);
        assert_eq!(divergence.summary().top1_agreement, 0.5);
    }

    #[test]
    fn an_interval_holds_its_share() {
        let [low, high] = wilson(98.0, 100.0);
        assert!(
            (low - 0.930).abs() < 1e-3 && (high - 0.9945).abs() < 1e-3,
            "{low} {high}"
        );
    }
}
