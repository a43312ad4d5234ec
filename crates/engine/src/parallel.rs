//! Work on several things at once, on the threads that compute.

use std::sync::{Mutex, PoisonError};

/// Does `work` with every item, each worker a run of them, and returns the results in order.
pub(crate) fn in_parts<W: Send, I: Send, T: Send>(
    workers: &mut [W],
    items: &mut [I],
    work: impl Fn(&mut W, &mut I) -> T + Sync,
) -> Vec<T> {
    let part = items.len().div_ceil(workers.len().max(1)).max(1);
    if let [worker] = workers {
        return items.iter_mut().map(|item| work(worker, item)).collect();
    }
    let parts: Vec<_> = workers
        .iter_mut()
        .zip(items.chunks_mut(part))
        .map(|(worker, items)| {
            let results = Vec::with_capacity(items.len());
            Mutex::new((worker, items, results))
        })
        .collect();
    tandem_model::for_each(parts.len(), &|part| {
        let mut part = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        let (worker, items, results) = &mut *part;
        results.extend(items.iter_mut().map(|item| work(worker, item)));
    });
    let results = parts.into_iter().map(|part| {
        let (_, _, results) = part.into_inner().unwrap_or_else(PoisonError::into_inner);
        results
    });
    results.flatten().collect()
}

/// How many threads so many items of so much work are for, where a thread is worth `worth` of it.
pub(crate) fn threads_for(items: usize, work: usize, worth: usize) -> usize {
    match (work / worth.max(1)).min(items) {
        0 | 1 => 1,
        several => several.min(tandem_model::threads()),
    }
}
