//! The admin listener: what a cluster asks of a server, apart from its data and plain by default. It has
//! a thread of its own, so that what keeps the server busy does not keep it from saying that it lives.
//!
//! One port answers HTTP/1.1 and HTTP/2:
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /metrics` | the metrics as Prometheus text |
//! | `GET /livez` | 200 while the process answers |
//! | `GET /readyz` | 200 when every service serves, 503 with the names of those that do not |
//! | gRPC `grpc.health.v1.Health` | as [`crate::health`] says |
//!
//! Any other path is 404, any other method 405, any other gRPC method UNIMPLEMENTED.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tonic::codegen::http::header::{ALLOW, CONTENT_TYPE};
use tonic::codegen::http::{HeaderValue, Method, Request, Response, StatusCode};
use tonic::service::Routes;
use tonic::transport::Server;
use tower::Service;

use crate::health::Health;
use tandem_transport::connections::Places;
use tandem_transport::grpc::limited;
use tandem_transport::tls::{ConnectionInfo, plain_incoming};

/// How long open connections may outlast the shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// Prometheus' text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
const PROMETHEUS_TEXT: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A running admin listener. Dropping it ends it at once.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    ended: oneshot::Receiver<Result<(), tonic::transport::Error>>,
    _end: DropGuard,
}

/// The admin listener failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The listener has no address.
    #[error("the admin listener has no address: {0}")]
    Address(#[source] std::io::Error),
    /// Its thread could not be started.
    #[error("cannot start the admin listener's thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The transport failed.
    #[error("the admin listener failed: {0}")]
    Transport(#[source] tonic::transport::Error),
    /// Its thread died.
    #[error("the admin listener's thread ended early")]
    Died,
}

/// Serves the metrics and the health on `listener`, to as many connections as there are `places`, until `shutdown` resolves, and open connections
/// for two seconds more.
///
/// # Errors
/// The listener has no address, or there is no thread to be had.
pub fn serve(
    listener: TcpListener,
    places: Places,
    metrics: PrometheusHandle,
    health: Health,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<AdminServer, AdminError> {
    let address = listener.local_addr().map_err(AdminError::Address)?;
    let pages = Pages {
        metrics,
        health: health.clone(),
        grpc: Routes::new(health.server()),
    };
    // From the runtime that bound it to the thread's own.
    let listener = listener.into_std().map_err(AdminError::Address)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AdminError::Thread)?;
    let end = CancellationToken::new();
    let (tell, ended) = oneshot::channel();
    let dropped = end.clone();
    let serve = move || {
        let served = runtime.block_on(async {
            tokio::select! {
                served = serve_pages(listener, places, pages, shutdown) => served,
                () = dropped.cancelled() => Ok(()),
            }
        });
        // Whoever does not wait for the end does not miss it.
        let _ = tell.send(served);
    };
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(serve)
        .map_err(AdminError::Thread)?;
    Ok(AdminServer {
        address,
        ended,
        _end: end.drop_guard(),
    })
}

async fn serve_pages(
    listener: std::net::TcpListener,
    places: Places,
    pages: Pages,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin listener is lost");
            return Ok(());
        }
    };
    let service = tower::service_fn(move |request| pages.clone().answer(request));
    let closing = CancellationToken::new();
    let serving = limited(Server::builder(), places.limits())
        .accept_http1(true)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .serve_with_incoming_shutdown(
            service,
            plain_incoming(listener, places),
            closing.cancelled(),
        );
    let mut serving = pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        () = shutdown => closing.cancel(),
    }
    tokio::time::timeout(GRACE, serving).await.unwrap_or(Ok(()))
}

impl AdminServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has shut down.
    ///
    /// # Errors
    /// It ended for another reason.
    pub async fn ended(self) -> Result<(), AdminError> {
        self.ended
            .await
            .map_err(|_| AdminError::Died)?
            .map_err(AdminError::Transport)
    }
}

#[derive(Clone)]
struct Pages {
    metrics: PrometheusHandle,
    health: Health,
    grpc: Routes,
}

impl Pages {
    async fn answer(mut self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        if let Some(connection) = request.extensions().get::<ConnectionInfo>() {
            connection.called.accept();
        }
        let content_type = request
            .headers()
            .get(CONTENT_TYPE)
            .map(HeaderValue::as_bytes);
        if content_type.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
            return self.grpc.call(request).await;
        }
        Ok(self.page(request.method(), request.uri().path()))
    }

    fn page(&self, method: &Method, path: &str) -> Response<Body> {
        let page: fn(&Self) -> Response<Body> = match path {
            "/metrics" => |pages| text(StatusCode::OK, PROMETHEUS_TEXT, pages.metrics.render()),
            "/livez" => |_| text(StatusCode::OK, PLAIN_TEXT, "alive\n".to_owned()),
            "/readyz" => |pages| {
                if pages.health.is_ready() {
                    text(StatusCode::OK, PLAIN_TEXT, "ready\n".to_owned())
                } else {
                    let names = pages.health.not_serving().join(" ");
                    let page = format!("not serving: {names}\n");
                    text(StatusCode::SERVICE_UNAVAILABLE, PLAIN_TEXT, page)
                }
            },
            _ => |_| {
                let page = "try /metrics, /livez or /readyz\n".to_owned();
                text(StatusCode::NOT_FOUND, PLAIN_TEXT, page)
            },
        };
        let page = page(self);
        if page.status() == StatusCode::NOT_FOUND || matches!(*method, Method::GET | Method::HEAD) {
            return page;
        }
        let refusal = "only GET and HEAD\n".to_owned();
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, PLAIN_TEXT, refusal);
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        refusal
    }
}

fn text(status: StatusCode, content_type: HeaderValue, page: String) -> Response<Body> {
    let mut response = Response::new(Body::new(page));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
