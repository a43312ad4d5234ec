//! How soon somebody who was refused should ask again.

use std::time::{Duration, Instant};

/// Where nothing is known yet.
const UNKNOWN: Duration = Duration::from_secs(1);
/// Shorter waits cost more than they save.
const LEAST: Duration = Duration::from_millis(250);
/// Longer ones leave room unused; refusals that are older count no more.
const MOST: Duration = Duration::from_secs(30);
/// The weight of the last interval.
const NEW: f64 = 0.25;

/// How fast sessions end, and who waits for that outside.
#[derive(Debug, Default)]
pub(super) struct Turnover {
    ended: Option<Instant>,
    /// Between two ends, lately.
    interval: Option<Duration>,
    /// Refused since: each end has room for one of them.
    refused: u32,
    last_refused: Option<Instant>,
}

impl Turnover {
    /// A session has ended.
    pub(super) fn ended(&mut self, now: Instant) {
        if let Some(before) = self.ended.replace(now) {
            let last = now.saturating_duration_since(before);
            self.interval = Some(match self.interval {
                Some(interval) => interval.mul_f64(1.0 - NEW) + last.mul_f64(NEW),
                None => last,
            });
        }
        self.refused = self.refused.saturating_sub(1);
    }

    /// Somebody is refused. Returns how long until it is likely to be its turn: those who were refused before
    /// come first.
    pub(super) fn refuse(&mut self, now: Instant) -> Duration {
        let last = self.last_refused.replace(now);
        if last.is_some_and(|last| now.saturating_duration_since(last) > MOST) {
            self.refused = 0;
        }
        self.refused = self.refused.saturating_add(1);
        let each = self.interval.unwrap_or(UNKNOWN).min(MOST);
        each.saturating_mul(self.refused).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_follow_how_fast_sessions_end_and_how_many_wait() {
        let begin = Instant::now();
        let mut turnover = Turnover::default();
        assert_eq!(turnover.refuse(begin), UNKNOWN);
        assert_eq!(turnover.refuse(begin), 2 * UNKNOWN);
        for second in 0..20 {
            turnover.ended(begin + 3 * second * SECOND);
        }
        let now = begin + 60 * SECOND;
        assert_eq!(turnover.refuse(now), 3 * SECOND);
        assert_eq!(turnover.refuse(now), 6 * SECOND);
        turnover.ended(now);
        assert_eq!(turnover.refuse(now), 6 * SECOND);
    }

    #[test]
    fn waits_are_neither_idle_nor_endless() {
        let begin = Instant::now();
        let mut turnover = Turnover::default();
        for millis in 0..10 {
            turnover.ended(begin + Duration::from_millis(millis));
        }
        assert_eq!(turnover.refuse(begin), LEAST);
        for _ in 0..1_000_000 {
            let _ = turnover.refuse(begin);
        }
        assert_eq!(turnover.refuse(begin), MOST);
        // Who has not come back by then has gone elsewhere.
        assert_eq!(turnover.refuse(begin + 2 * MOST), LEAST);
    }
}
