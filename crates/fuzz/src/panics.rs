//! Panics on other threads, which a server catches and survives: to a target they are failures.

use std::cell::Cell;
use std::panic;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread runs a target, and so fails by its own panics.
    static RUNS: Cell<bool> = const { Cell::new(false) };
}

/// Notes from now on what threads panic with that have not called this.
pub(crate) fn watch_others() {
    static ONCE: Once = Once::new();
    RUNS.set(true);
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !RUNS.get() {
                lock().push(info.to_string());
            }
            before(info);
        }));
    });
}

/// Fails with what has been noted.
pub(crate) fn fail_with_noted() {
    let noted = std::mem::take(&mut *lock());
    assert!(noted.is_empty(), "panics of other threads: {noted:?}");
}

fn lock() -> MutexGuard<'static, Vec<String>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}
