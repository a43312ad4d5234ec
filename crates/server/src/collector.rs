//! The start of traces: the connection to their collector, with TLS where its address asks for it.

use std::time::Duration;

use tandem_config::address::{EndpointError, server_uri};
use tandem_telemetry::metrics::Metric;
use tandem_telemetry::traces::{EXPORT_TIMEOUT, Traces, TracesConfig, TracesError};
use tandem_transport::reload::MaterialError;
use tandem_transport::tls::{ClientTlsSettings, channel};
use tonic::transport::Endpoint;

/// A connection to the collector is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What traces count; each server has metrics of its own for it.
#[derive(Debug, Clone, Copy)]
pub struct TraceMetrics {
    /// Spans by outcome: `exported` or `dropped`.
    pub spans: Metric,
    /// Files read again; a collector's certificate is checked against the system's authorities.
    pub reloads: Metric,
}

/// Traces cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The endpoint is no address.
    #[error("traces.endpoint: {0}")]
    Address(#[from] EndpointError),
    /// TLS to the collector cannot be set up.
    #[error("traces.endpoint: {0}")]
    Tls(#[from] MaterialError),
    /// The exporter cannot start.
    #[error(transparent)]
    Traces(#[from] TracesError),
}

/// Starts traces for this process as the configuration has them, under the service's name. Needs a
/// tokio runtime. Does not wait for the collector.
///
/// # Errors
/// The endpoint cannot be one, or traces have been started before.
pub async fn start_traces(
    config: &TracesConfig,
    service: &'static str,
    metrics: TraceMetrics,
) -> Result<Traces, CollectorError> {
    if config.endpoint.is_empty() {
        return Ok(Traces::off());
    }
    let endpoint = Endpoint::from(server_uri(&config.endpoint)?)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(EXPORT_TIMEOUT);
    let tls = ClientTlsSettings::default();
    let channel = channel(&endpoint, &tls, "traces", metrics.reloads).await?;
    Ok(Traces::start(config, channel, service, metrics.spans)?)
}
