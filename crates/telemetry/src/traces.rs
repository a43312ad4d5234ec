//! Distributed traces: one for each request, from its caller through the edge to the cloud, sent to a
//! collector as OTLP over gRPC. docs/reference.md says what is in them.
//!
//! [`context`](TraceContext) reads what a caller says of its trace; a [`Span`] is a piece of work with
//! a beginning and an end; [`Traces::start`] starts the exporter, and [`Traces::flush`] ends it. Nothing is
//! recorded until then, and a span costs a look at a cell where traces are off.
//!
//! The exporter and its libraries are behind the feature `otlp`. Without it spans are empty, and a
//! configuration that names an endpoint is refused.

mod context;
#[cfg(feature = "otlp")]
mod exporter;
#[cfg(feature = "otlp")]
mod span;
#[cfg(not(feature = "otlp"))]
mod without;

use std::time::Duration;

use serde::Deserialize;

use tandem_config::address::server_uri;
use tandem_config::{Validate, Violations};

pub use context::TraceContext;
#[cfg(feature = "otlp")]
pub use exporter::Traces;
#[cfg(feature = "otlp")]
pub use span::Span;
#[cfg(not(feature = "otlp"))]
pub use without::{Span, Traces};

/// Steps of a prompt that have spans of their own; those behind them are in the sums of the spans
/// above. So no prompt fills the exporter's queue by itself.
pub const STEPS_WITH_SPANS: usize = 64;

/// The section `traces` of a server's configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// The collector's OTLP gRPC port; empty for no traces.
    pub endpoint: String,
    /// Of the requests that come without a trace, the share that begins one.
    pub sample: f64,
}

/// A batch that is not delivered within this, tried again meanwhile, is dropped.
pub const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Traces cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The exporter refuses.
    #[error("traces: {0}")]
    Exporter(String),
    /// Something in this process has started traces before.
    #[error("traces were started twice")]
    Twice,
}

/// What an attribute of a span says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A list with one text.
    OneOf(&'static str),
    /// A number of things.
    Count(u64),
    /// A duration, in seconds.
    Seconds(f64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<Duration> for Value {
    fn from(duration: Duration) -> Self {
        Self::Seconds(duration.as_secs_f64())
    }
}

impl TracesConfig {
    /// What is wrong with the endpoint in a binary that has an exporter, or in one that does not.
    fn problem(&self, exporter: bool) -> Option<String> {
        if self.endpoint.is_empty() {
            return None;
        }
        match server_uri(&self.endpoint) {
            Err(error) => Some(error.to_string()),
            Ok(_) if !exporter => Some(
                "is set, and this binary was built without traces: build it with the feature otlp, \
                 which is on unless --no-default-features is given"
                    .to_owned(),
            ),
            Ok(_) => None,
        }
    }
}

impl Validate for TracesConfig {
    fn validate(&self, at: &mut Violations) {
        if let Some(problem) = self.problem(cfg!(feature = "otlp")) {
            at.push("endpoint", problem);
        }
        at.within("sample", self.sample, 0.0..=1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str, sample: f64) -> TracesConfig {
        TracesConfig {
            endpoint: endpoint.to_owned(),
            sample,
        }
    }

    #[test]
    fn a_binary_without_an_exporter_says_how_to_get_one() {
        let on = config("http://collector:4317", 1.0);
        assert_eq!(on.problem(true), None);
        let problem = on.problem(false).unwrap();
        assert!(problem.contains("the feature otlp"), "{problem}");
        assert_eq!(config("", 1.0).problem(false), None);
    }

    #[test]
    fn endpoints_are_addresses_and_shares_are_shares() {
        for bad in ["collector", "http://c:4317/v1/traces", "grpc://c:4317"] {
            assert!(config(bad, 1.0).problem(true).is_some(), "{bad}");
        }
        for (sample, wrong) in [
            (0.0, 0),
            (0.5, 0),
            (1.0, 0),
            (1.5, 1),
            (-0.1, 1),
            (f64::NAN, 1),
        ] {
            let found = Violations::of(&config("", sample));
            assert_eq!(found.len(), wrong, "{sample}");
        }
    }
}
