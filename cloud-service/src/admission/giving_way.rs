//! Who gives way when there is no room: conversations that are kept, longest ago first, then answers that
//! have stalled, then sessions that have not begun. Then answers of edges that can go on elsewhere: of the
//! owner that holds most, the one that gave way least often, and of those the one that was admitted last. Other answers
//! stay.

use super::activity::Turn;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

/// What a session holds.
#[derive(Debug)]
pub(super) struct Holding<'a, O> {
    /// Whose it is.
    pub(super) owner: &'a O,
    /// Memory that is reserved for it.
    pub(super) bytes: u64,
    /// Whether pages that are kept cannot be given up because of it.
    pub(super) has_kept_pages: bool,
    /// The number that it was admitted with.
    pub(super) admitted: u64,
    /// Its turn, where no answer goes on.
    pub(super) turn: Option<Turn>,
    /// Whether it may give way in the middle of an answer, and how often the answer has.
    pub(super) can_move: bool,
    pub(super) moved: u32,
}

impl<O> Holding<'_, O> {
    /// Whether there is more room when it is gone.
    fn makes_room(&self) -> bool {
        self.bytes > 0 || self.has_kept_pages
    }
}

/// Finds the session that gives way to the one at `asks`, which needs `bytes` more. It may be that one itself. `None`
/// where nobody gives way.
pub(super) fn who<O: Eq + Hash>(
    sessions: &[Holding<'_, O>],
    asks: usize,
    bytes: u64,
) -> Option<usize> {
    let others = || sessions.iter().enumerate().filter(|&(at, _)| at != asks);
    let waiting = others()
        .filter(|(_, session)| session.makes_room())
        .filter_map(|(at, session)| Some((session.turn?, at)))
        .min();
    if let Some((_, at)) = waiting {
        return Some(at);
    }
    let mut held: HashMap<&O, u64> = HashMap::new();
    for (at, session) in sessions.iter().enumerate() {
        let asked = if at == asks { bytes } else { 0 };
        *held.entry(session.owner).or_default() += session.bytes + asked;
    }
    let moves = |at: usize, session: &Holding<'_, O>| {
        at == asks || (session.can_move && session.turn.is_none() && session.makes_room())
    };
    let candidates = sessions.iter().enumerate();
    candidates
        .filter(|&(at, session)| moves(at, session))
        .max_by_key(|(_, session)| {
            let moved = Reverse(session.moved);
            (held[session.owner], moved, session.admitted)
        })
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::activity::Activity;
    use std::time::{Duration, Instant};

    fn answering(owner: &'static u8, bytes: u64, admitted: u64) -> Holding<'static, u8> {
        Holding {
            owner,
            bytes,
            admitted,
            turn: None,
            has_kept_pages: false,
            can_move: true,
            moved: 0,
        }
    }

    #[test]
    fn nobody_goes_on_at_the_cost_of_an_owner_that_holds_less() {
        let sessions = [
            answering(&1, 10, 0),
            answering(&1, 10, 1),
            answering(&1, 10, 5),
            answering(&2, 20, 3),
            answering(&2, 0, 4),
        ];
        // Owner 1 holds 30 and owner 2 holds 20.
        assert_eq!(who(&sessions, 0, 1), Some(2));
        assert_eq!(who(&sessions, 2, 1), Some(2));
        assert_eq!(who(&sessions, 3, 1), Some(2));
        assert_eq!(who(&sessions, 4, 9), Some(2));
        // With 11 more, owner 2 would hold most.
        assert_eq!(who(&sessions, 4, 11), Some(4));
        // Which has no other session than 3 that holds any.
        assert_eq!(who(&sessions, 3, 11), Some(3));
    }

    #[test]
    fn who_gave_way_before_does_not_go_before_the_others() {
        let mut sessions = [
            answering(&1, 10, 0),
            answering(&1, 10, 1),
            answering(&1, 10, 2),
        ];
        sessions[2].moved = 2;
        sessions[1].moved = 1;
        assert_eq!(who(&sessions, 2, 1), Some(0));
        sessions[0].moved = 2;
        assert_eq!(who(&sessions, 2, 1), Some(1));
        sessions[1].moved = 2;
        assert_eq!(who(&sessions, 0, 1), Some(2));
    }

    #[test]
    fn an_answer_that_cannot_move_stays_and_whoever_asks_goes() {
        let mut sessions = [answering(&1, 90, 0), answering(&2, 5, 1)];
        sessions[0].can_move = false;
        assert_eq!(who(&sessions, 1, 5), Some(1));
        sessions[0].can_move = true;
        assert_eq!(who(&sessions, 1, 5), Some(0));
    }

    #[test]
    fn who_does_not_answer_goes_first_where_that_frees_anything() {
        let now = Instant::now();
        let mut kept = Activity::opened(now);
        kept.answers(now);
        kept.kept(now);
        let mut sessions = [
            answering(&1, 90, 7),
            answering(&2, 5, 1),
            answering(&2, 5, 2),
        ];
        sessions[1].turn = kept.turn(now, Duration::MAX);
        assert_eq!(who(&sessions, 2, 5), Some(1));
        sessions[1].bytes = 0;
        assert_eq!(who(&sessions, 2, 5), Some(0));
    }
}
