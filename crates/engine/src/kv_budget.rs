//! How much memory sessions may take for keys and values.

use crate::error::EngineError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A budget of bytes that is reserved from, before pages are taken.
#[derive(Debug, Clone)]
pub struct KvBudget {
    used: Arc<AtomicU64>,
    budget: u64,
}

/// Bytes reserved; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: KvBudget,
    bytes: u64,
}

/// The memory that a session's keys and values may take.
#[derive(Debug, Default)]
pub enum Room {
    /// As much as its context takes; nobody counts it.
    #[default]
    Uncounted,
    /// What is reserved for the whole context.
    Whole(Reservation),
    /// What is reserved for the rows that have come: more comes with more of them, and what is forgotten is
    /// given back.
    Growing(Reservation),
}

/// What the positions of a back's sessions take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvSizes {
    /// Layers of the model.
    pub layers: usize,
    /// Bytes of 32 positions of a layer.
    pub page_bytes: u64,
    /// Whether pages that sessions have in common take memory once.
    pub shared_once: bool,
}

impl KvBudget {
    /// A budget of `budget` bytes.
    pub fn new(budget: u64) -> Self {
        Self {
            used: Arc::default(),
            budget,
        }
    }

    /// Bytes reserved now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes there are.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Reserves `bytes`.
    ///
    /// # Errors
    /// When they are not free.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, EngineError> {
        let take = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= self.budget);
        match self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        {
            Ok(_) => Ok(Reservation {
                budget: self.clone(),
                bytes,
            }),
            Err(used) => Err(EngineError::KvBudget {
                needed: bytes,
                used,
                budget: self.budget,
            }),
        }
    }
}

impl Reservation {
    /// How many.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds another one of the same budget.
    pub(crate) fn add(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back what is above `bytes`.
    fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.budget.used.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl Room {
    /// Takes what came with rows.
    pub(crate) fn add(&mut self, more: Option<Reservation>) {
        if let (Self::Growing(room), Some(more)) = (self, more) {
            room.add(more);
        }
    }

    /// Checks that a cache of so many bytes has been reserved for.
    pub(crate) fn check(&self, needed: u64) -> Result<(), EngineError> {
        match self {
            Self::Whole(room) | Self::Growing(room) if room.bytes < needed => {
                Err(EngineError::KvBudget {
                    needed,
                    used: room.bytes,
                    budget: room.budget.budget,
                })
            }
            _ => Ok(()),
        }
    }

    /// A cache takes so many bytes from now on.
    pub(crate) fn keep(&mut self, bytes: u64) {
        if let Self::Growing(room) = self {
            room.shrink_to(bytes);
        }
    }
}

impl KvSizes {
    /// Bytes that so many positions of a session take whose front runs `split` layers: room is made for 32
    /// positions at a time.
    pub fn bytes(&self, split: usize, positions: usize) -> u64 {
        let layers = self.layers.saturating_sub(split) as u64;
        (positions.div_ceil(32) as u64).saturating_mul(layers * self.page_bytes)
    }

    /// Bytes of these that a session does not take that has the first `others` positions, whole pages, from other
    /// sessions.
    pub fn shared_bytes(&self, split: usize, others: usize) -> u64 {
        if self.shared_once {
            self.bytes(split, others)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_reserved_again() {
        let budget = KvBudget::new(100);
        let first = budget.reserve(60).unwrap();
        assert!(matches!(
            budget.reserve(41),
            Err(EngineError::KvBudget {
                needed: 41,
                used: 60,
                budget: 100
            })
        ));
        let _second = budget.reserve(40).unwrap();
        drop(first);
        assert_eq!(budget.used(), 40);
        assert!(budget.reserve(u64::MAX).is_err());
    }

    #[test]
    fn a_growing_room_is_what_was_added_less_what_is_not_kept() {
        let budget = KvBudget::new(100);
        let mut room = Room::Growing(budget.reserve(0).unwrap());
        room.check(0).unwrap();
        assert!(room.check(1).is_err());
        room.add(budget.reserve(60).ok());
        room.add(budget.reserve(30).ok());
        room.check(90).unwrap();
        room.keep(50);
        assert_eq!(budget.used(), 50);
        room.keep(70);
        assert_eq!(budget.used(), 50);
        assert!(room.check(51).is_err());
        drop(room);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_whole_room_stays() {
        let budget = KvBudget::new(100);
        let mut room = Room::Whole(budget.reserve(60).unwrap());
        room.keep(10);
        room.check(60).unwrap();
        assert!(room.check(61).is_err());
        assert_eq!(budget.used(), 60);
        Room::Uncounted.check(u64::MAX).unwrap();
    }
}
