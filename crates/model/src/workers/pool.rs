//! Threads that wait for loops.
//!
//! A step is some hundred loops of 10 to 200 µs, one after the other, so who waits for whom decides
//! what a second thread is worth. OpenMP's loops, which libtorch uses, end when all threads have
//! come: after each pause the first waits for a processor to wake up, and a caller that has waited
//! too long falls asleep itself, in the middle of a step. Here a loop waits for no one who has not
//! begun, and its caller never sleeps.
//!
//! Workers stay awake for [`IDLE`] behind a loop and then sleep until there is another. That is
//! short because another process may need the processors, such as the model's other half.

#![allow(unsafe_code)]

use super::processors::Processors;
use std::hint::spin_loop;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks out for the next loop before it sleeps.
const IDLE: Duration = Duration::from_micros(200);
/// Looks between two at the clock.
const LOOKS: u32 = 64;

/// How many workers are in the loop, in the gate's lowest bits.
const INSIDE: u64 = (1 << 16) - 1;
/// There is a loop that workers may begin with.
const OPEN: u64 = 1 << 16;
/// There will be no more loops.
const STOP: u64 = 1 << 17;
/// One loop more, above all flags.
const LOOP: u64 = 1 << 18;

type Job<'a> = &'a (dyn Fn() + Sync);

/// The workers of one thread.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Thread>,
    wanted: usize,
}

#[derive(Debug)]
#[repr(align(128))]
struct Shared {
    /// Which loop it is, whether workers may begin with it, and how many are in it.
    gate: AtomicU64,
    /// A [`Job`]: where there is one for as long as the gate is open or anyone is inside.
    job: AtomicPtr<()>,
    /// Of each worker, whether it must be woken.
    asleep: Vec<AtomicBool>,
    processors: Processors,
}

impl Pool {
    /// `threads` with the one that calls, which is the one that may call [`Pool::run`]. Fewer where
    /// the system gives no more.
    pub(super) fn new(threads: usize) -> Self {
        let count = threads.saturating_sub(1).min(INSIDE as usize);
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            job: AtomicPtr::new(ptr::null_mut()),
            asleep: (0..count).map(|_| AtomicBool::new(false)).collect(),
            processors: Processors::of_caller(count),
        });
        let caller = thread::current();
        let name = caller.name().unwrap_or("loops");
        let spawn = |worker: usize| {
            let shared = Arc::clone(&shared);
            let named = thread::Builder::new().name(format!("{name}-{}", worker + 1));
            let spawned = named.spawn(move || shared.work(worker));
            spawned.ok().map(|handle| handle.thread().clone())
        };
        Self {
            workers: (0..count).map_while(spawn).collect(),
            shared,
            wanted: threads,
        }
    }

    /// The number of threads asked for.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Calls `job` on this thread, and on those that come before it returns there; returns when all
    /// have. There is use for `most` threads.
    pub(super) fn run(&mut self, most: usize, job: Job<'_>) {
        self.shared.processors.caller_runs();
        let place = ptr::from_ref(&job).cast_mut().cast();
        self.shared.job.store(place, Ordering::Relaxed);
        // No one is inside, and no one changes a closed gate.
        let gate = self.shared.gate.load(Ordering::Relaxed);
        let open = ((gate & !(INSIDE | OPEN)) + LOOP) | OPEN;
        self.shared.gate.store(open, Ordering::SeqCst);
        let _closing = Closing(&self.shared);
        // Who goes to sleep says so first and looks at the gate then: one sees the other.
        let workers = self.workers.iter().zip(&self.shared.asleep);
        let asleep = workers.filter(|(_, asleep)| asleep.load(Ordering::SeqCst));
        asleep
            .take(most.saturating_sub(1))
            .for_each(|(worker, _)| worker.unpark());
        job();
    }
}

impl Drop for Pool {
    /// The workers end by themselves.
    fn drop(&mut self) {
        self.shared.gate.fetch_or(STOP, Ordering::SeqCst);
        self.workers.iter().for_each(Thread::unpark);
    }
}

/// Closes the gate and waits until no one is inside.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut gate = self.0.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 16 * LOOKS;
        while gate & INSIDE > 0 {
            match looks {
                // Who is inside may need this thread's processor.
                0 => thread::yield_now(),
                _ => {
                    spin_loop();
                    looks -= 1;
                }
            }
            gate = self.0.gate.load(Ordering::Acquire);
        }
    }
}

/// A worker in a loop.
struct Inside<'a>(&'a Shared);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_sub(1, Ordering::Release);
    }
}

impl Shared {
    /// What a worker does all its life.
    fn work(&self, worker: usize) {
        super::set_threads(1);
        let mut last = 0;
        while let Some(gate) = self.next(worker, last) {
            self.processors.worker_runs(worker);
            last = gate & !(INSIDE | OPEN);
            let Some(_inside) = self.enter(gate) else {
                continue;
            };
            let job = self.job.load(Ordering::Relaxed).cast_const();
            // SAFETY: `run` puts a job there before it opens the gate, and returns, or unwinds, after
            // `Closing` has closed the gate and found no one inside. `_inside` went through the gate
            // while it was open for this job.
            unsafe { (*job.cast::<Job<'_>>())() };
        }
    }

    /// Waits for a gate that is open for another loop than the last; none when there will be none.
    fn next(&self, worker: usize, last: u64) -> Option<u64> {
        let is_next = |gate: u64| gate & OPEN != 0 && gate & !(INSIDE | OPEN) != last;
        loop {
            let since = Instant::now();
            while since.elapsed() < IDLE {
                for _ in 0..LOOKS {
                    let gate = self.gate.load(Ordering::Acquire);
                    if gate & STOP != 0 {
                        return None;
                    }
                    if is_next(gate) {
                        return Some(gate);
                    }
                    spin_loop();
                }
            }
            self.processors.worker_sleeps(worker);
            self.asleep[worker].store(true, Ordering::SeqCst);
            let gate = self.gate.load(Ordering::SeqCst);
            if gate & STOP == 0 && !is_next(gate) {
                thread::park();
            }
            self.asleep[worker].store(false, Ordering::Relaxed);
        }
    }

    /// Goes inside if the gate is still open for the same loop.
    fn enter(&self, mut gate: u64) -> Option<Inside<'_>> {
        let at = gate & !INSIDE;
        while gate & !INSIDE == at {
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            match (self.gate).compare_exchange_weak(gate, gate + 1, success, failure) {
                Ok(_) => return Some(Inside(self)),
                Err(found) => gate = found,
            }
        }
        None
    }
}
