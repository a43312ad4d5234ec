//! The link's own time, which stands still while the link is paused.

use std::time::{Duration, Instant};

/// Measures from the link's start, without its pauses.
#[derive(Debug)]
pub(super) struct LinkClock {
    started: Instant,
    paused_at: Option<Instant>,
    pauses: Duration,
}

impl LinkClock {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            paused_at: None,
            pauses: Duration::ZERO,
        }
    }

    pub(super) fn now(&self) -> Duration {
        let until = self.paused_at.unwrap_or_else(Instant::now);
        until
            .duration_since(self.started)
            .saturating_sub(self.pauses)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused_at.is_some()
    }

    pub(super) fn pause(&mut self) {
        self.paused_at.get_or_insert_with(Instant::now);
    }

    pub(super) fn resume(&mut self) {
        if let Some(since) = self.paused_at.take() {
            self.pauses += since.elapsed();
        }
    }
}
