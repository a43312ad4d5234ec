//! gRPC health, `grpc.health.v1`: what a server says of itself, and the question that a probe
//! asks ([`check`]).
//!
//! A service is NOT_SERVING until it is told that its model is loaded, and again once the server
//! drains, for good. The empty name stands for the whole server and is SERVING when every service
//! is. While something that all of them need has stalled, none is. Nothing is let off: whoever asks gets the truth of the
//! moment.

mod probe;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

pub use probe::{HealthError, check, knows};

/// The state of a server's services; clones share it.
#[derive(Debug, Clone)]
pub struct Health(Arc<watch::Sender<State>>);

/// What is known of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Serving,
    /// Not yet, or not any more.
    NotServing,
    /// It cannot, until somebody mends what the text names.
    Refused(String),
}

#[derive(Debug, Clone)]
struct State {
    services: BTreeMap<String, Standing>,
    /// Why nothing serves for the time being.
    stalled: Option<String>,
    /// Once set, nothing serves and nothing changes.
    draining: bool,
}

impl Health {
    /// The services with these full names (`tandem.v1.GenerationService`), none of which serves yet.
    pub fn new<N: Into<String>>(services: impl IntoIterator<Item = N>) -> Self {
        let services = services
            .into_iter()
            .map(|name| (name.into(), Standing::NotServing))
            .collect();
        Self(Arc::new(watch::Sender::new(State {
            services,
            stalled: None,
            draining: false,
        })))
    }

    /// Says that a service serves; no effect once the server drains.
    pub fn set_serving(&self, service: &str) {
        self.set(service, Standing::Serving);
    }

    /// Says that a service does not serve.
    pub fn set_not_serving(&self, service: &str) {
        self.set(service, Standing::NotServing);
    }

    /// Says that a service does not serve, and why: for whoever runs it.
    pub fn refuse(&self, service: &str, why: impl Into<String>) {
        self.set(service, Standing::Refused(why.into()));
    }

    /// Says that every service serves; no effect once the server drains.
    pub fn set_all_serving(&self) {
        self.0.send_modify(|state| {
            let services = state.services.values_mut();
            services.for_each(|standing| *standing = Standing::Serving);
        });
    }

    /// Says that nothing serves, and why, until it [goes on](Self::go_on).
    pub fn stall(&self, why: impl Into<String>) {
        let why = why.into();
        self.0.send_modify(|state| state.stalled = Some(why));
    }

    /// Says that what had stalled goes on: each service is what it was told to be.
    pub fn go_on(&self) {
        self.0.send_modify(|state| state.stalled = None);
    }

    /// Says that nothing serves, for good.
    pub fn drain(&self) {
        self.0.send_modify(|state| state.draining = true);
    }

    /// Whether the whole server is SERVING.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().status("") == ServingStatus::Serving
    }

    /// The services that do not serve at the moment, each with the reason in brackets where one is
    /// known.
    pub fn not_serving(&self) -> Vec<String> {
        let state = self.0.borrow();
        let lacking = state
            .services
            .iter()
            .filter(|(_, standing)| !state.works() || **standing != Standing::Serving);
        let told = lacking.map(|(name, standing)| match (standing, &state.stalled) {
            (Standing::Refused(why), _) | (_, Some(why)) => format!("{name} ({why})"),
            (Standing::Serving | Standing::NotServing, None) => name.clone(),
        });
        told.collect()
    }

    /// The gRPC service that answers from this state, for any listener.
    pub fn server(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService(self.clone()))
    }

    fn set(&self, service: &str, standing: Standing) {
        self.0.send_modify(|state| {
            state.services.insert(service.to_owned(), standing);
        });
    }
}

impl State {
    fn works(&self) -> bool {
        !self.draining && self.stalled.is_none()
    }

    fn status(&self, service: &str) -> ServingStatus {
        let serves = |standing: &Standing| *standing == Standing::Serving;
        let serving = match service {
            "" => Some(!self.services.is_empty() && self.services.values().all(serves)),
            name => self.services.get(name).map(serves),
        };
        match serving {
            None => ServingStatus::ServiceUnknown,
            Some(true) if self.works() => ServingStatus::Serving,
            Some(_) => ServingStatus::NotServing,
        }
    }
}

/// `grpc.health.v1.Health` over a [`Health`].
#[derive(Debug)]
pub struct HealthService(Health);

