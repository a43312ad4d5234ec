//! What a fetch tells its caller while it blocks.

use crate::error::HubError;
use std::time::Duration;

/// A step of a fetch. Steps of a download come after every few hundred kibibytes at most.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Bytes are arriving.
    Downloading {
        /// The file they belong to.
        file: &'a str,
        /// Bytes of all files that are on this machine. Less than before when a damaged file begins
        /// afresh.
        done: u64,
        /// Bytes of all files that this fetch brings or found.
        total: u64,
    },
    /// Another process is downloading the same file; this one goes on when it ends.
    Waiting {
        /// The file.
        file: &'a str,
    },
    /// An attempt failed; the next follows after a pause.
    Retrying {
        /// Why it failed.
        problem: &'a HubError,
        /// How long until the next.
        pause: Duration,
    },
}

/// Takes the steps of a fetch.
pub type OnProgress<'a> = dyn FnMut(Progress<'_>) + 'a;
