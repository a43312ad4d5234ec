//! The way of spans to the collector: a bounded queue, batches, OTLP over gRPC. A thread of its own
//! exports; nothing waits for it, and what it cannot deliver is counted and gone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, Sampler,
    SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use tonic::transport::Channel;

use super::{EXPORT_TIMEOUT, TracesConfig, TracesError};
use crate::metrics::Metric;

/// Spans that may wait to be exported; what comes while it is full is dropped.
const QUEUE: usize = 2048;
/// How long the end of a server waits for its last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two warnings that the collector does not take spans.
const WARN_EVERY: Duration = Duration::from_secs(600);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// What makes spans, once traces are on.
pub(super) fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// The owner of the exporter.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

fn provider(
    exporter: impl SpanExporter + 'static,
    sample: f64,
    service: &'static str,
    spans: Metric,
) -> SdkTracerProvider {
    let instance = RandomIdGenerator::default().new_trace_id();
    // OTEL_RESOURCE_ATTRIBUTES is read by the builder.
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_string()),
        ])
        .build();
    let queue = Arc::new(Queue {
        waiting: AtomicUsize::new(0),
        spans,
    });
    let exporter = Counting {
        exporter,
        queue: Arc::clone(&queue),
        failures: Mutex::default(),
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .build();
    let batches = BatchSpanProcessor::builder(exporter)
        .with_batch_config(batches)
        .build();
    SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            sample,
        ))))
        .with_resource(resource)
        .with_span_processor(Bounded { batches, queue })
        .build()
}

impl Traces {
    /// No traces.
    pub fn off() -> Self {
        Self(None)
    }

    /// Starts traces for this process as the configuration has them, under the service's name, to the
    /// collector at the other end of `channel`. Needs a tokio runtime. Does not wait for the collector.
    ///
    /// # Errors
    /// The exporter refuses, or traces have been started before.
    pub fn start(
        config: &TracesConfig,
        channel: Channel,
        service: &'static str,
        spans: Metric,
    ) -> Result<Self, TracesError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_channel(channel)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| TracesError::Exporter(error.to_string()))?;
        let provider = provider(exporter, config.sample, service, spans);
        TRACER
            .set(provider.tracer("tandem"))
            .map_err(|_| TracesError::Twice)?;
        tracing::info!(endpoint = config.endpoint, sample = config.sample, "traces");
        Ok(Self(Some(provider)))
    }

    /// Exports what waits, for two seconds at most, and ends the exporter.
    pub async fn flush(self) {
        let Some(provider) = self.0 else { return };
        // It blocks, and what it waits for needs the runtime's own thread.
        let ending = move || provider.shutdown_with_timeout(FLUSH_TIMEOUT);
        let ended = tokio::task::spawn_blocking(ending);
        match tokio::time::timeout(FLUSH_TIMEOUT, ended).await {
            Ok(Ok(Ok(()))) => {}
            _ => tracing::warn!("the last spans could not be exported in time"),
        }
    }
}

/// How many spans wait.
#[derive(Debug)]
struct Queue {
    waiting: AtomicUsize,
    spans: Metric,
}

impl Queue {
    fn enter(&self) -> bool {
        let entered = self.waiting.fetch_add(1, Ordering::Relaxed) < QUEUE;
        if !entered {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.spans.counter(&["dropped"]).increment(1);
        }
        entered
    }

    fn leave(&self, count: usize, outcome: &'static str) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        self.spans.counter(&[outcome]).increment(count as u64);
    }
}

/// Keeps the queue to its bound, and counts what does not get in: the SDK drops without a figure.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    queue: Arc<Queue>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.enter() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts what becomes of batches, and says in the log when they begin to fail.
#[derive(Debug)]
struct Counting<E> {
    exporter: E,
    queue: Arc<Queue>,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    warned: Option<Instant>,
    /// The last warning still holds.
    failing: bool,
}

impl<E: SpanExporter> SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let exported = self.exporter.export(batch).await;
        let outcome = match &exported {
            Ok(()) => "exported",
            Err(_) => "dropped",
        };
        self.queue.leave(count, outcome);
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(exported.as_ref().err(), Instant::now());
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl Failures {
    /// Says that batches begin to fail, at most once in ten minutes, and that they arrive again.
    fn note(&mut self, error: Option<&OTelSdkError>, now: Instant) {
        let quiet = |at: Instant| now.duration_since(at) < WARN_EVERY;
        match error {
            Some(_) if self.warned.is_some_and(quiet) => {}
            Some(error) => {
                (self.warned, self.failing) = (Some(now), true);
                tracing::warn!(%error, "spans cannot be exported and are dropped");
            }
            None if self.failing => {
                self.failing = false;
                tracing::info!("spans are exported again");
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_is_away_is_said_once_in_ten_minutes() {
        let mut failures = Failures::default();
        let away = OTelSdkError::InternalFailure("away".to_owned());
        let began = Instant::now();
        failures.note(Some(&away), began);
        assert_eq!(failures.warned, Some(began));
        failures.note(None, began);
        assert!(!failures.failing);
        let soon = began + WARN_EVERY / 2;
        failures.note(Some(&away), soon);
        assert_eq!((failures.warned, failures.failing), (Some(began), false));
        let later = began + WARN_EVERY;
        failures.note(Some(&away), later);
        assert_eq!((failures.warned, failures.failing), (Some(later), true));
    }

    #[test]
    fn a_full_queue_takes_no_more_until_a_batch_has_left() {
        let queue = Queue {
            waiting: AtomicUsize::new(QUEUE - 1),
            spans: Metric {
                name: "tandem_edge_trace_spans_total",
                kind: crate::metrics::Kind::Counter,
                unit: crate::metrics::Unit::Count,
                labels: &[],
                help: "Spans.",
            },
        };
        assert!(queue.enter());
        assert!(!queue.enter());
        queue.leave(2, "exported");
        assert!(queue.enter() && queue.enter());
        assert!(!queue.enter());
    }
}
