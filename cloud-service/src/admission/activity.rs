//! What a session is doing, as far as it matters when another one needs its room.

use std::time::{Duration, Instant};

/// A session's phase and its last sign of life.
#[derive(Debug)]
pub(super) struct Activity {
    phase: Phase,
    last_sign: Instant,
    /// Steps that the engine owes it.
    waits_for: usize,
    /// Whether its stream broke, and nobody has taken it up yet.
    is_left: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No answer has begun.
    Opened,
    /// From the first rows of an answer to its end.
    Answering,
    /// Between answers.
    Kept,
}

/// When a session must go: the least of all first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    rank: Rank,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Left,
    Kept,
    Stalled,
    Opened,
}

impl Activity {
    /// A session that was opened just now.
    pub(super) fn opened(now: Instant) -> Self {
        Self {
            phase: Phase::Opened,
            last_sign: now,
            waits_for: 0,
            is_left: false,
        }
    }

    /// Its stream broke, or another one has taken it up.
    pub(super) fn leave(&mut self, is_left: bool, now: Instant) {
        self.is_left = is_left;
        self.last_sign = now;
    }

    /// Rows of an answer have come.
    pub(super) fn answers(&mut self, now: Instant) {
        self.phase = Phase::Answering;
        self.last_sign = now;
    }

    /// Rows of no answer have come.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_sign = now;
    }

    /// The answer has ended, or was truncated.
    pub(super) fn kept(&mut self, now: Instant) {
        if self.phase == Phase::Answering {
            self.phase = Phase::Kept;
        }
        self.last_sign = now;
    }

    /// The engine owes it `steps`. Its silence counts from the last one's end.
    pub(super) fn waits_for(&mut self, steps: usize, now: Instant) {
        self.waits_for = steps;
        self.last_sign = now;
    }

    pub(super) fn is_answering(&self) -> bool {
        self.phase == Phase::Answering && !self.is_left
    }

    /// When it must go; `None` while an answer goes on. One that has been silent for `stall` does not.
    pub(super) fn turn(&self, now: Instant, stall: Duration) -> Option<Turn> {
        let silent = now.saturating_duration_since(self.last_sign);
        let rank = match self.phase {
            _ if self.is_left => Rank::Left,
            Phase::Kept => Rank::Kept,
            Phase::Opened => Rank::Opened,
            Phase::Answering if self.waits_for == 0 && silent >= stall => Rank::Stalled,
            Phase::Answering => return None,
        };
        Some(Turn {
            rank,
            since: self.last_sign,
        })
    }
}

impl Turn {
    /// The label of the metric that counts evictions.
    pub(super) fn reason(self) -> &'static str {
        match self.rank {
            Rank::Stalled => "stalled",
            Rank::Left | Rank::Kept | Rank::Opened => "pressure",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(30);

    #[test]
    fn sessions_that_were_left_go_before_all_others_until_they_are_taken_up() {
        let begin = Instant::now();
        let mut left = Activity::opened(begin);
        left.answers(begin);
        assert_eq!(left.turn(begin, STALL), None);
        left.leave(true, begin);
        let mut kept = Activity::opened(begin - STALL);
        kept.answers(begin - STALL);
        kept.kept(begin - STALL);
        assert!(left.turn(begin, STALL) < kept.turn(begin, STALL));
        assert!(!left.is_answering());
        left.leave(false, begin);
        assert_eq!(left.turn(begin, STALL), None);
    }

    #[test]
    fn kept_sessions_go_first_then_stalled_answers_then_those_that_have_not_begun() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let opened = Activity::opened(at(0));
        let mut stalled = Activity::opened(at(0));
        stalled.answers(at(20));
        let mut kept = Activity::opened(at(0));
        kept.answers(at(10));
        kept.kept(at(49));
        let turn = |activity: &Activity| activity.turn(at(50), STALL).unwrap();
        let mut order = [turn(&opened), turn(&stalled), turn(&kept)];
        order.sort();
        assert_eq!(order, [turn(&kept), turn(&stalled), turn(&opened)]);
        assert_eq!(turn(&stalled).reason(), "stalled");
    }

    #[test]
    fn an_answer_stays_until_it_is_silent() {
        let begin = Instant::now();
        let mut activity = Activity::opened(begin);
        activity.answers(begin);
        assert_eq!(activity.turn(begin + STALL / 2, STALL), None);
        activity.answers(begin + STALL / 2);
        assert_eq!(activity.turn(begin + STALL, STALL), None);
        assert!(activity.turn(begin + STALL * 3 / 2, STALL).is_some());
        // Whoever waits for the engine is not the one that is silent.
        activity.waits_for(1, begin + STALL / 2);
        assert_eq!(activity.turn(begin + STALL * 9, STALL), None);
        activity.waits_for(0, begin + STALL * 9);
        assert_eq!(activity.turn(begin + STALL * 9, STALL), None);
    }

    #[test]
    fn a_truncate_before_the_first_answer_keeps_nothing() {
        let begin = Instant::now();
        let mut activity = Activity::opened(begin);
        activity.kept(begin);
        assert_eq!(activity.turn(begin, STALL).unwrap().rank, Rank::Opened);
    }
}
