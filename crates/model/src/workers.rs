//! Work for the threads that libtorch computes with.
//!
//! libtorch's threads are OpenMP's, and they stay awake for a moment after each of its loops. A
//! pool of our own would take turns with them on the same processors; so loops here are run by the
//! OpenMP library that libtorch has brought along: `GOMP_parallel` is what GNU's compiler calls
//! for a `#pragma omp parallel`, and LLVM's library has it too. As many threads take part as
//! [`crate::set_threads`] said on this thread.

#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

type Parallel = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);

/// A loop, and how far it is.
struct Loop<'a> {
    next: AtomicUsize,
    items: usize,
    work: &'a (dyn Fn(usize) + Sync),
    /// A panic of `work`, on its way to the caller: the OpenMP library's frames must not unwind.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Calls `work` once for each number below `items`, on several threads, and returns when all is
/// done. A thread takes the next number when it is done with one, so that one that loses its
/// processor to another process does not hold the others up. When `work` panics, some numbers may
/// be left out and the panic goes on here.
pub(crate) fn for_each(items: usize, work: &(dyn Fn(usize) + Sync)) {
    let state = Loop {
        next: AtomicUsize::new(0),
        items,
        work,
        panic: Mutex::new(None),
    };
    match parallel() {
        Some(parallel) if items > 1 => {
            let data = std::ptr::from_ref(&state).cast_mut().cast();
            // SAFETY: `take_turns` gets the pointer it expects, to what outlives the call and is
            // only read: GOMP_parallel returns when all threads are done. 0 threads are as many as
            // this thread's setting says.
            unsafe { parallel(take_turns, data, 0, 0) }
        }
        _ => state.take_turns(),
    }
    let panic = state.panic.into_inner();
    if let Some(panic) = panic.unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(panic);
    }
}

/// Calls `work` once with each of what there is, on several threads.
#[cfg(target_arch = "x86_64")]
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

extern "C" fn take_turns(data: *mut c_void) {
    // SAFETY: `for_each` passes a `Loop` that lives while this runs and is shared, not written to,
    // but for its counter and its mutex.
    let state = unsafe { &*data.cast_const().cast::<Loop<'_>>() };
    state.take_turns();
}

/// The entry of the OpenMP library in this process. Without one, loops run on the calling thread.
fn parallel() -> Option<Parallel> {
    static PARALLEL: OnceLock<Option<Parallel>> = OnceLock::new();
    *PARALLEL.get_or_init(|| {
        // SAFETY: looks a name up among what is loaded.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"GOMP_parallel".as_ptr()) };
        if found.is_null() {
            return None;
        }
        // SAFETY: the symbol of this name has this type, part of libgomp's binary interface since
        // GOMP_4.0.
        Some(unsafe { std::mem::transmute::<*mut c_void, Parallel>(found) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Barrier;

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
    #[cfg(target_arch = "x86_64")]
    fn everything_is_taken_once() {
        let mut all = vec![0; 1000];
        for_each_of(all.chunks_mut(7).enumerate(), &|(number, places)| {
            places.iter_mut().for_each(|place| *place += number);
        });
        let expected: Vec<_> = (0..1000).map(|i| i / 7).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn libtorch_brings_threads_and_says_how_many() {
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

    /// The loop that libtorch's threads run is the loop that ours run: not a second library's.
    #[cfg(target_os = "linux")]
    #[test]
    fn one_openmp_library_is_loaded() {
        crate::set_threads(2);
        assert!(parallel().is_some());
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let openmp = |file: &&str| {
            ["libgomp", "libomp", "libiomp"]
                .iter()
                .any(|l| file.contains(l))
        };
        let files = maps.lines().filter_map(|l| l.split_whitespace().nth(5));
        let libraries: HashSet<_> = files.filter(openmp).collect();
        assert_eq!(libraries.len(), 1, "{libraries:?}");
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
