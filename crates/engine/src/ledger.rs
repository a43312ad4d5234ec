//! The cloud's book-keeping of one session: which rows have arrived, which tokens were sampled,
//! and what a repeated or outdated message means. Pure; `docs/protocol.md` has it as a diagram.

use crate::run::RunToken;
use std::collections::BTreeMap;

/// The last epoch that an edge may begin: there are as many again for those that drafts begin.
const LAST_EPOCH: u32 = u32::MAX / 2;

/// What is known of a session's positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    epoch: u32,
    received: usize,
    context: usize,
    /// What was or is being sampled, by the token's position.
    tokens: BTreeMap<usize, Option<RunToken>>,
    /// Of rows that came before the token of their position was known: what they are of.
    guessed: BTreeMap<usize, u32>,
    /// Whether an epoch need not be the next one.
    drafting: bool,
}

/// What to do with arrived rows.
#[derive(Debug, Clone, PartialEq)]
pub enum RowsVerdict {
    /// They belong to an older epoch: drop them.
    Stale,
    /// All of them arrived before and nothing is wanted, or it is on its way: drop them.
    Known,
    /// They arrived before, and so was their token sampled: send it again.
    Recorded(RunToken),
    /// Run them.
    Run {
        /// Position of the first row to run.
        start: usize,
        /// Rows at the front that arrived before: drop these.
        skip: usize,
    },
}

/// A message that does not fit the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Rows are missing in between.
    #[error("rows start at position {start}, but only those below {received} have arrived")]
    Gap {
        /// Position of the first row.
        start: usize,
        /// Positions that have arrived.
        received: usize,
    },
    /// More positions than were granted.
    #[error("rows reach position {end}, the granted context is {context}")]
    PastContext {
        /// One past the last row.
        end: usize,
        /// Positions granted.
        context: usize,
    },
    /// An epoch that no Truncate has begun.
    #[error("epoch {found} has not begun, the session is in epoch {current}")]
    FutureEpoch {
        /// The message's.
        found: u32,
        /// The session's.
        current: u32,
    },
    /// A Truncate that skips an epoch.
    #[error("a Truncate must begin epoch {expected}, this one begins {found}")]
    WrongEpoch {
        /// The message's.
        found: u32,
        /// One more than the session's.
        expected: u32,
    },
    /// A Truncate beyond what there is.
    #[error("cannot truncate to position {position}, only those below {received} have arrived")]
    TruncateAhead {
        /// Positions to keep.
        position: usize,
        /// Positions that have arrived.
        received: usize,
    },
    /// A token is wanted after a row that was run without wanting one.
    #[error("the token of position {position} was not sampled when its row ran; truncate first")]
    NotSampled {
        /// The token's position.
        position: usize,
    },
}

impl Ledger {
    /// A session without rows, granted `context` positions.
    pub fn new(context: usize) -> Self {
        Self {
            epoch: 0,
            received: 0,
            context,
            tokens: BTreeMap::new(),
            guessed: BTreeMap::new(),
            drafting: false,
        }
    }

    /// The same, of an edge that may send drafts. The edge does not know of all epochs, so its Truncate need not begin the
    /// next one.
    pub fn with_drafts(self) -> Self {
        Self {
            drafting: true,
            ..self
        }
    }

    /// A session that begins with the rows below position `received`, which other sessions have run. The edge believed
    /// that the session has rows up to `believed`: where it has fewer, whatever the edge has sent in epoch 0 is outdated.
    pub fn beginning(context: usize, received: usize, believed: usize) -> Self {
        Self {
            epoch: u32::from(received < believed),
            received,
            ..Self::new(context)
        }
    }

    /// The current epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// All rows below this position have arrived.
    pub fn received(&self) -> usize {
        self.received
    }

    /// True while a token is being sampled.
    pub fn is_sampling(&self) -> bool {
        self.tokens.values().any(Option::is_none)
    }

    /// Checks a message's epoch: false when it is outdated.
    ///
    /// # Errors
    /// When it has not begun.
    pub fn is_current(&self, epoch: u32) -> Result<bool, LedgerError> {
        if epoch > self.epoch {
            return Err(LedgerError::FutureEpoch {
                found: epoch,
                current: self.epoch,
            });
        }
        Ok(epoch == self.epoch)
    }

    /// Takes note of rows `start .. start + count` and says what to do with them.
    ///
    /// # Errors
    /// When they do not follow what has arrived, or do not fit. Nothing has changed then.
    pub fn rows(
        &mut self,
        epoch: u32,
        start: usize,
        count: usize,
        want: bool,
    ) -> Result<RowsVerdict, LedgerError> {
        if !self.is_current(epoch)? {
            return Ok(RowsVerdict::Stale);
        }
        let end = start.saturating_add(count);
        let received = self.received;
        if start > received {
            return Err(LedgerError::Gap { start, received });
        }
        if end > self.context {
            return Err(LedgerError::PastContext {
                end,
                context: self.context,
            });
        }
        if end <= received {
            return match self.tokens.get(&end) {
                _ if !want => Ok(RowsVerdict::Known),
                Some(None) => Ok(RowsVerdict::Known),
                Some(Some(token)) => Ok(RowsVerdict::Recorded(token.clone())),
                None => Err(LedgerError::NotSampled { position: end }),
            };
        }
        self.received = end;
        if want {
            self.tokens.insert(end, None);
        }
        Ok(RowsVerdict::Run {
            start: received,
            skip: received - start,
        })
    }

