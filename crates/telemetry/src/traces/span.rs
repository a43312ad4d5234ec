//! A piece of work, with a beginning and an end.
//!
//! Work happens on other threads and is heard of when it is done, so spans take the moments at which
//! they began and ended. All moments of a request are told by one clock: the machine's, as it stood
//! when the request came, and from there on the monotonic one.

use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status as SpanStatus, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Array, Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use super::exporter::tracer;
use super::{TraceContext, Value};

/// A span that has not ended; dropping it ends it. Empty where traces are off, and without effect
/// where its trace is not recorded.
#[derive(Debug, Default)]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    span: SdkSpan,
    clock: Clock,
}

/// The machine's clock at a moment of the monotonic one.
#[derive(Debug, Clone, Copy)]
struct Clock {
    monotonic: Instant,
    wall: SystemTime,
}

impl Span {
    /// The span of a request that came at `began`: in its caller's trace, or else the first of a new
    /// one. A caller's decision whether to record holds.
    pub fn request(
        name: &'static str,
        began: Instant,
        parent: impl FnOnce() -> Option<TraceContext>,
    ) -> Self {
        match tracer() {
            Some(tracer) => Self::begin(tracer, name, began, parent()),
            None => Self::default(),
        }
    }

    fn begin(
        tracer: &SdkTracer,
        name: &'static str,
        began: Instant,
        parent: Option<TraceContext>,
    ) -> Self {
        let clock = Clock::now();
        let parent = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent.into()),
            None => Context::new(),
        };
        let builder = tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_start_time(clock.wall(began));
        let span = tracer.build_with_context(builder, &parent);
        Self(Some(Box::new(Open { span, clock })))
    }

    /// A span within this one, from `began` on.
    pub fn child(&self, name: &'static str, began: Instant) -> Self {
        let (Some(tracer), Some(open)) = (tracer(), self.recording()) else {
            return Self::default();
        };
        Self(Some(Box::new(open.child(tracer, name, began, Vec::new()))))
    }

    /// A span within this one that has ended already.
    pub fn step(
        &self,
        name: &'static str,
        began: Instant,
        took: Duration,
        attributes: &[(&'static str, Value)],
    ) {
        let (Some(tracer), Some(open)) = (tracer(), self.recording()) else {
            return;
        };
        let attributes = attributes.iter().cloned();
        let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
        let mut child = open.child(tracer, name, began, attributes.collect());
        child.span.end_with_timestamp(open.clock.wall(began + took));
    }

    /// Whether anything that is said of it is kept.
    pub fn is_recording(&self) -> bool {
        self.recording().is_some()
    }

    fn recording(&self) -> Option<&Open> {
        self.0.as_deref().filter(|open| open.span.is_recording())
    }

    /// Adds an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            let value: Value = value.into();
            open.span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// The work failed, in this way (the attribute `error.type`). Without a message it is not the
    /// service's error: a caller that cancels makes none.
    pub fn fail(&mut self, kind: &str, message: Option<&str>) {
        if !self.is_recording() {
            return;
        }
        self.set("error.type", kind);
        if let Some(open) = &mut self.0
            && let Some(message) = message
        {
            open.span.set_status(SpanStatus::error(message.to_owned()));
        }
    }

    /// Ends it at a moment that may have passed.
    pub fn end(mut self, at: Instant) {
        if let Some(open) = &mut self.0 {
            let at = open.clock.wall(at);
            open.span.end_with_timestamp(at);
        }
    }

    /// `traceparent` and `tracestate` for who works on; nothing where traces are off.
    pub fn carried(&self) -> Option<(String, String)> {
        let context = self.0.as_ref()?.span.span_context();
        let parent = format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        );
        Some((parent, context.trace_state().header()))
    }

    /// A span of the log, whose lines carry this trace's id; none where nothing is recorded.
    pub fn log_span(&self) -> tracing::Span {
        match self.recording() {
            // Of the highest level, so that it is there for whatever line is logged.
            Some(open) => {
                let trace_id = open.span.span_context().trace_id();
                tracing::error_span!("answer", %trace_id)
            }
            None => tracing::Span::none(),
        }
    }
}

