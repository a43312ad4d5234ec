//! How sessions share an engine.

use crate::watchdog::Patience;
use serde::Deserialize;
use std::time::Duration;
use tandem_config::{AutoDuration, HumanDuration, Validate, Violations};

/// The configuration of an engine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// How much longer a step may take for the rows of prompts and of drafts in it, while others wait for a token; `auto` for as
    /// much as it takes without.
    pub step: AutoDuration,
    /// How long one step may last before health says NOT_SERVING.
    pub stalled_after: HumanDuration,
    /// How long one step may last before the process ends, for whoever runs it to start it again; 0 for any time.
    pub lost_after: HumanDuration,
}

impl EngineConfig {
    /// How long a step may last.
    pub(crate) fn patience(&self) -> Patience {
        let lost_after = self.lost_after.get();
        Patience {
            stalled_after: self.stalled_after.get(),
            lost_after: (lost_after > Duration::ZERO).then_some(lost_after),
        }
    }
}

impl Validate for EngineConfig {
    fn validate(&self, at: &mut Violations) {
        let least = HumanDuration::from(Duration::from_millis(1));
        let most = HumanDuration::from(Duration::from_secs(10));
        if let Some(step) = self.step.written() {
            at.within("step", step, least..=most);
        }
        let seconds = |seconds| HumanDuration::from(Duration::from_secs(seconds));
        at.within(
            "stalled_after",
            self.stalled_after,
            seconds(1)..=seconds(86_400),
        );
        if self.lost_after.get() > Duration::ZERO {
            at.within(
                "lost_after",
                self.lost_after,
                self.stalled_after..=seconds(86_400),
            );
        }
    }
}
