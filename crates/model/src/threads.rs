//! Threads that compute.

use crate::workers;
use std::fmt;
use std::marker::PhantomData;

/// Makes the thread that holds it one that computes: libtorch keeps no gradients there.
pub struct ComputeThread {
    #[cfg(feature = "torch")]
    _no_grad: tch::NoGradGuard,
    /// It is of the thread that began it.
    _here: PhantomData<*const ()>,
}

impl ComputeThread {
    /// Begins on this thread, with `threads` for what it calls for, itself included.
    pub fn begin(threads: usize) -> Self {
        set_threads(threads);
        Self {
            #[cfg(feature = "torch")]
            _no_grad: tch::no_grad_guard(),
            _here: PhantomData,
        }
    }
}

impl fmt::Debug for ComputeThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ComputeThread")
    }
}

/// The number of threads that what this thread calls for is computed on, itself included.
pub fn threads() -> usize {
    workers::threads()
}

/// Sets the number of threads that what this thread calls for is computed on, by libtorch too, whose
/// default ignores a container's quota.
pub fn set_threads(threads: usize) {
    workers::set_threads(threads);
    #[cfg(feature = "torch")]
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX).max(1));
}