    /// Takes note of rows from `start` on, each of one of these tokens, that want the token behind each as long as the next
    /// one is of that token. Rows that are known to be of another one are stale, and begin an epoch.
    ///
    /// # Errors
    /// When they do not follow what has arrived, or do not fit. Nothing has changed then.
    pub fn drafts(
        &mut self,
        epoch: u32,
        start: usize,
        ids: &[u32],
    ) -> Result<RowsVerdict, LedgerError> {
        if !self.is_current(epoch)? {
            return Ok(RowsVerdict::Stale);
        }
        let end = start.saturating_add(ids.len());
        let (received, context) = (self.received, self.context);
        if start != received {
            return Err(LedgerError::Gap { start, received });
        }
        if end > context {
            return Err(LedgerError::PastContext { end, context });
        }
        match self.tokens.get(&start) {
            None => return Err(LedgerError::NotSampled { position: start }),
            Some(Some(token)) if !ids.first().is_some_and(|&id| token.goes_on_with(id)) => {
                self.begin_epoch(self.epoch + 1, start);
                return Ok(RowsVerdict::Stale);
            }
            Some(_) => {}
        }
        for (position, &id) in (start..).zip(ids) {
            if !matches!(self.tokens.get(&position), Some(Some(_))) {
                self.guessed.insert(position, id);
            }
            self.tokens.insert(position + 1, None);
        }
        self.received = end;
        Ok(RowsVerdict::Run { start, skip: 0 })
    }

    /// Takes note of a token sampled for rows of `epoch`. False when a Truncate has made it
    /// worthless since; it is sent all the same, for the edge drops it by its epoch. Where the row behind it is of another
    /// token, an epoch begins.
    pub fn sampled(&mut self, epoch: u32, token: RunToken) -> bool {
        let position = token.position;
        let guessed = self.guessed.get(&position).copied();
        match self.tokens.get_mut(&position) {
            Some(entry) if epoch == self.epoch => {
                let goes_on = guessed.is_none_or(|id| token.goes_on_with(id));
                *entry = Some(token);
                if goes_on {
                    self.guessed.remove(&position);
                } else {
                    self.begin_epoch(self.epoch + 1, position);
                }
                true
            }
            _ => false,
        }
    }

    /// Goes on from a position in an epoch that the edge has not used before: see [`Ledger::truncate`]. What became of
    /// the epochs between is not known to it.
    ///
    /// # Errors
    /// When the epoch has begun already, or there are not as many positions. Nothing has changed then.
    pub fn resume(&mut self, epoch: u32, position: usize) -> Result<(), LedgerError> {
        if epoch <= self.epoch {
            return Err(LedgerError::WrongEpoch {
                found: epoch,
                expected: self.epoch.wrapping_add(1),
            });
        }
        self.cut(epoch, position)
    }

    /// Begins an epoch with the positions below `position`.
    ///
    /// # Errors
    /// When it is not the next epoch, or, with drafts, not a later one, or there are not as many positions. Nothing has
    /// changed then.
    pub fn truncate(&mut self, epoch: u32, position: usize) -> Result<(), LedgerError> {
        if self.drafting {
            return self.resume(epoch, position);
        }
        let expected = self.epoch.wrapping_add(1);
        if epoch != expected {
            return Err(LedgerError::WrongEpoch {
                found: epoch,
                expected,
            });
        }
        self.cut(epoch, position)
    }

    fn cut(&mut self, epoch: u32, position: usize) -> Result<(), LedgerError> {
        if epoch > LAST_EPOCH {
            return Err(LedgerError::WrongEpoch {
                found: epoch,
                expected: self.epoch + 1,
            });
        }
        if position > self.received {
            return Err(LedgerError::TruncateAhead {
                position,
                received: self.received,
            });
        }
        self.begin_epoch(epoch, position);
        Ok(())
    }

