//! How much memory a session has reserved, by the messages that were accepted. The engine holds the same account of what
//! has run.

use tandem_engine::KvSizes;
use tandem_model::PAGE_POSITIONS;

/// A session's account.
#[derive(Debug)]
pub struct SessionMemory {
    sizes: KvSizes,
    /// Layers the edge runs.
    split: usize,
    /// Memory is reserved as rows come.
    grows: bool,
    /// Positions from 0 on that lie in whole pages of other sessions.
    of_others: usize,
    /// How much is reserved, once pending truncations have given theirs back.
    reserved: u64,
    /// What these give back.
    freeing: u64,
}

impl SessionMemory {
    /// Of a session that begins with this many positions of others and may have `context`. It has to reserve
    /// [`SessionMemory::reserved`] first.
    pub fn new(
        sizes: KvSizes,
        split: usize,
        of_others: usize,
        (context, grows): (usize, bool),
    ) -> Self {
        let mut memory = Self {
            sizes,
            split,
            grows,
            of_others,
            reserved: 0,
            freeing: 0,
        };
        memory.reserved = if grows {
            memory.needed(of_others)
        } else {
            sizes.bytes(split, context)
        };
        memory
    }

    /// What is reserved.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// What has to be reserved for positions below `end`, beyond what is.
    pub fn lacks(&self, end: usize) -> u64 {
        if self.grows {
            self.needed(end).saturating_sub(self.reserved)
        } else {
            0
        }
    }

    /// That is reserved now.
    pub fn took(&mut self, bytes: u64) {
        self.reserved += bytes;
    }

    /// Notes a truncation, and returns what it gives back once the engine has done it.
    pub fn truncate(&mut self, position: usize) -> u64 {
        if !self.grows {
            return 0;
        }
        // A page of others that is kept in part has to be one of its own when rows are written there.
        let whole = position / PAGE_POSITIONS * PAGE_POSITIONS;
        self.of_others = self.of_others.min(whole);
        let freed = self.reserved.saturating_sub(self.needed(position));
        self.reserved -= freed;
        self.freeing += freed;
        freed
    }

    /// What a truncation gives back is free.
    pub fn freed(&mut self, bytes: u64) {
        self.freeing -= bytes;
    }

    /// Whether truncations are pending that give any back.
    pub fn is_freeing(&self) -> bool {
        self.freeing > 0
    }

    fn needed(&self, end: usize) -> u64 {
        let shared = self.sizes.shared_bytes(self.split, self.of_others);
        self.sizes.bytes(self.split, end).saturating_sub(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: KvSizes = KvSizes {
        layers: 12,
        page_bytes: 10,
        shared_once: true,
    };

    fn growing(of_others: usize) -> SessionMemory {
        SessionMemory::new(SIZES, 2, of_others, (1000, true))
    }

    #[test]
    fn a_session_grows_and_gives_back_by_pages() {
        let mut memory = growing(0);
        assert_eq!((memory.reserved(), memory.lacks(1)), (0, 100));
        memory.took(100);
        assert_eq!((memory.lacks(32), memory.lacks(33)), (0, 100));
        memory.took(200);
        assert_eq!(memory.truncate(40), 100);
        assert!(memory.is_freeing());
        memory.freed(100);
        assert!(!memory.is_freeing());
        assert_eq!((memory.reserved(), memory.lacks(64)), (200, 0));
    }

    #[test]
    fn pages_of_others_cost_nothing_until_they_are_written_to() {
        let mut memory = growing(64);
        assert_eq!((memory.reserved(), memory.lacks(64)), (0, 0));
        assert_eq!(memory.lacks(65), 100);
        memory.took(100);
        // The second page is another's until there are rows to write.
        assert_eq!(memory.truncate(40), 0);
        assert_eq!(
            memory.lacks(41),
            0,
            "the third page's room is the second's now"
        );
        assert_eq!(memory.truncate(32), 100);
        assert_eq!(memory.truncate(0), 0);
        assert_eq!(memory.lacks(1), 100);
    }

    #[test]
    fn copies_are_paid_for() {
        let sizes = KvSizes {
            shared_once: false,
            ..SIZES
        };
        let memory = SessionMemory::new(sizes, 2, 64, (1000, true));
        assert_eq!((memory.reserved(), memory.lacks(65)), (200, 100));
    }

    #[test]
    fn a_session_that_does_not_grow_has_all_of_it() {
        let mut memory = SessionMemory::new(SIZES, 2, 0, (1000, false));
        assert_eq!((memory.reserved(), memory.lacks(1000)), (3200, 0));
        assert_eq!(memory.truncate(0), 0);
    }
}
