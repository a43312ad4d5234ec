//! Spans of a binary without the feature `otlp`: none.

use std::time::{Duration, Instant};

use tonic::transport::Channel;

use super::{TraceContext, TracesConfig, TracesError, Value};
use crate::metrics::Metric;

/// The owner of an exporter that is not there.
#[derive(Debug)]
pub struct Traces {}

/// A span that is not there.
#[derive(Debug, Default)]
pub struct Span {}

impl Traces {
    /// No traces.
    pub fn off() -> Self {
        Self {}
    }

    /// Starts nothing; a configuration with an endpoint was refused before.
    ///
    /// # Errors
    /// None.
    pub fn start(
        _config: &TracesConfig,
        _channel: Channel,
        _service: &'static str,
        _spans: Metric,
    ) -> Result<Self, TracesError> {
        Ok(Self::off())
    }

    /// Nothing waits.
    pub async fn flush(self) {}
}

impl Span {
    /// No span.
    pub fn request(
        _name: &'static str,
        _began: Instant,
        _parent: impl FnOnce() -> Option<TraceContext>,
    ) -> Self {
        Self {}
    }

    /// No span.
    pub fn child(&self, _name: &'static str, _began: Instant) -> Self {
        Self {}
    }

    /// No span.
    pub fn step(
        &self,
        _name: &'static str,
        _began: Instant,
        _took: Duration,
        _attributes: &[(&'static str, Value)],
    ) {
    }

    /// Never.
    pub fn is_recording(&self) -> bool {
        false
    }

    /// Says nothing.
    pub fn set(&mut self, _key: &'static str, _value: impl Into<Value>) {}

    /// Says nothing.
    pub fn fail(&mut self, _kind: &str, _message: Option<&str>) {}

    /// Ends nothing.
    pub fn end(self, _at: Instant) {}

    /// Nothing to pass on.
    pub fn carried(&self) -> Option<(String, String)> {
        None
    }

    /// No span of the log.
    pub fn log_span(&self) -> tracing::Span {
        tracing::Span::none()
    }
}
