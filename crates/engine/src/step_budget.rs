//! How many rows of prompts and of drafts may join a step without making those who wait for a token wait too long.

use crate::back::MERGED_ROWS;
use crate::engine_step::EngineStep;
use std::time::Duration;

/// How much a new measurement counts.
const WEIGHT: f64 = 0.2;
/// Rows that joined below which a step says little of what one takes.
const ENOUGH_ROWS: usize = 8;
/// Rows that may always join: prompts go on, however slow the machine is.
const LEAST_ROWS: usize = 4;

/// Steps with rows that joined, after which a step has none, where sessions wait for a token: how many sessions
/// do so changes, and only such a step tells what their rows take.
const STALE: usize = 64;
/// How much longer a step may take before one without rows that joined was seen.
const UNKNOWN: Duration = Duration::from_millis(20);

/// Learns what rows take.
#[derive(Debug)]
pub(crate) struct StepBudget {
    /// How much longer a step may take for the rows that join it, where that is said.
    longer: Option<Duration>,
    /// Seconds of a step of one row a session, each of which waits for a token.
    decode: Option<f64>,
    /// Steps since the last of these.
    since_decode: usize,
    /// Seconds of a row that joined a step.
    row: Option<f64>,
}

impl StepBudget {
    /// Steps in which somebody waits for a token may take `longer` for the rows that join, or as much as is good for both.
    pub(crate) fn new(longer: Option<Duration>) -> Self {
        Self {
            longer,
            decode: None,
            since_decode: 0,
            row: None,
        }
    }

    /// Rows that may join a step that has `decoding` others, where somebody comes soon for a token or nobody does.
    pub(crate) fn rows(&self, decoding: usize, somebody_comes: bool) -> usize {
        let Some(row) = self.row.filter(|_| decoding > 0 || somebody_comes) else {
            return MERGED_ROWS;
        };
        if decoding > 0 && self.since_decode >= STALE {
            return 0;
        }
        let longer = match (self.longer, self.decode) {
            (Some(longer), _) => longer.as_secs_f64(),
            // So that a prompt and those who wait for tokens have half of the time each.
            (None, Some(decode)) => decode,
            (None, None) => UNKNOWN.as_secs_f64(),
        };
        let rows = longer / row.max(1e-9);
        (rows as usize).clamp(LEAST_ROWS, MERGED_ROWS)
    }

    /// A step has ended.
    pub(crate) fn learn(&mut self, step: &EngineStep) {
        let took = step.took.as_secs_f64();
        let rows = step.prefill_rows + step.draft_rows;
        self.since_decode += 1;
        if rows == 0 {
            self.since_decode = 0;
            learn(&mut self.decode, took);
        } else if rows >= ENOUGH_ROWS {
            let decode = self.decode.filter(|_| step.decode_rows > 0).unwrap_or(0.0);
            learn(&mut self.row, (took - decode).max(0.0) / rows as f64);
        }
    }
}

fn learn(known: &mut Option<f64>, found: f64) {
    *known = Some(match *known {
        Some(before) => before + WEIGHT * (found - before),
        None => found,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn step(decode_rows: usize, prefill_rows: usize, took: Duration) -> EngineStep {
        EngineStep {
            decode_rows,
            draft_rows: 0,
            prefill_rows,
            took,
        }
    }

    #[test]
    fn prompts_have_a_step_to_themselves_where_nobody_waits() {
        let mut budget = StepBudget::new(Some(10 * MILLISECOND));
        assert_eq!(budget.rows(0, false), MERGED_ROWS);
        budget.learn(&step(0, 128, 256 * MILLISECOND));
        assert_eq!(budget.rows(0, false), MERGED_ROWS);
    }

    #[test]
    fn rows_join_as_far_as_the_step_may_take_longer() {
        let mut budget = StepBudget::new(Some(10 * MILLISECOND));
        (0..50).for_each(|_| budget.learn(&step(4, 0, 20 * MILLISECOND)));
        (0..50).for_each(|_| budget.learn(&step(4, 16, 52 * MILLISECOND)));
        // Two milliseconds a row.
        assert!((4..=6).contains(&budget.rows(4, true)));
    }

    #[test]
    fn without_a_word_a_step_takes_up_to_twice_as_long() {
        let mut budget = StepBudget::new(None);
        budget.learn(&step(0, 100, 200 * MILLISECOND));
        assert_eq!(budget.rows(4, true), 10, "before a step without was seen");
        for decode in [16, 40] {
            (0..50).for_each(|_| budget.learn(&step(4, 0, decode * MILLISECOND)));
            let rows = decode as usize / 2;
            assert!((rows - 1..=rows).contains(&budget.rows(4, true)));
        }
    }

    #[test]
    fn a_step_without_prompts_comes_now_and_then() {
        let mut budget = StepBudget::new(None);
        (0..10).for_each(|_| budget.learn(&step(1, 0, 5 * MILLISECOND)));
        // Many more come with their rows, which looks as if those of the prompt took longer.
        let mut rows = Vec::new();
        for _ in 0..10 * STALE {
            rows.push(budget.rows(64, true));
            let last = rows[rows.len() - 1];
            budget.learn(&step(64, last, (50 + last as u32) * MILLISECOND));
        }
        assert!(rows.iter().filter(|rows| **rows == 0).count() <= 10);
        assert!(rows[9 * STALE..].iter().any(|rows| *rows > 20), "{rows:?}");
        assert_eq!(budget.rows(0, true).min(1), 1, "nobody else would run");
    }

    #[test]
    fn a_prompt_goes_on_however_slow_the_machine_is() {
        let mut budget = StepBudget::new(Some(MILLISECOND));
        budget.learn(&step(0, 128, 10_000 * MILLISECOND));
        assert_eq!(budget.rows(4, true), LEAST_ROWS);
    }
}
