//! What clients meet before the model is loaded: a refusal at once, in place of a connection that nobody
//! answers. Both doors ask the same [`Opening`], so they open at the same moment, and no connection is
//! dropped for it.

use crate::door::{Door, count_failure};
use crate::service::Generation;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tandem_proto::v1::generation_service_server::{GenerationServiceServer, SERVICE_NAME};
use tandem_shape::Reason;
use tandem_status::unavailable;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tower::Service;

/// When to come back to an edge that measures its machine, or waits for its cloud.
const PLANNING_TAKES: Duration = Duration::from_secs(5);
/// When to come back to an edge that loads its model.
const LOADING_TAKES: Duration = Duration::from_secs(1);

/// What will be served, once it is there; clones share it.
#[derive(Debug, Clone)]
pub struct Opening(Arc<State>);

#[derive(Debug)]
struct State {
    planning: AtomicBool,
    door: OnceLock<Door>,
}

impl Opening {
    /// Nothing is served yet; `planning` says whether the model waits for a plan.
    pub fn new(planning: bool) -> Self {
        Self(Arc::new(State {
            planning: AtomicBool::new(planning),
            door: OnceLock::new(),
        }))
    }

    /// The plan is made; the model is being loaded.
    pub fn planned(&self) {
        self.0.planning.store(false, Ordering::Relaxed);
    }

    /// Serves from now on. Only the first door counts.
    pub fn open(&self, door: Door) {
        let _ = self.0.door.set(door);
    }

    /// What is served.
    ///
    /// # Errors
    /// UNAVAILABLE with the reason `PLANNING` or `LOADING` and a time to retry after, before it is there.
    pub fn door(&self) -> Result<&Door, Status> {
        self.0.door.get().ok_or_else(|| {
            let status = match self.0.planning.load(Ordering::Relaxed) {
                true => unavailable(
                    Reason::Planning,
                    "the edge is planning its split: it opens its model, measures this machine or waits for its cloud",
                    Some(PLANNING_TAKES),
                ),
                false => unavailable(
                    Reason::Loading,
                    "the edge is loading its model",
                    Some(LOADING_TAKES),
                ),
            };
            count_failure(&status);
            status
        })
    }
}

/// The client API over gRPC behind an [`Opening`].
#[derive(Debug, Clone)]
pub struct Gate {
    /// What will be served.
    pub opening: Opening,
    /// The largest message accepted, in bytes.
    pub max_message: usize,
}

impl NamedService for Gate {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.opening.door() {
            Ok(door) => {
                let mut server = GenerationServiceServer::new(Generation(door.clone()))
                    .max_decoding_message_size(self.max_message);
                server.call(request)
            }
            Err(status) => Box::pin(ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_status::{reason, retry_after};
    use tonic::Code;

    #[test]
    fn a_closed_door_says_why_and_when_to_come_back() {
        let opening = Opening::new(true);
        let refused = |opening: &Opening| opening.door().map(|_| ()).unwrap_err();
        let status = refused(&opening);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(reason(&status).as_deref(), Some("PLANNING"));
        assert_eq!(retry_after(&status), Some(PLANNING_TAKES));
        opening.planned();
        let status = refused(&opening);
        assert_eq!(reason(&status).as_deref(), Some("LOADING"));
        assert_eq!(retry_after(&status), Some(LOADING_TAKES));
    }
}
