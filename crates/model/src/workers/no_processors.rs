//! Where the system does not say which processor a thread runs on.

/// Knows nothing.
#[derive(Debug)]
pub(super) struct Processors;

impl Processors {
    pub(super) fn of_caller(_workers: usize) -> Self {
        Self
    }

    pub(super) fn caller_runs(&self) {}

    pub(super) fn worker_runs(&self, _worker: usize) {}

    pub(super) fn worker_sleeps(&self, _worker: usize) {}
}
