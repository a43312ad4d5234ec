//! How long a step waits for sessions whose rows are on their way.
//!
//! The sessions of a step get their tokens together and come again within a moment of each other, those that
//! are near within a fraction of a step. A step that begins with the first of them leaves the others to the
//! next one, and soon two halves take turns. So a step waits a little for the sessions of the last, for as
//! long as waiting has brought some; where they are too far away it soon waits no more, and tries again now
//! and then.

use std::time::Duration;

/// The longest wait, of what the last step took.
const MOST: f64 = 0.125;
/// Shares below this are treated as zero: so short a wait catches nobody.
const LEAST: f64 = MOST / 32.0;
/// Steps without a wait after which one is tried again.
const STEPS_BETWEEN: u32 = 64;

/// Learns whether waiting pays.
#[derive(Debug)]
pub(crate) struct Gather {
    /// Of what a step takes.
    share: f64,
    steps: u32,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self {
            share: MOST,
            steps: 0,
        }
    }

    /// How long the next step waits, behind one that took so long.
    pub(crate) fn wait(&mut self, took: Duration) -> Duration {
        if self.share < LEAST {
            self.steps += 1;
            if self.steps < STEPS_BETWEEN {
                return Duration::ZERO;
            }
            self.share = 2.0 * LEAST;
        }
        self.steps = 0;
        took.mul_f64(self.share)
    }

    /// Whether somebody came in the meantime.
    pub(crate) fn waited(&mut self, somebody_came: bool) {
        self.share = if somebody_came {
            (2.0 * self.share).min(MOST)
        } else {
            0.5 * self.share
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(80);

    #[test]
    fn it_waits_for_those_who_come_and_soon_no_more_for_those_who_do_not() {
        let mut gather = Gather::new();
        assert_eq!(gather.wait(STEP), STEP / 8);
        gather.waited(true);
        assert_eq!(gather.wait(STEP), STEP / 8);
        let mut waited = Duration::ZERO;
        for _ in 0..1000 {
            let wait = gather.wait(STEP);
            if !wait.is_zero() {
                waited += wait;
                gather.waited(false);
            }
        }
        // The first few waits, and one of a hundredth of a step now and then.
        assert!(waited < STEP, "{waited:?}");
    }

    #[test]
    fn it_finds_out_that_they_come_again() {
        let mut gather = Gather::new();
        (0..20).for_each(|_| gather.waited(false));
        let mut waits = 0;
        for _ in 0..500 {
            if !gather.wait(STEP).is_zero() {
                gather.waited(true);
                waits += 1;
            }
        }
        assert!(waits > 400, "{waits}");
    }
}
