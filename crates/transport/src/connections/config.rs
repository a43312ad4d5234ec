//! The section `transport.connections`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use tandem_config::{HumanDuration, Validate, Violations};

/// What clients may have of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsConfig {
    /// Connections open at once; one more is closed as soon as it comes.
    pub max: usize,
    /// The same of one address, or of one IPv6 network of 64 bits; 0 is no limit of its own.
    pub per_address: usize,
    /// Calls at once on one HTTP/2 connection; further ones wait in their client.
    pub streams: u32,
    /// A connection on which no call has been accepted for so long since it began is closed.
    pub first_call: HumanDuration,
}

impl Default for ConnectionsConfig {
    /// The cloud's defaults, for clients, which take no connections.
    fn default() -> Self {
        Self {
            max: 1024,
            per_address: 256,
            streams: 1024,
            first_call: Duration::from_secs(30).into(),
        }
    }
}

impl Validate for ConnectionsConfig {
    fn validate(&self, at: &mut Violations) {
        at.within("max", self.max, 1..=65_536);
        at.within("per_address", self.per_address, ..=65_536);
        at.within("streams", self.streams, 1..=65_536);
        let second = HumanDuration::from(Duration::from_secs(1));
        at.within("first_call", self.first_call, second..);
    }
}
