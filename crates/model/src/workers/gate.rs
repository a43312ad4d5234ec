//! The gate in front of a loop: workers go in while it is open, and whoever closes it waits until they are out.
//!
//! `super::sync` is the standard library's, and in a test the model checker's.

use super::sync::{AtomicBool, AtomicU64, Ordering, Thread, fence, park, spin_loop, yield_now};

/// How many workers are in the loop, in the gate's lowest bits.
const INSIDE: u64 = (1 << 16) - 1;
/// There is a loop that workers may begin with.
const OPEN: u64 = 1 << 16;
/// There will be no more loops.
const STOP: u64 = 1 << 17;
/// One loop more, above all flags.
const LOOP: u64 = 1 << 18;

/// The most workers of a gate.
pub(super) const MOST: usize = INSIDE as usize;

/// Looks at a gate that is being closed before the processor is given away.
const LOOKS: u32 = 1024;

#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Gate {
    /// Which loop it is, whether workers may begin with it, and how many are in it.
    state: AtomicU64,
    /// Of each worker, whether it must be woken.
    asleep: Vec<AtomicBool>,
}

/// A loop that workers may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u64);

/// What a look at the gate shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// No loop other than the last.
    Nothing,
    /// Another loop.
    Loop(Seen),
    /// There will be none.
    Stop,
}

/// Closes the gate on drop, and waits until no one is inside.
pub(super) struct Opened<'a>(&'a Gate);

/// A worker in a loop, until it is dropped.
pub(super) struct Inside<'a>(&'a Gate);

impl Gate {
    /// Closed, for so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            state: AtomicU64::new(0),
            asleep: (0..workers).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Opens it for another loop, and wakes as many as `most` of the workers that sleep. One thread opens it, which is
    /// the one that closes it.
    pub(super) fn open<'a>(
        &self,
        workers: impl Iterator<Item = &'a Thread>,
        most: usize,
    ) -> Opened<'_> {
        // No one is inside, and no one changes a closed gate.
        let gate = self.state.load(Ordering::Relaxed);
        let open = ((gate & !(INSIDE | OPEN)) + LOOP) | OPEN;
        self.state.store(open, Ordering::Release);
        let opened = Opened(self);
        // Who goes to sleep says so first and looks at the gate then: with fences between, one sees the other.
        fence(Ordering::SeqCst);
        let asleep = workers
            .zip(&self.asleep)
            .filter(|(_, asleep)| asleep.load(Ordering::Relaxed));
        asleep.take(most).for_each(|(worker, _)| worker.unpark());
        opened
    }

    /// Opens it for no more loops. The workers must be woken behind it.
    pub(super) fn stop(&self) {
        self.state.fetch_or(STOP, Ordering::Release);
    }

    /// Looks for a loop other than the last.
    pub(super) fn look(&self, last: Option<Seen>) -> Look {
        Self::shows(self.state.load(Ordering::Acquire), last)
    }

    fn shows(gate: u64, last: Option<Seen>) -> Look {
        let seen = Seen(gate & !(INSIDE | OPEN));
        if gate & STOP != 0 {
            Look::Stop
        } else if gate & OPEN != 0 && last != Some(seen) {
            Look::Loop(seen)
        } else {
            Look::Nothing
        }
    }

    /// Sleeps where there is nothing new, until this worker is woken; it may be for nothing.
    pub(super) fn sleep(&self, worker: usize, last: Option<Seen>) {
        self.asleep[worker].store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let gate = self.state.load(Ordering::Acquire);
        if Self::shows(gate, last) == Look::Nothing {
            park();
        }
        self.asleep[worker].store(false, Ordering::Relaxed);
    }

    /// Goes inside if the gate is still open for the same loop.
    pub(super) fn enter(&self, seen: Seen) -> Option<Inside<'_>> {
        let open = seen.0 | OPEN;
        let mut gate = self.state.load(Ordering::Relaxed);
        while gate & !INSIDE == open {
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            match (self.state).compare_exchange_weak(gate, gate + 1, success, failure) {
                Ok(_) => return Some(Inside(self)),
                Err(found) => gate = found,
            }
        }
        None
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        let mut gate = self.0.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = LOOKS;
        while gate & INSIDE > 0 {
            match looks {
                // Who is inside may need this thread's processor.
                0 => yield_now(),
                _ => {
                    spin_loop();
                    looks -= 1;
                }
            }
            gate = self.0.state.load(Ordering::Acquire);
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_sub(1, Ordering::Release);
    }
}
