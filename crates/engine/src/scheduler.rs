//! Whose turn it is on the engine thread: owners in turn, so that each gets as many rows as the others, an
//! owner's sessions in turn, but first those that compute again what other sessions had, each session's steps in order and one at a time. A step of the engine takes all
//! decode steps that are ready, and prefills behind them.

use crate::turns::Turns;
use std::collections::{HashMap, HashSet, VecDeque};

/// Names a session on its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNumber {
    pub(crate) number: u64,
    /// Whose rows its rows count among.
    pub(crate) owner: OwnerNumber,
    /// How many sessions its answer has had before. What it had computed there goes before its owner's new prompts.
    pub(crate) moved: u32,
}

/// Those whose sessions share an engine: each gets as many rows as the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerNumber(pub u64);

/// What kind of step waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Short and waited for: one row, or bookkeeping.
    Decode,
    /// A chunk of a prompt.
    Prefill,
}

/// Queues of steps by session. A session of which a step was taken waits until that one is [finished] or
/// [put back].
///
/// [finished]: Scheduler::finish
/// [put back]: Scheduler::put_back
#[derive(Debug)]
pub(crate) struct Scheduler<J> {
    queues: HashMap<SessionNumber, VecDeque<(Priority, J)>>,
    taken: HashSet<SessionNumber>,
    /// Those whose answers have had sessions before, and have all again that was computed there.
    caught_up: HashSet<SessionNumber>,
    decode: Turns,
    prefill: Turns,
}

impl<J> Scheduler<J> {
    pub(crate) fn new() -> Self {
        Self {
            queues: HashMap::new(),
            taken: HashSet::new(),
            caught_up: HashSet::new(),
            decode: Turns::default(),
            prefill: Turns::default(),
        }
    }

    /// Queues a step behind the session's others.
    pub(crate) fn push(&mut self, session: SessionNumber, priority: Priority, job: J) {
        let queue = self.queues.entry(session).or_default();
        queue.push_back((priority, job));
        if queue.len() == 1 && !self.taken.contains(&session) {
            self.ready(session, priority);
        }
    }

    /// Whether a step is ready.
    pub(crate) fn is_ready(&self) -> bool {
        !self.decode.is_empty() || !self.prefill.is_empty()
    }

    /// Whether a session has a step that waits.
    pub(crate) fn has_step(&self, session: SessionNumber) -> bool {
        self.queues
            .get(&session)
            .is_some_and(|steps| !steps.is_empty())
    }

    /// Takes the next decode step. Say by [`Scheduler::ran`] how many rows it has. `absorb` is offered the steps that follow
    /// it in its session, one by one, and gives back the first that does not fit into it.
    pub(crate) fn take_decode(
        &mut self,
        absorb: impl FnMut(&mut J, J) -> Option<J>,
    ) -> Option<(SessionNumber, J)> {
        let session = self.decode.next()?;
        self.take_with(session, absorb)
    }

    /// Takes the next prefill; say by [`Scheduler::ran`] how many rows of it run. `absorb` is as for a decode step.
    pub(crate) fn take_prefill(
        &mut self,
        absorb: impl FnMut(&mut J, J) -> Option<J>,
    ) -> Option<(SessionNumber, J)> {
        let session = self.prefill.next()?;
        self.take_with(session, absorb)
    }

    fn take_with(
        &mut self,
        session: SessionNumber,
        mut absorb: impl FnMut(&mut J, J) -> Option<J>,
    ) -> Option<(SessionNumber, J)> {
        let (_, mut job) = self.take(session)?;
        let queue = self.queues.entry(session).or_default();
        while let Some((priority, next)) = queue.pop_front() {
            if let Some(refused) = absorb(&mut job, next) {
                queue.push_front((priority, refused));
                break;
            }
        }
        Some((session, job))
    }

    /// Rows of a session run, of a step of this kind.
    pub(crate) fn ran(&mut self, session: SessionNumber, priority: Priority, rows: usize) {
        match priority {
            Priority::Decode => self.decode.ran(session.owner, rows),
            Priority::Prefill => self.prefill.ran(session.owner, rows),
        }
    }

    /// The step that was taken of a session has ended.
    pub(crate) fn finish(&mut self, session: SessionNumber) {
        self.taken.remove(&session);
        match self.queues.get(&session).and_then(VecDeque::front) {
            Some(&(priority, _)) => self.ready(session, priority),
            None => {
                self.queues.remove(&session);
            }
        }
    }

    /// Whether a prefill is ready.
    pub(crate) fn has_prefill(&self) -> bool {
        !self.prefill.is_empty()
    }

    /// Puts what is left of a taken step before the session's other steps, behind what others wait for.
    pub(crate) fn put_back(&mut self, session: SessionNumber, priority: Priority, job: J) {
        let queue = self.queues.entry(session).or_default();
        queue.push_front((priority, job));
        self.taken.remove(&session);
        self.ready(session, priority);
    }

    /// Forgets a session and its waiting steps.
    pub(crate) fn remove(&mut self, session: SessionNumber) {
        self.taken.remove(&session);
        self.caught_up.remove(&session);
        self.queues.remove(&session);
        self.decode.remove(session);
        self.prefill.remove(session);
    }

    fn take(&mut self, session: SessionNumber) -> Option<(Priority, J)> {
        let step = self.queues.get_mut(&session)?.pop_front()?;
        self.taken.insert(session);
        Some(step)
    }

