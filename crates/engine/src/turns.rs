//! Turns by deficit round robin (Shreedhar and Varghese, 1995): an owner whose turn it is may run rows until
//! it has had its share of the round, and what it runs beyond that it owes the others.

use crate::scheduler::{OwnerNumber, SessionNumber};
use std::collections::{HashMap, VecDeque};

/// Rows that an owner may run more in each round.
const ROUND: i64 = 32;

/// Sessions that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Those of whose sessions any wait, in their order.
    owners: VecDeque<OwnerNumber>,
    waiting: HashMap<OwnerNumber, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    sessions: VecDeque<SessionNumber>,
    /// Rows that may run before it is the next owner's turn.
    rows: i64,
}

impl Turns {
    /// Puts a session behind the others of its owner. An owner that had none goes on with its turn, where it has
    /// rows left, and else waits for the next.
    pub(crate) fn push(&mut self, session: SessionNumber) {
        let owner = session.owner;
        let waiting = self.waiting.entry(owner).or_insert_with(|| Waiting {
            sessions: VecDeque::new(),
            rows: ROUND,
        });
        match (waiting.sessions.is_empty(), waiting.rows > 0) {
            (true, true) => self.owners.push_front(owner),
            (true, false) => {
                waiting.rows += ROUND;
                self.owners.push_back(owner);
            }
            (false, _) => {}
        }
        waiting.sessions.push_back(session);
    }

    /// Takes the session whose turn it is.
    pub(crate) fn next(&mut self) -> Option<SessionNumber> {
        loop {
            let owner = *self.owners.front()?;
            let waiting = self.waiting.get_mut(&owner)?;
            if waiting.rows <= 0 && self.owners.len() > 1 {
                waiting.rows += ROUND;
                self.owners.rotate_left(1);
                continue;
            }
            // Nobody is owed anything by one that is alone.
            if waiting.rows <= 0 {
                waiting.rows = ROUND;
            }
            let session = waiting.sessions.pop_front();
            if waiting.sessions.is_empty() {
                self.owners.pop_front();
            }
            return session;
        }
    }

    /// Rows of an owner run.
    pub(crate) fn ran(&mut self, owner: OwnerNumber, rows: usize) {
        if let Some(waiting) = self.waiting.get_mut(&owner) {
            waiting.rows -= i64::try_from(rows).unwrap_or(i64::MAX);
        }
    }

    /// Forgets a session that is closed.
    pub(crate) fn remove(&mut self, session: SessionNumber) {
        let owner = session.owner;
        let Some(waiting) = self.waiting.get_mut(&owner) else {
            return;
        };
        waiting.sessions.retain(|&waits| waits != session);
        if waiting.sessions.is_empty() {
            self.waiting.remove(&owner);
            self.owners.retain(|&waits| waits != owner);
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u64, owner: u64) -> SessionNumber {
        SessionNumber {
            number,
            owner: OwnerNumber(owner),
        }
    }

    #[test]
    fn who_ran_much_waits_until_the_others_have_had_as_much() {
        let mut turns = Turns::default();
        let (one, two) = (session(1, 1), session(2, 2));
        turns.push(two);
        turns.push(one);
        assert_eq!(turns.next(), Some(one));
        turns.ran(one.owner, 96);
        turns.push(one);
        for _ in 0..3 {
            assert_eq!(turns.next(), Some(two));
            turns.ran(two.owner, 32);
            turns.push(two);
        }
        assert_eq!(turns.next(), Some(one));
    }

    #[test]
    fn who_was_alone_owes_nothing() {
        let mut turns = Turns::default();
        let (one, two) = (session(1, 1), session(2, 2));
        for _ in 0..1000 {
            turns.push(one);
            assert_eq!(turns.next(), Some(one));
            turns.ran(one.owner, 128);
        }
        turns.push(one);
        turns.push(two);
        let mut first_of_one = 0;
        while turns.next() != Some(one) {
            turns.ran(two.owner, 32);
            turns.push(two);
            first_of_one += 1;
        }
        assert!(first_of_one <= 5, "{first_of_one} turns of the other");
    }

    #[test]
    fn nothing_is_kept_of_sessions_that_are_closed() {
        let mut turns = Turns::default();
        for number in 0..10 {
            turns.push(session(number, number % 3));
        }
        for number in 0..10 {
            turns.remove(session(number, number % 3));
        }
        assert!(turns.is_empty());
        assert!(turns.waiting.is_empty());
        assert_eq!(turns.next(), None);
    }
}
