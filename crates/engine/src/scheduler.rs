//! Whose turn it is on the engine thread: decode before prefill, sessions in turn, each session's
//! steps in order.

use std::collections::{HashMap, VecDeque};

/// Names a session on its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNumber(pub(crate) u64);

/// What kind of step waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Short and waited for: one row, or bookkeeping.
    Decode,
    /// A chunk of a prompt.
    Prefill,
}

/// Decode steps that go first in a row while a prefill waits: without a limit, enough decoding
/// sessions would keep a new one out for ever.
const DECODES_BEFORE_A_PREFILL: u32 = 16;

/// Queues of steps by session.
#[derive(Debug)]
pub(crate) struct Scheduler<J> {
    queues: HashMap<SessionNumber, VecDeque<(Priority, J)>>,
    decode: VecDeque<SessionNumber>,
    prefill: VecDeque<SessionNumber>,
    decodes_in_a_row: u32,
}

impl<J> Scheduler<J> {
    pub(crate) fn new() -> Self {
        Self {
            queues: HashMap::new(),
            decode: VecDeque::new(),
            prefill: VecDeque::new(),
            decodes_in_a_row: 0,
        }
    }

    /// Queues a step behind the session's others.
    pub(crate) fn push(&mut self, session: SessionNumber, priority: Priority, job: J) {
        let queue = self.queues.entry(session).or_default();
        queue.push_back((priority, job));
        if queue.len() == 1 {
            self.ready(session, priority);
        }
    }

    /// The next step. `absorb` is offered the steps that follow it in its session, one by one,
    /// and gives back the first that does not fit into it.
    pub(crate) fn pop(
        &mut self,
        mut absorb: impl FnMut(&mut J, J) -> Option<J>,
    ) -> Option<(SessionNumber, J)> {
        let session = self.next_session()?;
        let queue = self.queues.get_mut(&session)?;
        let (priority, mut job) = queue.pop_front()?;
        while priority == Priority::Prefill
            && let Some((next_priority, next)) = queue.pop_front()
        {
            if let Some(refused) = absorb(&mut job, next) {
                queue.push_front((next_priority, refused));
                break;
            }
        }
        match queue.front() {
            Some(&(priority, _)) => self.ready(session, priority),
            None => {
                self.queues.remove(&session);
            }
        }
        Some((session, job))
    }

    /// Puts what is left of a popped prefill before the session's other steps, behind what others wait for.
    pub(crate) fn resume(&mut self, session: SessionNumber, job: J) {
        self.unready(session);
        let queue = self.queues.entry(session).or_default();
        queue.push_front((Priority::Prefill, job));
        self.ready(session, Priority::Prefill);
    }

    /// Forgets a session and its waiting steps.
    pub(crate) fn remove(&mut self, session: SessionNumber) {
        if self.queues.remove(&session).is_some() {
            self.unready(session);
        }
    }

    fn unready(&mut self, session: SessionNumber) {
        self.decode.retain(|&s| s != session);
        self.prefill.retain(|&s| s != session);
    }

    fn ready(&mut self, session: SessionNumber, priority: Priority) {
        match priority {
            Priority::Decode => self.decode.push_back(session),
            Priority::Prefill => self.prefill.push_back(session),
        }
    }

    fn next_session(&mut self) -> Option<SessionNumber> {
        let turn_of_prefill = self.decodes_in_a_row >= DECODES_BEFORE_A_PREFILL;
        if (!turn_of_prefill || self.prefill.is_empty())
            && let Some(session) = self.decode.pop_front()
        {
            self.decodes_in_a_row = self.decodes_in_a_row.saturating_add(1);
            return Some(session);
        }
        self.decodes_in_a_row = 0;
        self.prefill.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionNumber = SessionNumber(1);
    const B: SessionNumber = SessionNumber(2);
    const C: SessionNumber = SessionNumber(3);

    fn order(scheduler: &mut Scheduler<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| scheduler.pop(|_, next| Some(next)).map(|(_, job)| job)).collect()
    }

    #[test]
    fn decode_overtakes_prefill_of_others_but_not_of_its_own_session() {
        let mut s = Scheduler::new();
        s.push(A, Priority::Prefill, "a1");
        s.push(A, Priority::Prefill, "a2");
        s.push(A, Priority::Decode, "a3");
        s.push(B, Priority::Decode, "b1");
        assert_eq!(order(&mut s), ["b1", "a1", "a2", "a3"]);
    }

    #[test]
    fn prefills_take_turns() {
        let mut s = Scheduler::new();
        for job in ["a1", "a2", "a3"] {
            s.push(A, Priority::Prefill, job);
        }
        for job in ["b1", "b2"] {
            s.push(B, Priority::Prefill, job);
        }
        assert_eq!(order(&mut s), ["a1", "b1", "a2", "b2", "a3"]);
    }

    #[test]
    fn decoding_sessions_cannot_keep_a_prefill_out() {
        let mut s = Scheduler::new();
        s.push(C, Priority::Prefill, "prefill");
        for step in 0.. {
            s.push(A, Priority::Decode, "decode");
            s.push(B, Priority::Decode, "decode");
            assert!(step <= DECODES_BEFORE_A_PREFILL);
            if s.pop(|_, next| Some(next)).unwrap().1 == "prefill" {
                break;
            }
        }
    }

    #[test]
    fn the_rest_of_a_long_prefill_waits_for_its_turn() {
        let mut s = Scheduler::new();
        s.push(A, Priority::Prefill, "long");
        s.push(A, Priority::Decode, "behind it");
        s.push(B, Priority::Prefill, "another's");
        let (session, job) = s.pop(|_, next| Some(next)).unwrap();
        s.push(C, Priority::Decode, "a token");
        s.resume(session, job);
        assert_eq!(order(&mut s), ["a token", "another's", "long", "behind it"]);
    }

    #[test]
    fn a_closed_session_waits_for_nothing() {
        let mut s = Scheduler::new();
        s.push(A, Priority::Decode, "a");
        s.push(B, Priority::Prefill, "b");
        s.remove(A);
        s.push(A, Priority::Decode, "again");
        assert_eq!(order(&mut s), ["again", "b"]);
    }

    #[test]
    fn a_prefill_absorbs_what_fits() {
        let mut s = Scheduler::new();
        for rows in [10, 20, 30, 40] {
            s.push(A, Priority::Prefill, rows);
        }
        let mut merge = |into: &mut i32, next: i32| {
            if *into + next > 60 {
                return Some(next);
            }
            *into += next;
            None
        };
        assert_eq!(s.pop(&mut merge), Some((A, 60)));
        assert_eq!(s.pop(&mut merge), Some((A, 40)));
        assert_eq!(s.pop(&mut merge), None);
    }
}
