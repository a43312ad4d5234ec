//! How sessions share an engine.

use serde::Deserialize;
use std::time::Duration;
use tandem_config::{AutoDuration, HumanDuration, Validate, Violations};

/// The configuration of an engine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// How much longer a step may take for the rows of prompts in it, while others wait for a token; `auto` for as
    /// much as it takes without.
    pub step: AutoDuration,
}

impl Validate for EngineConfig {
    fn validate(&self, at: &mut Violations) {
        let least = HumanDuration::from(Duration::from_millis(1));
        let most = HumanDuration::from(Duration::from_secs(10));
        if let Some(step) = self.step.written() {
            at.within("step", step, least..=most);
        }
    }
}
