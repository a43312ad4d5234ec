//! Keeps the threads of a pool on processors of their own.
//!
//! A kernel that would rather leave a processor idle may wake a worker on the one that its caller
//! runs on. There the two take turns until the kernel notices, milliseconds later: on a link, where
//! every step comes after a pause, that is for most of it. So a worker that finds itself where the
//! caller or a worker before it runs leaves, and avoids from then on where these were. One that has
//! a processor of its own is left where it is, and so is the caller, always.

use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Nowhere.
const ASLEEP: usize = usize::MAX;

/// Where the threads of a pool run.
#[derive(Debug)]
pub(super) struct Processors {
    caller: Pid,
    /// The caller's, and then each worker's.
    places: Vec<AtomicUsize>,
}

impl Processors {
    /// The caller is the thread that calls.
    pub(super) fn of_caller(workers: usize) -> Self {
        Self {
            caller: gettid(),
            places: (0..=workers).map(|_| AtomicUsize::new(ASLEEP)).collect(),
        }
    }

    /// To be called by the caller before a loop.
    pub(super) fn caller_runs(&self) {
        self.places[0].store(sched_getcpu(), Ordering::Relaxed);
    }

    /// To be called by a worker before it begins.
    pub(super) fn worker_runs(&self, worker: usize) {
        let (others, own) = self.places.split_at(worker + 1);
        let place = sched_getcpu();
        own[0].store(place, Ordering::Relaxed);
        let is_taken = |place| others.iter().any(|o| o.load(Ordering::Relaxed) == place);
        if !is_taken(place) {
            return;
        }
        // Where the caller may not run the worker may not either.
        let Ok(mut free) = sched_getaffinity(Some(self.caller)) else {
            return;
        };
        (0..CpuSet::MAX_CPU)
            .filter(|&place| is_taken(place))
            .for_each(|place| free.unset(place));
        // With more threads than processors some have to share.
        if free.count() > 0 && sched_setaffinity(None, &free).is_ok() {
            own[0].store(sched_getcpu(), Ordering::Relaxed);
        }
    }

    /// To be called by a worker before it sleeps.
    pub(super) fn worker_sleeps(&self, worker: usize) {
        self.places[worker + 1].store(ASLEEP, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::{for_each, set_threads};
    use std::sync::{Barrier, Mutex};

    fn only(place: usize) -> CpuSet {
        let mut set = CpuSet::new();
        set.set(place);
        set
    }

    #[test]
    fn a_worker_leaves_its_callers_processor() {
        let all = sched_getaffinity(None).unwrap();
        if all.count() < 2 {
            eprintln!("not tested: this process may use one processor");
            return;
        }
        set_threads(2);
        let (caller, meeting) = (gettid(), Barrier::new(2));
        let mut left = 0;
        for _ in 0..100 {
            // Both are put on one processor; the caller may then leave it, the worker may not.
            let together = sched_getcpu();
            for_each(2, &|_| {
                meeting.wait();
                sched_setaffinity(None, &only(together)).unwrap();
            });
            sched_setaffinity(None, &all).unwrap();
            let worker = Mutex::new(None);
            for_each(2, &|_| {
                meeting.wait();
                if gettid() != caller {
                    *worker.lock().unwrap() = Some(sched_getaffinity(None).unwrap());
                }
            });
            let worker = worker.into_inner().unwrap().unwrap();
            // It stays where it was put if the kernel has moved the caller away meanwhile.
            left += u32::from(!worker.is_set(together));
            assert!(worker.count() > 0);
            assert_eq!(sched_getaffinity(None).unwrap(), all);
        }
        assert!(left > 0);
    }
}