    fn ready(&mut self, session: SessionNumber, priority: Priority) {
        let is_behind = session.moved > 0 && !self.caught_up.contains(&session);
        match priority {
            Priority::Decode => {
                if is_behind {
                    self.caught_up.insert(session);
                }
                self.decode.push(session);
            }
            Priority::Prefill if is_behind => self.prefill.push_by_moves(session),
            Priority::Prefill => self.prefill.push(session),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionNumber = session(1, 0);
    const B: SessionNumber = session(2, 0);
    const C: SessionNumber = session(3, 0);

    const fn session(number: u64, owner: u64) -> SessionNumber {
        SessionNumber {
            number,
            owner: OwnerNumber(owner),
            moved: 0,
        }
    }

    type Steps = Scheduler<&'static str>;

    /// The next step, decode first, which ends at once.
    fn next(steps: &mut Steps) -> Option<&'static str> {
        let alone = |_: &mut _, next| Some(next);
        let (session, job) = steps
            .take_decode(alone)
            .or_else(|| steps.take_prefill(alone))?;
        steps.finish(session);
        Some(job)
    }

    fn order(steps: &mut Steps) -> Vec<&'static str> {
        std::iter::from_fn(|| next(steps)).collect()
    }

    #[test]
    fn decode_overtakes_prefill_of_others_but_not_of_its_own_session() {
        let mut s = Steps::new();
        s.push(A, Priority::Prefill, "a1");
        s.push(A, Priority::Prefill, "a2");
        s.push(A, Priority::Decode, "a3");
        s.push(B, Priority::Decode, "b1");
        assert_eq!(order(&mut s), ["b1", "a1", "a2", "a3"]);
    }

    #[test]
    fn prefills_take_turns() {
        let mut s = Steps::new();
        for job in ["a1", "a2", "a3"] {
            s.push(A, Priority::Prefill, job);
        }
        for job in ["b1", "b2"] {
            s.push(B, Priority::Prefill, job);
        }
        assert_eq!(order(&mut s), ["a1", "b1", "a2", "b2", "a3"]);
    }

    #[test]
    fn a_prompt_that_was_computed_before_goes_first_and_its_tokens_in_turn() {
        let mut s = Steps::new();
        let again = SessionNumber { moved: 1, ..C };
        s.push(A, Priority::Prefill, "a1");
        s.push(again, Priority::Prefill, "again");
        s.push(again, Priority::Prefill, "and again");
        s.push(B, Priority::Decode, "b1");
        assert_eq!(order(&mut s), ["b1", "again", "and again", "a1"]);
        s.push(B, Priority::Decode, "b2");
        s.push(again, Priority::Decode, "a token");
        assert_eq!(order(&mut s), ["b2", "a token"]);
        // Its next prompt is as new as others'.
        s.push(A, Priority::Prefill, "a2");
        s.push(again, Priority::Prefill, "the next turn");
        assert_eq!(order(&mut s), ["a2", "the next turn"]);
    }

    #[test]
    fn a_session_has_one_step_at_a_time() {
        let mut s = Steps::new();
        s.push(A, Priority::Decode, "a1");
        s.push(A, Priority::Decode, "a2");
        s.push(B, Priority::Decode, "b1");
        assert_eq!(s.take_decode(|_, next| Some(next)), Some((A, "a1")));
        assert_eq!(s.take_decode(|_, next| Some(next)), Some((B, "b1")));
        s.push(B, Priority::Decode, "b2");
        assert_eq!(s.take_decode(|_, next| Some(next)), None);
        s.finish(A);
        s.finish(B);
        assert_eq!(order(&mut s), ["a2", "b2"]);
    }

    #[test]
    fn the_rest_of_a_long_prefill_waits_for_its_turn() {
        let mut s = Steps::new();
        s.push(A, Priority::Prefill, "long");
        s.push(A, Priority::Decode, "behind it");
        s.push(B, Priority::Prefill, "another's");
        let (session, job) = s.take_prefill(|_, next| Some(next)).unwrap();
        s.push(C, Priority::Decode, "a token");
        s.put_back(session, Priority::Prefill, job);
        assert_eq!(order(&mut s), ["a token", "another's", "long", "behind it"]);
    }

    #[test]
    fn a_closed_session_waits_for_nothing() {
        let mut s = Steps::new();
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
        assert_eq!(s.take_prefill(&mut merge), Some((A, 60)));
        s.finish(A);
        assert_eq!(s.take_prefill(&mut merge), Some((A, 40)));
        s.finish(A);
        assert_eq!(s.take_prefill(&mut merge), None);
    }

    /// Of one owner with many sessions and one with one, which all have more rows than can run.
    #[test]
    fn owners_get_as_many_rows_as_each_other() {
        for (priority, at_once) in [(Priority::Decode, 1), (Priority::Prefill, 12)] {
            let mut s = Scheduler::new();
            let many = (1..=50).map(|number| session(number, 1));
            let all: Vec<_> = many.chain([session(51, 2)]).collect();
            for &session in &all {
                s.push(session, priority, ());
            }
            let mut ran = HashMap::new();
            let mut sessions = HashMap::new();
            for _ in 0..4000 {
                let alone = |_: &mut (), next| Some(next);
                let (session, ()) = match priority {
                    Priority::Decode => s.take_decode(|_, next| Some(next)).unwrap(),
                    Priority::Prefill => s.take_prefill(alone).unwrap(),
                };
                s.ran(session, priority, at_once);
                *ran.entry(session.owner).or_insert(0) += at_once;
                *sessions.entry(session).or_insert(0) += at_once;
                s.push(session, priority, ());
                s.finish(session);
            }
            let [one, two] = [1, 2].map(|owner| ran[&OwnerNumber(owner)] as f64);
            assert!((one / two - 1.0).abs() < 0.02, "{one} and {two} rows");
            let of_many = all[..50].iter().map(|session| sessions[session]);
            let (least, most) = (of_many.clone().min(), of_many.max());
            assert!(most <= least.map(|least| least + 2 * at_once));
        }
    }
}
