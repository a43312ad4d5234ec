//! What the sessions of each owner hold, and all together.

use std::collections::HashMap;
use tandem_transport::auth::Owner;

/// What some sessions hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Open sessions.
    pub(super) sessions: usize,
    /// Streams that have not opened their session yet.
    pub(super) opening: usize,
    /// Memory that is reserved.
    pub(super) bytes: u64,
    /// Rows that the engine owes them.
    pub(super) rows: usize,
    /// Answers that gave way and wait for room.
    pub(super) in_line: usize,
}

/// Everybody's.
#[derive(Debug, Default)]
pub(super) struct Shares {
    all: Share,
    /// Of those that hold anything.
    owners: HashMap<Owner, Share>,
}

impl Shares {
    /// What all hold.
    pub(super) fn all(&self) -> Share {
        self.all
    }

    /// What an owner holds.
    pub(super) fn of(&self, owner: &Owner) -> Share {
        self.owners.get(owner).copied().unwrap_or_default()
    }

    /// Whether all hold as much as they may, and an owner at least its part of it: as much as each other's.
    pub(super) fn is_full(&self, owner: &Owner, of: impl Fn(Share) -> usize, limit: usize) -> bool {
        of(self.all) >= limit && of(self.of(owner)) >= limit / self.owners.len().max(1)
    }

    /// Changes an owner's share, and that of all by as much.
    pub(super) fn change(&mut self, owner: &Owner, change: impl Fn(&mut Share)) {
        change(&mut self.all);
        let mut own = self.of(owner);
        change(&mut own);
        if own == Share::default() {
            self.owners.remove(owner);
        } else {
            self.owners.insert(owner.clone(), own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_of_owners_that_hold_nothing() {
        let mut shares = Shares::default();
        let (one, two) = (Owner::Unknown, Owner::Address([10, 0, 0, 1].into()));
        shares.change(&one, |share| share.bytes += 5);
        shares.change(&two, |share| share.bytes += 7);
        assert_eq!((shares.of(&one).bytes, shares.all().bytes), (5, 12));
        shares.change(&one, |share| share.bytes -= 5);
        assert_eq!(shares.of(&one), Share::default());
        assert_eq!(shares.owners.len(), 1);
        assert_eq!(shares.all(), shares.of(&two));
    }
}
