//! How much memory sessions may take for keys and values.

use crate::error::EngineError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A budget of bytes that sessions reserve from.
#[derive(Debug, Clone)]
pub struct KvBudget {
    used: Arc<AtomicU64>,
    budget: u64,
}

/// Bytes reserved; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    used: Arc<AtomicU64>,
    bytes: u64,
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
                used: Arc::clone(&self.used),
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

impl Drop for Reservation {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
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
}
