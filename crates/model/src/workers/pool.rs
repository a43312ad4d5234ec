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

use super::gate::{Gate, Look, MOST, Seen};
use super::processors::Processors;
use std::hint::spin_loop;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks out for the next loop before it sleeps.
const IDLE: Duration = Duration::from_micros(200);
/// Looks between two at the clock.
const LOOKS: u32 = 64;

type Job<'a> = &'a (dyn Fn() + Sync);

/// The workers of one thread.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Thread>,
    wanted: usize,
}

#[derive(Debug)]
struct Shared {
    gate: Gate,
    /// A [`Job`]: where there is one for as long as the gate is open or anyone is inside.
    job: AtomicPtr<()>,
    processors: Processors,
}

impl Pool {
    /// `threads` with the one that calls, which is the one that may call [`Pool::run`]. Fewer where
    /// the system gives no more.
    pub(super) fn new(threads: usize) -> Self {
        let count = threads.saturating_sub(1).min(MOST);
        let shared = Arc::new(Shared {
            gate: Gate::new(count),
            job: AtomicPtr::new(ptr::null_mut()),
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
        let _opened = self
            .shared
            .gate
            .open(self.workers.iter(), most.saturating_sub(1));
        job();
    }
}

impl Drop for Pool {
    /// The workers end by themselves.
    fn drop(&mut self) {
        self.shared.gate.stop();
        self.workers.iter().for_each(Thread::unpark);
    }
}

impl Shared {
    /// What a worker does all its life.
    fn work(&self, worker: usize) {
        super::set_threads(1);
        let mut last = None;
        while let Some(seen) = self.next(worker, last) {
            self.processors.worker_runs(worker);
            last = Some(seen);
            let Some(_inside) = self.gate.enter(seen) else {
                continue;
            };
            let job = self.job.load(Ordering::Relaxed).cast_const();
            // SAFETY: `run` puts a job there before it opens the gate, and returns, or unwinds, after it
            // has closed the gate and found no one inside. `_inside` went through the gate while it was
            // open for this job.
            unsafe { (*job.cast::<Job<'_>>())() };
        }
    }

    /// Waits for a loop other than the last; none when there will be none.
    fn next(&self, worker: usize, last: Option<Seen>) -> Option<Seen> {
        loop {
            let since = Instant::now();
            while since.elapsed() < IDLE {
                for _ in 0..LOOKS {
                    match self.gate.look(last) {
                        Look::Loop(seen) => return Some(seen),
                        Look::Stop => return None,
                        Look::Nothing => spin_loop(),
                    }
                }
            }
            self.processors.worker_sleeps(worker);
            self.gate.sleep(worker, last);
        }
    }
}
