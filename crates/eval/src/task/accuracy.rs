//! The share of items that are right, and how far it is from another run's.

use crate::divergence::{Z, wilson};
use serde::Serialize;

/// A share of right items.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Accuracy {
    /// The share.
    pub(crate) share: f64,
    /// Its standard error, by the sample variance as in the harness; 0 for fewer than two items.
    pub(crate) standard_error: f64,
    /// Its 95% confidence interval (Wilson 1927).
    pub(crate) interval: [f64; 2],
}

impl Accuracy {
    pub(crate) fn of(right: impl Iterator<Item = bool>) -> Self {
        let (mut successes, mut count) = (0.0, 0.0);
        for right in right {
            successes += f64::from(u8::from(right));
            count += 1.0;
        }
        let share: f64 = successes / count;
        let variance = share * (1.0 - share) / (count - 1.0);
        Self {
            share,
            standard_error: if count > 1.0 { variance.sqrt() } else { 0.0 },
            interval: wilson(successes, count),
        }
    }
}

/// The difference of two runs' accuracies on the same items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedDifference {
    /// The other run's accuracy.
    pub reference: f64,
    /// This run's, less the other's.
    pub difference: f64,
    /// The difference's 95% confidence interval: Wald's for paired shares with one item added to
    /// those gained, and one to those lost (Bonett and Price 2012, Journal of Educational and
    /// Behavioral Statistics 37(4)), which keeps its width where few items change.
    pub interval: [f64; 2],
    /// Items that are right here and wrong there.
    pub gained: usize,
    /// Items that are wrong here and right there.
    pub lost: usize,
}

impl PairedDifference {
    /// Of pairs of this run's answer and the other's to one item, each right or not.
    pub(crate) fn of(pairs: impl Iterator<Item = (bool, bool)>) -> Self {
        let (mut gained, mut lost, mut right, mut count) = (0, 0, 0, 0);
        for (own, other) in pairs {
            gained += usize::from(own && !other);
            lost += usize::from(!own && other);
            right += usize::from(other);
            count += 1;
        }
        let adjusted = |changed: usize| (changed as f64 + 1.0) / (count as f64 + 2.0);
        let (up, down) = (adjusted(gained), adjusted(lost));
        let middle = up - down;
        let half = Z * ((up + down - middle * middle) / (count as f64 + 2.0)).sqrt();
        Self {
            reference: right as f64 / count as f64,
            difference: (gained as f64 - lost as f64) / count as f64,
            interval: [middle - half, middle + half],
            gained,
            lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(counts: [usize; 4]) -> PairedDifference {
        let kinds = [(true, true), (true, false), (false, true), (false, false)];
        let pairs = kinds.iter().zip(counts);
        PairedDifference::of(pairs.flat_map(|(&pair, n)| std::iter::repeat_n(pair, n)))
    }

    #[test]
    fn accuracy_is_a_share_with_its_error() {
        let accuracy = Accuracy::of([true, true, true, false].into_iter());
        assert_eq!(accuracy.share, 0.75);
        // √(¾ · ¼ ÷ 3).
        assert!((accuracy.standard_error - 0.25).abs() < 1e-12);
        assert_eq!(accuracy.interval, wilson(3.0, 4.0));
        assert_eq!(Accuracy::of([true].into_iter()).standard_error, 0.0);
    }

    #[test]
    fn a_paired_interval_is_as_worked_by_hand() {
        // 98 items, 1 gained and 5 lost: (1 + 1) ÷ 100 and (5 + 1) ÷ 100, so the middle is −0.04 and
        // the variance (0.08 − 0.04²) ÷ 100 = 0.028².
        let paired = pairs([50, 1, 5, 42]);
        assert_eq!((paired.gained, paired.lost), (1, 5));
        assert!((paired.reference - 55.0 / 98.0).abs() < 1e-12);
        assert!((paired.difference + 4.0 / 98.0).abs() < 1e-12);
        let half = 1.959_964 * 0.028;
        let [low, high] = paired.interval;
        assert!((low - (-0.04 - half)).abs() < 1e-9, "{low}");
        assert!((high - (-0.04 + half)).abs() < 1e-9, "{high}");
    }

    #[test]
    fn no_change_is_still_uncertain() {
        let paired = pairs([60, 0, 0, 40]);
        assert_eq!(paired.difference, 0.0);
        let [low, high] = paired.interval;
        assert!(low < 0.0 && (low + high).abs() < 1e-12 && high < 0.03);
    }
}
