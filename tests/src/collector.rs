//! A collector of traces in the test's own process, as OpenTelemetry's protocol has it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span as it was exported.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The resource's attributes: `service.name` and others.
    pub resource: BTreeMap<String, String>,
    /// The span.
    pub span: Span,
}

/// A collector that keeps what it gets. It ends with the value.
#[derive(Debug)]
pub struct Collector {
    kept: Kept,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<Exported>>>);

impl Exported {
    /// The program that exported it.
    pub fn service(&self) -> &str {
        self.resource.get("service.name").map_or("", String::as_str)
    }

    /// An attribute as text; a list's are joined with commas.
    pub fn attribute(&self, key: &str) -> Option<String> {
        let found = self.span.attributes.iter().find(|pair| pair.key == key)?;
        text(found.value.as_ref())
    }

    /// An attribute that is a number of seconds.
    pub fn seconds(&self, key: &str) -> f64 {
        let seconds = self.attribute(key).and_then(|text| text.parse().ok());
        seconds.unwrap_or(f64::NAN)
    }

    /// The trace's id in hexadecimal digits.
    pub fn trace(&self) -> String {
        self.span
            .trace_id
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        let (start, end) = (self.span.start_time_unix_nano, self.span.end_time_unix_nano);
        Duration::from_nanos(end.saturating_sub(start))
    }

    /// Whether this one lies in the other, by its parent and by the time.
    pub fn lies_in(&self, other: &Self) -> bool {
        self.span.parent_span_id == other.span.span_id
            && self.span.trace_id == other.span.trace_id
            && self.span.start_time_unix_nano >= other.span.start_time_unix_nano
            && self.span.end_time_unix_nano <= other.span.end_time_unix_nano
    }
}

fn text(value: Option<&AnyValue>) -> Option<String> {
    Some(match value?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::ArrayValue(list) => {
            let texts: Option<Vec<String>> = list.values.iter().map(|v| text(Some(v))).collect();
            texts?.join(",")
        }
        _ => return None,
    })
}

impl Collector {
    /// A collector on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let kept = Kept::default();
        let service = TraceServiceServer::new(kept.clone());
        let serving = tokio::spawn(async move {
            let server = Server::builder().add_service(service);
            // It ends with the test, which has read what it wants.
            let _ = server
                .serve_with_incoming(TcpIncoming::from(listener))
                .await;
        });
        Ok(Self {
            kept,
            address,
            serving,
        })
    }

    /// Where servers export to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything so far.
    pub fn spans(&self) -> Vec<Exported> {
        let kept = self.kept.0.lock();
        kept.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything, once that is what is wanted; an error with the names of all spans after
    /// `deadline`.
    pub async fn wait(
        &self,
        deadline: Duration,
        wanted: impl Fn(&[Exported]) -> bool,
    ) -> Result<Vec<Exported>> {
        let end = Instant::now() + deadline;
        loop {
            let spans = self.spans();
            if wanted(&spans) {
                return Ok(spans);
            }
            if Instant::now() >= end {
                let names: Vec<&str> = spans.iter().map(|e| e.span.name.as_str()).collect();
                bail!("the spans are not as wanted after {deadline:?}: {names:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The only span of that name of a service.
///
/// # Errors
/// There is none, or there are several.
pub fn only<'a>(spans: &'a [Exported], service: &str, name: &str) -> Result<&'a Exported> {
    let mut found = spans
        .iter()
        .filter(|e| e.service() == service && e.span.name == name);
    let first = found
        .next()
        .with_context(|| format!("no {name} of {service}"))?;
    match found.next() {
        None => Ok(first),
        Some(_) => bail!("several {name} of {service}"),
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in request.into_inner().resource_spans {
            let attributes = of_resource.resource.unwrap_or_default().attributes;
            let resource: BTreeMap<String, String> = attributes
                .into_iter()
                .filter_map(|KeyValue { key, value, .. }| Some((key, text(value.as_ref())?)))
                .collect();
            let spans = of_resource.scope_spans.into_iter().flat_map(|s| s.spans);
            kept.extend(spans.map(|span| Exported {
                resource: resource.clone(),
                span,
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
