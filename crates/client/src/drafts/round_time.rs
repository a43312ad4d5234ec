//! What a round trip with some rows takes: `time = first row + more rows × each`, from those of late.

use super::trial::Trials;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is left of a round trip with each later one: some thirty count.
const KEPT: f64 = 0.97;
/// A row more takes this share of a round trip with one, before anything is known.
const ROW_AT_FIRST: f64 = 0.1;
/// As how many squared rows that counts.
const FIRST_WEIGHT: f64 = 12.0;
/// The least share that a row more is taken for: what the link hides of it, the cloud computes all the same.
const ROW_LEAST: f64 = 0.03;
/// What takes so many times as long as was expected had another reason, and counts as this.
const LONGEST: f64 = 3.0;

/// The round trips to one cloud; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoundTimes {
    sums: Arc<Mutex<Sums>>,
    /// Whether a draft model makes answers over them faster.
    pub(super) trials: Trials,
}

/// Of weights, rows behind the first, seconds, and products.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    weight: f64,
    rows: f64,
    seconds: f64,
    rows_rows: f64,
    rows_seconds: f64,
}

/// What a round trip takes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RoundTime {
    /// With one row.
    pub(super) first: f64,
    /// More with each other one.
    pub(super) each: f64,
}

impl RoundTimes {
    /// One with so many rows has taken so long.
    pub(crate) fn note(&self, rows: usize, taken: Duration) {
        let expected = self.expected();
        let mut sums = self.lock();
        let rows = rows.saturating_sub(1) as f64;
        let mut seconds = taken.as_secs_f64();
        if let Some(expected) = expected {
            seconds = seconds.min(LONGEST * (expected.first + rows * expected.each));
        }
        *sums = Sums {
            weight: KEPT * sums.weight + 1.0,
            rows: KEPT * sums.rows + rows,
            seconds: KEPT * sums.seconds + seconds,
            rows_rows: KEPT * sums.rows_rows + rows * rows,
            rows_seconds: KEPT * sums.rows_seconds + rows * seconds,
        };
    }

    /// What one takes now; `None` before the first.
    pub(super) fn expected(&self) -> Option<RoundTime> {
        let sums = *self.lock();
        if sums.weight <= 0.0 {
            return None;
        }
        // Least squares, drawn to the ratio that holds at first.
        let (rows, seconds) = (sums.rows / sums.weight, sums.seconds / sums.weight);
        let variance = sums.rows_rows - sums.rows * rows;
        let covariance = sums.rows_seconds - sums.rows * seconds;
        let guess = ROW_AT_FIRST * seconds / (1.0 + ROW_AT_FIRST * rows);
        let each = (covariance + FIRST_WEIGHT * guess) / (variance + FIRST_WEIGHT);
        let first = (seconds - rows * each.max(0.0)).max(0.0);
        Some(RoundTime {
            first,
            each: each.max(ROW_LEAST * first),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rows_take_is_learnt() {
        let times = RoundTimes::default();
        assert_eq!(times.expected(), None);
        let taken = |rows: usize| Duration::from_millis(40 + 12 * (rows as u64 - 1));
        times.note(1, taken(1));
        let first = times.expected().unwrap();
        assert!((first.each / first.first - ROW_AT_FIRST).abs() < 1e-9);
        for rows in [5, 1, 3, 9, 1, 4, 2, 8, 6, 1, 1, 7, 3, 2] {
            times.note(rows, taken(rows));
        }
        let learnt = times.expected().unwrap();
        assert!((learnt.each - 0.012).abs() < 0.001, "{learnt:?}");
        assert!((learnt.first - 0.040).abs() < 0.004, "{learnt:?}");
    }

    #[test]
    fn a_row_is_never_free() {
        let times = RoundTimes::default();
        for rows in [1, 9, 1, 9, 1, 9, 1, 9] {
            times.note(rows, Duration::from_millis(100));
        }
        let learnt = times.expected().unwrap();
        assert!((learnt.each / learnt.first - ROW_LEAST).abs() < 1e-9);
    }

    #[test]
    fn a_pause_changes_little() {
        let times = RoundTimes::default();
        for _ in 0..30 {
            times.note(1, Duration::from_millis(50));
        }
        times.note(1, Duration::from_secs(20));
        assert!(times.expected().unwrap().first < 0.06);
    }
}
