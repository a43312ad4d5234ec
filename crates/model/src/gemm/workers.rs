//! Work for the threads that libtorch computes with.
//!
//! libtorch's threads are OpenMP's, and they stay awake for a moment after each of its loops. A
//! pool of our own would take turns with them on the same processors; so loops here are run by the
//! OpenMP library that libtorch has brought along, whichever it is: `GOMP_parallel` is what
//! compilers call for a `#pragma omp parallel`, in GNU's libgomp and in LLVM's libomp alike. As
//! many threads take part as [`crate::set_threads`] said.

#![allow(unsafe_code)]

use std::ffi::{c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

type Parallel =
    unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);

/// A loop, and how far it is.
struct Loop<'a> {
    next: AtomicUsize,
    items: usize,
    work: &'a (dyn Fn(usize) + Sync),
}

/// Calls `work` once for each number below `items`, on several threads, and returns when all is
/// done. A thread takes the next number when it is done with one, so that one that loses its
/// processor to another process does not hold the others up. `work` must not panic: that ends the
/// process.
pub(super) fn for_each(items: usize, work: &(dyn Fn(usize) + Sync)) {
    let loop_ = Loop {
        next: AtomicUsize::new(0),
        items,
        work,
    };
    match parallel() {
        Some(parallel) if items > 1 => {
            let data = std::ptr::from_ref(&loop_).cast_mut().cast();
            // SAFETY: `take_turns` gets the pointer it expects, to what outlives the call and is
            // only read: GOMP_parallel returns when all threads are done. 0 threads are as many as
            // this thread's setting says.
            unsafe { parallel(take_turns, data, 0, 0) }
        }
        _ => loop_.take_turns(),
    }
}

impl Loop<'_> {
    fn take_turns(&self) {
        loop {
            let item = self.next.fetch_add(1, Ordering::Relaxed);
            if item >= self.items {
                return;
            }
            (self.work)(item);
        }
    }
}

extern "C" fn take_turns(data: *mut c_void) {
    // SAFETY: `for_each` passes a `Loop` that lives while this runs, and no one writes to it but
    // for its counter.
    let loop_ = unsafe { &*data.cast_const().cast::<Loop<'_>>() };
    loop_.take_turns();
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
    use std::sync::Mutex;

    #[test]
    fn every_number_comes_once() {
        for items in [0, 1, 2, 7, 1000] {
            let counts: Vec<_> = (0..items).map(|_| AtomicUsize::new(0)).collect();
            for_each(items, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{items}");
        }
    }

    #[test]
    fn libtorch_brings_threads_and_says_how_many() {
        for threads in [1, 3] {
            crate::set_threads(threads);
            let seen = Mutex::new(HashSet::new());
            let all_here = std::sync::Barrier::new(threads);
            for_each(threads, &|_| {
                all_here.wait();
                seen.lock().unwrap().insert(std::thread::current().id());
            });
            assert_eq!(seen.into_inner().unwrap().len(), threads);
        }
    }
}
