//! When a failed request is tried again, and after how long.

use crate::error::HubError;
use crate::progress::{OnProgress, Progress};
use crate::settings::Settings;
use std::time::Duration;

const MAX_PAUSE: Duration = Duration::from_secs(20);
/// A hub that asks for more patience than this gets its answer shown to a person instead.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

/// A failed attempt.
pub(crate) struct Failed {
    pub(crate) error: HubError,
    /// The pause that the hub asks for.
    pub(crate) retry_after: Option<Duration>,
}

impl From<HubError> for Failed {
    fn from(error: HubError) -> Self {
        Self {
            error,
            retry_after: None,
        }
    }
}

/// The attempts at one thing.
pub(crate) struct Attempts {
    failures: u32,
    limit: u32,
    pause: Duration,
}

impl Attempts {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            failures: 0,
            limit: settings.attempts,
            pause: settings.retry_pause,
        }
    }

    /// One attempt and no other.
    pub(crate) fn single() -> Self {
        Self {
            failures: 0,
            limit: 1,
            pause: Duration::ZERO,
        }
    }

    /// Forgets the failures, since something arrived.
    pub(crate) fn got_further(&mut self) {
        self.failures = 0;
    }

    /// Waits for the next attempt.
    ///
    /// # Errors
    /// The failure itself, when no further attempt would help.
    pub(crate) fn pause_after(
        &mut self,
        failed: Failed,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<(), HubError> {
        let Failed { error, retry_after } = failed;
        self.failures += 1;
        let asked_too_long = retry_after.is_some_and(|pause| pause > MAX_RETRY_AFTER);
        if !is_transient(&error) || self.failures >= self.limit || asked_too_long {
            return Err(error);
        }
        let doubled = self.pause.saturating_mul(1 << (self.failures - 1).min(10));
        // Spread, so that devices which a hub turned away together do not come back together.
        let spread = doubled
            .min(MAX_PAUSE)
            .mul_f64(rand::random_range(0.5..=1.0));
        let pause = retry_after.unwrap_or_default().max(spread);
        on_progress(Progress::Retrying {
            problem: &error,
            pause,
        });
        std::thread::sleep(pause);
        Ok(())
    }
}

fn is_transient(error: &HubError) -> bool {
    // Certificates do not mend by themselves.
    error.is_outage() && !matches!(error, HubError::NoRoots | HubError::Untrusted { .. })
}
