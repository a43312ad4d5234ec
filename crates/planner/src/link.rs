//! The link between edge and cloud, as far as a plan is concerned.

use serde::{Deserialize, Serialize};

/// Quantiles of what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantiles(Vec<f64>);

impl Quantiles {
    /// Of measurements in any order, those that are not finite or below zero left out; `None` if
    /// none is left.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite() && *value >= 0.0);
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self(values))
    }

    /// The value that a share `q` of the measurements do not exceed, straight between them.
    pub fn at(&self, q: f64) -> f64 {
        let place = q.clamp(0.0, 1.0) * (self.0.len() - 1) as f64;
        let below = place.floor() as usize;
        let above = (below + 1).min(self.0.len() - 1);
        self.0[below] + (self.0[above] - self.0[below]) * (place - below as f64)
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// All, in order.
    pub fn values(&self) -> &[f64] {
        &self.0
    }
}

/// What was measured of a link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkProfile {
    /// Seconds from a small message to its answer.
    pub round_trip: Quantiles,
    /// Bytes a second from edge to cloud; `None` where it was too fast to measure.
    pub up: Option<Quantiles>,
    /// Bytes a second from cloud to edge; `None` where it was too fast to measure, or the cloud does
    /// not help to measure it.
    pub down: Option<Quantiles>,
}

/// A link of one round trip and one rate each way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Seconds from a small message to its answer.
    pub round_trip: f64,
    /// Bytes a second from edge to cloud; infinite for what is never waited for.
    pub up: f64,
    /// Bytes a second from cloud to edge.
    pub down: f64,
}

impl LinkProfile {
    /// The link as it is half of the time.
    pub fn expected(&self) -> Link {
        self.outage(0.5)
    }

    /// The link that is worse with a probability of at most `epsilon` each way: the `epsilon`
    /// quantile of the rates, and the `1 − epsilon` quantile of the round trip.
    pub fn outage(&self, epsilon: f64) -> Link {
        let rate = |way: &Option<Quantiles>| match way {
            Some(rates) => rates.at(epsilon),
            None => f64::INFINITY,
        };
        Link {
            round_trip: self.round_trip.at(1.0 - epsilon),
            up: rate(&self.up),
            down: rate(&self.down),
        }
    }

    /// The profile of a link of which round trip (seconds) and rates (bytes a second) are known.
    pub fn known(link: Link) -> Self {
        let rate = |rate: f64| rate.is_finite().then(|| Quantiles(vec![rate]));
        Self {
            round_trip: Quantiles(vec![link.round_trip]),
            up: rate(link.up),
            down: rate(link.down),
        }
    }
}

/// The rate in bits a second that a Rayleigh fading channel of `bandwidth` hertz and mean `snr` (a
/// ratio, not decibels) falls short of with probability `epsilon`:
/// `B · log2(1 − SNR · ln(1 − ε))`, as in the paper. The channel's gain is exponentially
/// distributed with mean 1, and `−ln(1 − ε)` is its `ε` quantile.
pub fn rayleigh_outage_rate(bandwidth: f64, snr: f64, epsilon: f64) -> f64 {
    bandwidth * (1.0 - snr * (1.0 - epsilon).ln()).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_link_is_worse_than_the_expected_one() {
        let quantiles = |values: &[f64]| Quantiles::of(values.to_vec()).unwrap();
        let profile = LinkProfile {
            round_trip: quantiles(&[0.03, 0.01, 0.02]),
            up: Some(quantiles(&[1000.0, 3000.0, 2000.0])),
            down: None,
        };
        let expected = profile.expected();
        assert_eq!((expected.round_trip, expected.up), (0.02, 2000.0));
        let bad = profile.outage(0.25);
        assert_eq!((bad.round_trip, bad.up), (0.025, 1500.0));
        assert!(bad.down.is_infinite());
        assert_eq!(Quantiles::of(vec![f64::NAN, -1.0]), None);
    }

    /// By hand: a mean SNR of 10 and ε = 0.1: −ln 0.9 = 0.10536, log2(1 + 1.0536) = 1.0382.
    #[test]
    fn a_fading_channels_outage_rate() {
        let rate = rayleigh_outage_rate(1e6, 10.0, 0.1);
        assert!((rate - 1.0382e6).abs() < 100.0, "{rate}");
        // What falls short half of the time is more, and of nothing there is nothing.
        assert!(rayleigh_outage_rate(1e6, 10.0, 0.5) > rate);
        assert_eq!(rayleigh_outage_rate(1e6, 0.0, 0.1), 0.0);
    }
}