impl Open {
    fn child(
        &self,
        tracer: &SdkTracer,
        name: &'static str,
        began: Instant,
        attributes: Vec<KeyValue>,
    ) -> Self {
        let parent = self.span.span_context().clone();
        let builder = tracer
            .span_builder(name)
            .with_kind(SpanKind::Internal)
            .with_start_time(self.clock.wall(began))
            .with_attributes(attributes);
        let parent = Context::new().with_remote_span_context(parent);
        Self {
            span: tracer.build_with_context(builder, &parent),
            clock: self.clock,
        }
    }
}

impl Clock {
    fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn wall(&self, at: Instant) -> SystemTime {
        let wall = match at.checked_duration_since(self.monotonic) {
            Some(later) => self.wall.checked_add(later),
            None => self.wall.checked_sub(self.monotonic.duration_since(at)),
        };
        wall.unwrap_or(self.wall)
    }
}

impl From<TraceContext> for SpanContext {
    fn from(context: TraceContext) -> Self {
        let flags = if context.sampled {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        };
        Self::new(
            TraceId::from_bytes(context.trace),
            SpanId::from_bytes(context.span),
            flags,
            true,
            // One that is malformed is left out.
            context.state.parse::<TraceState>().unwrap_or_default(),
        )
    }
}

impl From<Value> for opentelemetry::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => text.into(),
            Value::OneOf(text) => Self::Array(Array::String(vec![text.into()])),
            Value::Count(count) => Self::I64(i64::try_from(count).unwrap_or(i64::MAX)),
            Value::Seconds(seconds) => Self::F64(seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

    use super::*;

    fn context(flags: &str) -> TraceContext {
        let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        TraceContext::parse(&parent, "a=1").unwrap()
    }

    fn tracer(sample: f64) -> SdkTracer {
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample)));
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        provider.tracer("test")
    }

    fn begin(sample: f64, parent: Option<TraceContext>) -> Span {
        Span::begin(&tracer(sample), "request", Instant::now(), parent)
    }

    #[test]
    fn a_callers_decision_holds_and_is_passed_on() {
        for (sample, flags) in [(0.0, "01"), (1.0, "00")] {
            let span = begin(sample, Some(context(flags)));
            assert_eq!(span.is_recording(), flags == "01");
            let (parent, state) = span.carried().unwrap();
            assert!(parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
            assert!(
                parent.ends_with(flags) && !parent.contains("b7ad6b7169203331"),
                "{parent}"
            );
            assert_eq!(state, "a=1");
        }
    }

    #[test]
    fn without_a_caller_the_share_decides() {
        for (sample, flags) in [(0.0, "-00"), (1.0, "-01")] {
            let span = begin(sample, None);
            let (parent, _) = span.carried().unwrap();
            assert!(parent.ends_with(flags), "{parent}");
            assert!(TraceContext::parse(&parent, "").is_some());
        }
    }

    #[test]
    fn while_traces_are_off_there_is_nothing() {
        let span = Span::request("request", Instant::now(), || panic!("nobody asks"));
        assert!(!span.is_recording() && span.carried().is_none());
        assert!(span.log_span().is_none());
    }

    #[test]
    fn moments_before_and_after_the_request_are_told_by_its_clock() {
        let clock = Clock::now();
        let later = clock.monotonic + Duration::from_millis(7);
        assert_eq!(clock.wall(later), clock.wall + Duration::from_millis(7));
        let late = Clock {
            monotonic: later,
            ..clock
        };
        assert_eq!(
            late.wall(clock.monotonic),
            clock.wall - Duration::from_millis(7)
        );
    }
}
