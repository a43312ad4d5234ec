//! Loops on several threads: products, attention, and what is between them.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

mod gate;
#[cfg(test)]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod modelled;
mod pool;
#[cfg(target_os = "linux")]
mod processors;
#[cfg(not(target_os = "linux"))]
#[path = "workers/no_processors.rs"]
mod processors;

/// What the gate is made of.
mod sync {
    pub(super) use std::hint::spin_loop;
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
    pub(super) use std::thread::{Thread, park, yield_now};
}

use pool::Pool;

thread_local! {
    /// How many threads this thread's loops run on; 0 for as many as there are processors.
    static THREADS: Cell<usize> = const { Cell::new(0) };
    /// The others, from the first loop on that needs them.
    static POOL: RefCell<Option<Pool>> = const { RefCell::new(None) };
}

/// Sets on how many threads loops that this thread calls for run, itself included.
pub(crate) fn set_threads(threads: usize) {
    THREADS.set(threads.max(1));
}

/// A loop, and how far it is.
struct Loop<'a> {
    next: AtomicUsize,
    items: usize,
    work: &'a (dyn Fn(usize) + Sync),
    /// A panic of `work`, on its way to the caller.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Calls `work` once for each number below `items`, on several threads, and returns when all is
/// done. A thread takes the next number when it is done with one, so that one that loses its
/// processor to another process does not hold the others up, and one that sleeps too deeply to come
/// in time is done without. When `work` panics, some numbers may be left out and the panic goes on
/// here. A loop within a loop runs on the thread that calls for it.
pub fn for_each(items: usize, work: &(dyn Fn(usize) + Sync)) {
    let state = Loop {
        next: AtomicUsize::new(0),
        items,
        work,
        panic: Mutex::new(None),
    };
    let threads = match items {
        0 | 1 => 1,
        _ => threads(),
    };
    POOL.with(|pool| match pool.try_borrow_mut() {
        Ok(mut pool) if threads > 1 => {
            if pool.as_ref().is_none_or(|pool| pool.wanted() != threads) {
                *pool = Some(Pool::new(threads));
            }
            if let Some(pool) = pool.as_mut() {
                pool.run(items, &|| state.take_turns());
            }
        }
        _ => state.take_turns(),
    });
    let panic = state.panic.into_inner();
    if let Some(panic) = panic.unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(panic);
    }
}

/// On how many threads loops that this thread calls for run, itself included.
pub(crate) fn threads() -> usize {
    match THREADS.get() {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

/// Calls `work` once with each of what there is, on several threads.
pub(crate) fn for_each_of<T: Send>(all: impl Iterator<Item = T>, work: &(dyn Fn(T) + Sync)) {
    let all: Vec<Mutex<Option<T>>> = all.map(|one| Mutex::new(Some(one))).collect();
    for_each(all.len(), &|number| {
        let one = all[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(one) = one {
            work(one);
        }
    });
}

impl Loop<'_> {
    fn take_turns(&self) {
        let turns = AssertUnwindSafe(|| {
            loop {
                let item = self.next.fetch_add(1, Ordering::Relaxed);
                if item >= self.items {
                    return;
                }
                (self.work)(item);
            }
        });
        if let Err(panic) = catch_unwind(turns) {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::time::Duration;

    #[test]
    fn every_number_comes_once() {
        for items in [0, 1, 2, 7, 1000] {
            let counts: Vec<_> = (0..items).map(|_| AtomicUsize::new(0)).collect();
            for_each(items, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            let once = counts.iter().all(|c| c.load(Ordering::Relaxed) == 1);
            assert!(once, "{items}");
        }
    }

    #[test]
    fn everything_is_taken_once() {
        let mut all = vec![0; 1000];
        for_each_of(all.chunks_mut(7).enumerate(), &|(number, places)| {
            places.iter_mut().for_each(|place| *place += number);
        });
        let expected: Vec<_> = (0..1000).map(|i| i / 7).collect();
        assert_eq!(all, expected);
    }

    /// Loops in quick succession, after short pauses and after such as let workers fall asleep.
    #[test]
    fn what_a_loop_has_done_is_there_behind_it() {
        set_threads(4);
        let mut values = vec![0u64; 64];
        for round in 0..20_000u64 {
            if round % 1000 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            let places: Vec<_> = values.iter_mut().map(Mutex::new).collect();
            for_each(places.len(), &|i| **places[i].lock().unwrap() += round);
        }
        let sum: u64 = (0..20_000).sum();
        assert!(values.iter().all(|&v| v == sum), "{values:?}");
    }

    #[test]
    fn as_many_threads_take_part_as_are_set() {
        for threads in [1, 3, 2] {
            crate::set_threads(threads);
            let seen = Mutex::new(HashSet::new());
            let all_here = Barrier::new(threads);
            for_each(threads * 4, &|_| {
                all_here.wait();
                seen.lock().unwrap().insert(std::thread::current().id());
            });
            assert_eq!(seen.into_inner().unwrap().len(), threads);
        }
    }

    #[test]
    fn threads_that_call_at_once_have_workers_of_their_own() {
        let rounds = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    set_threads(2);
                    for _ in 0..200 {
                        let meeting = Barrier::new(2);
                        for_each(2, &|_| _ = meeting.wait());
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(rounds.into_inner(), 600);
    }

    #[test]
    fn a_loop_within_a_loop_runs_where_it_is_called_for() {
        set_threads(2);
        let sums: Vec<_> = (0..8).map(|_| AtomicUsize::new(0)).collect();
        for_each(8, &|i| {
            let here = std::thread::current().id();
            for_each(100, &|j| {
                assert_eq!(std::thread::current().id(), here);
                sums[i].fetch_add(j, Ordering::Relaxed);
            });
        });
        assert!(sums.iter().all(|s| s.load(Ordering::Relaxed) == 4950));
    }

    #[test]
    fn a_panic_on_any_thread_reaches_the_caller() {
        crate::set_threads(2);
        for bad in [0, 1, 63] {
            let meeting = Barrier::new(2);
            let result = catch_unwind(AssertUnwindSafe(|| {
                for_each(64, &|item| {
                    if item < 2 {
                        meeting.wait();
                    }
                    assert!(item != bad, "item {item}");
                });
            }));
            let message = result.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(*message, format!("item {bad}"));
        }
        for_each(8, &|_| {});
    }
}