#[tonic::async_trait]
impl health_server::Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.0.0.borrow().status(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("no such service here")),
            status => Ok(Response::new(answer(status))),
        }
    }

    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    /// Says the status and each change of it. Ends once the server drains: nothing changes after
    /// that, and an open stream would hold its connection open.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let watched = (self.0.0.subscribe(), service, None);
        let statuses = stream::unfold(watched, |(mut state, service, mut last)| async move {
            loop {
                let (status, draining) = {
                    let state = state.borrow_and_update();
                    (state.status(&service), state.draining)
                };
                if last != Some(status) {
                    last = Some(status);
                    return Some((Ok(answer(status)), (state, service, last)));
                }
                if draining || state.changed().await.is_err() {
                    return None;
                }
            }
        });
        Ok(Response::new(Box::pin(statuses)))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use health_server::Health as _;
    use tonic::Code;

    use super::*;

    const GENERATION: &str = "tandem.v1.GenerationService";
    const SPLIT: &str = "tandem.v1.SplitService";

    async fn ask(health: &Health, service: &str) -> Result<ServingStatus, Code> {
        let request = Request::new(HealthCheckRequest {
            service: service.to_owned(),
        });
        let answer = HealthService(health.clone()).check(request).await;
        answer
            .map(|answer| answer.get_ref().status())
            .map_err(|status| status.code())
    }

    #[tokio::test]
    async fn services_serve_once_told_and_never_after_a_drain() {
        let health = Health::new([GENERATION, SPLIT]);
        for service in ["", GENERATION, SPLIT] {
            assert_eq!(ask(&health, service).await, Ok(ServingStatus::NotServing));
        }
        assert_eq!(ask(&health, "tandem.v1.Other").await, Err(Code::NotFound));

        health.set_serving(GENERATION);
        assert_eq!(ask(&health, GENERATION).await, Ok(ServingStatus::Serving));
        assert_eq!(ask(&health, "").await, Ok(ServingStatus::NotServing));
        assert_eq!(health.not_serving(), [SPLIT]);

        health.set_all_serving();
        assert_eq!(ask(&health, "").await, Ok(ServingStatus::Serving));
        assert!(health.is_ready());
        health.set_not_serving(SPLIT);
        assert!(!health.is_ready());

        health.refuse(SPLIT, "other weights");
        assert_eq!(ask(&health, SPLIT).await, Ok(ServingStatus::NotServing));
        assert_eq!(health.not_serving(), [format!("{SPLIT} (other weights)")]);
        health.set_serving(SPLIT);
        assert!(health.is_ready());

        health.stall("the engine hangs");
        assert_eq!(ask(&health, "").await, Ok(ServingStatus::NotServing));
        assert_eq!(
            health.not_serving(),
            [GENERATION, SPLIT].map(|service| format!("{service} (the engine hangs)"))
        );
        health.set_not_serving(GENERATION);
        health.go_on();
        assert_eq!(ask(&health, SPLIT).await, Ok(ServingStatus::Serving));
        assert_eq!(
            ask(&health, GENERATION).await,
            Ok(ServingStatus::NotServing)
        );
        health.set_serving(GENERATION);

        health.drain();
        health.set_all_serving();
        for service in ["", GENERATION, SPLIT] {
            assert_eq!(ask(&health, service).await, Ok(ServingStatus::NotServing));
        }
        assert_eq!(health.not_serving(), [GENERATION, SPLIT]);
    }

    #[tokio::test]
    async fn a_server_without_services_is_not_ready() {
        assert!(!Health::new([] as [&str; 0]).is_ready());
    }

    #[tokio::test]
    async fn a_watch_says_every_change_once_and_ends_with_the_drain() {
        let health = Health::new([GENERATION, SPLIT]);
        let request = Request::new(HealthCheckRequest {
            service: GENERATION.to_owned(),
        });
        let watch = HealthService(health.clone()).watch(request).await.unwrap();
        let mut statuses = watch.into_inner().map(|answer| answer.unwrap().status());

        assert_eq!(statuses.next().await, Some(ServingStatus::NotServing));
        health.set_serving(SPLIT);
        health.set_serving(GENERATION);
        assert_eq!(statuses.next().await, Some(ServingStatus::Serving));
        health.drain();
        assert_eq!(statuses.next().await, Some(ServingStatus::NotServing));
        assert_eq!(statuses.next().await, None);
    }

    #[tokio::test]
    async fn a_watch_of_an_unknown_service_says_so() {
        let health = Health::new([GENERATION]);
        let request = Request::new(HealthCheckRequest {
            service: "other".to_owned(),
        });
        let watch = HealthService(health.clone()).watch(request).await.unwrap();
        let mut statuses = watch.into_inner().map(|answer| answer.unwrap().status());
        assert_eq!(statuses.next().await, Some(ServingStatus::ServiceUnknown));
        health.drain();
        assert_eq!(statuses.next().await, None);
    }
}
