//! The gate under a model checker, which tries the orders in which two threads can meet there, as far as three times
//! one of them is interrupted, and every value that an atomic may show to each of them.

#[path = "gate.rs"]
#[allow(dead_code, reason = "the pool has more workers than one")]
#[allow(
    clippy::duplicate_mod,
    reason = "there it is made of the standard library, here of the checker"
)]
mod gate;

mod sync {
    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
    pub(super) use loom::thread::{Thread, park, yield_now};
}

use gate::{Gate, Look};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

struct Shared {
    gate: Gate,
    /// Stands for what a loop works with: the caller changes it, and nobody may look at it meanwhile.
    job: UnsafeCell<()>,
    /// There only while the gate is open or anyone is inside.
    is_there: AtomicBool,
    done: Mutex<usize>,
    told: Condvar,
}

/// A worker's life, as the pool has it but for the time that it looks before it sleeps.
fn work(shared: &Shared) {
    let mut last = None;
    loop {
        match shared.gate.look(last) {
            Look::Stop => return,
            Look::Nothing => shared.gate.sleep(0, last),
            Look::Loop(seen) => {
                last = Some(seen);
                if let Some(_inside) = shared.gate.enter(seen) {
                    shared.job.with(|_| ());
                    assert!(
                        shared.is_there.load(Ordering::Relaxed),
                        "a job that is over"
                    );
                    *shared.done.lock().unwrap() += 1;
                    shared.told.notify_one();
                }
            }
        }
    }
}

/// Runs loops with one worker. `meanwhile` is what the caller does while the gate is open.
fn check(loops: usize, meanwhile: impl Fn(&Shared, usize) + Sync + Send + Copy + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared = Arc::new(Shared {
            gate: Gate::new(1),
            job: UnsafeCell::new(()),
            is_there: AtomicBool::new(false),
            done: Mutex::new(0),
            told: Condvar::new(),
        });
        let of_worker = Arc::clone(&shared);
        let worker = thread::spawn(move || work(&of_worker));
        for number in 1..=loops {
            shared.job.with_mut(|_| ());
            shared.is_there.store(true, Ordering::Relaxed);
            let opened = shared.gate.open(std::iter::once(worker.thread()), 1);
            meanwhile(&shared, number);
            drop(opened);
            shared.job.with_mut(|_| ());
            shared.is_there.store(false, Ordering::Relaxed);
        }
        shared.gate.stop();
        worker.thread().unpark();
        worker.join().unwrap();
        assert!(*shared.done.lock().unwrap() <= loops);
    });
}

#[test]
fn a_job_is_there_while_anyone_works_on_it() {
    check(2, |_, _| {});
}

/// Nobody sleeps through a loop: where its caller waits for the worker, it comes.
#[test]
fn who_sleeps_is_woken() {
    check(2, |shared, number| {
        let mut done = shared.done.lock().unwrap();
        while *done < number {
            done = shared.told.wait(done).unwrap();
        }
    });
}
