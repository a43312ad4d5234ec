//! What an engine's thread says of itself, so that those outside notice a step that hangs in a driver or a library.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What an engine's thread says of itself. Clones are of the same engine.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Beat>);

#[derive(Debug, Default)]
struct Beat {
    /// Turns that were begun: a turn takes in what was asked for and runs one step.
    turns: AtomicU64,
    /// Whether one is under way.
    works: AtomicBool,
    ended: AtomicBool,
}

/// The thread's own side: a turn is under way until it rests, and the engine has ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Beating(Pulse);

impl Beating {
    pub(crate) fn of(pulse: Pulse) -> Self {
        Self(pulse)
    }

    /// A turn begins.
    pub(crate) fn turn(&self) {
        let beat = &self.0.0;
        beat.turns.fetch_add(1, Ordering::Relaxed);
        beat.works.store(true, Ordering::Release);
    }

    /// Nothing is to be done.
    pub(crate) fn rest(&self) {
        self.0.0.works.store(false, Ordering::Release);
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.0.ended.store(true, Ordering::Release);
    }
}

/// The thread has ended, and will answer nobody any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine's thread has ended")]
pub struct Ended;

impl Pulse {
    /// The number of the turn under way; none while there is nothing to do.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn turn(&self) -> Result<Option<u64>, Ended> {
        let beat = &self.0;
        if beat.ended.load(Ordering::Acquire) {
            return Err(Ended);
        }
        let works = beat.works.load(Ordering::Acquire);
        Ok(works.then(|| beat.turns.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_its_number_until_it_ends() {
        let pulse = Pulse::default();
        let beating = Beating::of(pulse.clone());
        assert_eq!(pulse.turn(), Ok(None));
        beating.turn();
        let first = pulse.turn().unwrap();
        assert!(first.is_some() && pulse.turn().unwrap() == first);
        beating.turn();
        assert!(
            pulse
                .turn()
                .unwrap()
                .is_some_and(|turn| Some(turn) != first)
        );
        beating.rest();
        assert_eq!(pulse.turn(), Ok(None));
        drop(beating);
        assert_eq!(pulse.turn(), Err(Ended));
    }
}