    fn begin_epoch(&mut self, epoch: u32, position: usize) {
        self.epoch = epoch;
        self.received = position;
        // What was being sampled is worthless now, at whatever position.
        self.tokens
            .retain(|&at, token| at <= position && token.is_some());
        self.guessed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(position: usize) -> RunToken {
        RunToken {
            position,
            id: 7,
            logprobs: None,
            finish: None,
        }
    }

    #[test]
    fn rows_run_once_and_tokens_are_answered_from_the_record() {
        let mut ledger = Ledger::new(100);
        assert_eq!(
            ledger.rows(0, 0, 10, true),
            Ok(RowsVerdict::Run { start: 0, skip: 0 })
        );
        assert_eq!(ledger.rows(0, 0, 10, true), Ok(RowsVerdict::Known));
        assert!(ledger.is_sampling());
        assert!(ledger.sampled(0, token(10)));
        assert_eq!(
            ledger.rows(0, 0, 10, true),
            Ok(RowsVerdict::Recorded(token(10)))
        );
        assert_eq!(ledger.rows(0, 3, 4, false), Ok(RowsVerdict::Known));
        assert_eq!(
            ledger.rows(0, 3, 4, true),
            Err(LedgerError::NotSampled { position: 7 })
        );
        assert_eq!(
            ledger.rows(0, 8, 4, false),
            Ok(RowsVerdict::Run { start: 10, skip: 2 })
        );
    }

    #[test]
    fn gaps_and_full_contexts_are_refused_and_change_nothing() {
        let mut ledger = Ledger::new(8);
        assert!(matches!(
            ledger.rows(0, 1, 1, false),
            Err(LedgerError::Gap { .. })
        ));
        assert!(matches!(
            ledger.rows(0, 0, 9, false),
            Err(LedgerError::PastContext { end: 9, context: 8 })
        ));
        assert!(matches!(
            ledger.rows(0, 0, usize::MAX, false),
            Err(LedgerError::PastContext { .. })
        ));
        assert_eq!(ledger.received(), 0);
    }

    #[test]
    fn what_was_sent_in_a_wrong_belief_is_dropped() {
        let mut right = Ledger::beginning(100, 64, 64);
        let runs = |start| Ok(RowsVerdict::Run { start, skip: 0 });
        assert_eq!(right.rows(0, 64, 3, true), runs(64));
        assert_eq!(right.rows(0, 63, 1, false), Ok(RowsVerdict::Known));
        let mut wrong = Ledger::beginning(100, 32, 64);
        assert_eq!(wrong.is_current(0), Ok(false));
        assert_eq!(wrong.rows(0, 64, 3, true), Ok(RowsVerdict::Stale));
        assert_eq!(wrong.rows(1, 32, 35, true), runs(32));
    }

    #[test]
    fn a_session_goes_on_in_any_later_epoch() {
        let mut ledger = Ledger::new(100);
        ledger.rows(0, 0, 10, true).unwrap();
        ledger.sampled(0, token(10));
        let unchanged = |ledger: &Ledger| (ledger.epoch(), ledger.received()) == (0, 10);
        assert!(ledger.resume(0, 5).is_err() && unchanged(&ledger));
        assert!(ledger.resume(3, 11).is_err() && unchanged(&ledger));
        assert!(ledger.resume(u32::MAX, 10).is_err() && unchanged(&ledger));
        ledger.resume(3, 10).unwrap();
        assert_eq!(ledger.rows(2, 10, 1, true), Ok(RowsVerdict::Stale));
        // The record of what was kept is there.
        assert_eq!(
            ledger.rows(3, 9, 1, true),
            Ok(RowsVerdict::Recorded(token(10)))
        );
        assert_eq!(
            ledger.rows(3, 10, 1, true),
            Ok(RowsVerdict::Run { start: 10, skip: 0 })
        );
    }

    #[test]
    fn a_truncate_makes_what_is_in_flight_harmless() {
        let mut ledger = Ledger::new(100);
        ledger.rows(0, 0, 10, true).unwrap();
        ledger.truncate(1, 4).unwrap();
        assert!(!ledger.sampled(0, token(10)));
        assert_eq!(ledger.rows(0, 10, 1, true), Ok(RowsVerdict::Stale));
        assert_eq!(
            ledger.rows(1, 4, 6, true),
            Ok(RowsVerdict::Run { start: 4, skip: 0 })
        );
        assert!(!ledger.sampled(0, token(10)));
        assert!(ledger.sampled(1, token(10)));
        assert!(matches!(
            ledger.rows(2, 10, 1, true),
            Err(LedgerError::FutureEpoch { .. })
        ));
        assert!(matches!(
            ledger.truncate(1, 0),
            Err(LedgerError::WrongEpoch { expected: 2, .. })
        ));
        assert!(matches!(
            ledger.truncate(2, 11),
            Err(LedgerError::TruncateAhead { .. })
        ));
    }

    proptest! {
        /// Whatever arrives, the rows that run are the positions 0, 1, 2, … of the epoch, each
        /// once and in order.
        #[test]
        fn rows_that_run_are_consecutive(
            messages in prop::collection::vec((0u32..3, 0usize..40, 0usize..12, any::<bool>(), any::<bool>()), 0..60)
        ) {
            let mut ledger = Ledger::new(32);
            let mut next = 0;
            for (epoch, start, count, want, truncate) in messages {
                if truncate {
                    if ledger.truncate(epoch, start).is_ok() {
                        prop_assert!(start <= next);
                        next = start;
                    }
                } else if let Ok(RowsVerdict::Run { start: from, skip }) = ledger.rows(epoch, start, count, want) {
                    prop_assert_eq!(from, next);
                    prop_assert_eq!(start + skip, from);
                    next = start + count;
                    prop_assert!(next <= 32);
                    if want {
                        ledger.sampled(epoch, token(next));
                    }
                }
                prop_assert_eq!(ledger.received(), next);
            }
        }
    }
}
