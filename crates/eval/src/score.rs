//! Perplexity from logits.

/// The sum of what a model's predictions cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Score {
    count: usize,
    sum: f64,
    sum_of_squares: f64,
}

impl Score {
    /// Adds the prediction of `target` by a row of logits. Returns false, and adds nothing, when
    /// the model gives no finite probability.
    #[must_use]
    pub fn add(&mut self, logits: &[f32], target: u32) -> bool {
        let cost = negative_log_likelihood(logits, target);
        if !cost.is_finite() {
            return false;
        }
        self.count += 1;
        self.sum += cost;
        self.sum_of_squares += cost * cost;
        true
    }

    /// Tokens scored.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The exponential of the mean negative log likelihood.
    pub fn perplexity(&self) -> f64 {
        self.mean().exp()
    }

    /// The perplexity's standard error, from the spread of the tokens' likelihoods and by the
    /// delta method, as llama.cpp prints it. 0 for fewer than two tokens.
    pub fn standard_error(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let variance = self.sum_of_squares / self.count as f64 - self.mean().powi(2);
        let of_mean = (variance.max(0.0) / (self.count - 1) as f64).sqrt();
        of_mean * self.perplexity()
    }

    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// −ln softmax(logits)[target], in nats.
pub(crate) fn negative_log_likelihood(logits: &[f32], target: u32) -> f64 {
    let Some(&own) = logits.get(target as usize) else {
        return f64::NAN;
    };
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from((l - max).exp())).sum();
    sum.ln() - f64::from(own - max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_knows_nothing_has_the_vocabulary_as_perplexity() {
        let mut score = Score::default();
        for target in 0..5 {
            assert!(score.add(&[3.0; 5], target));
        }
        assert_eq!(score.count(), 5);
        assert!((score.perplexity() - 5.0).abs() < 1e-12);
        assert!(score.standard_error() < 1e-6);
    }

    #[test]
    fn perplexity_is_the_geometric_mean_of_inverse_probabilities() {
        // Probabilities 1/4 and 3/4, and 3/4 once more.
        let row = [0.0, 3f32.ln()];
        let mut score = Score::default();
        for target in [0, 1, 1] {
            assert!(score.add(&row, target));
        }
        let expected = (4.0 * (4.0 / 3.0) * (4.0 / 3.0f64)).cbrt();
        assert!((score.perplexity() - expected).abs() < 1e-6);
        // Costs ln 4 and twice ln 4/3 have a population variance of 2/9 · (ln 3)².
        let of_mean = (2.0 / 9.0f64 / 2.0).sqrt() * 3f64.ln();
        assert!((score.standard_error() - of_mean * expected).abs() < 1e-6);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut score = Score::default();
        assert!(score.add(&[1e30, -1e30, 1e30], 0));
        assert!((score.perplexity() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_probability_is_not_counted() {
        let mut score = Score::default();
        assert!(!score.add(&[f32::NAN, 0.0], 1));
        assert!(!score.add(&[f32::INFINITY, 0.0], 1));
        assert!(!score.add(&[0.0], 1));
        assert!(!score.add(&[0.0, f32::NEG_INFINITY], 1));
        assert_eq!(score.count(), 0);
    }
}
