use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::health::{HealthError, check};
use tandem_telemetry::metrics::{Kind, Metric, Unit, exposed_metrics, recorder};
use tandem_transport::connections::{ConnectionMetrics, ConnectionsConfig};
use tandem_transport::grpc::bind;

const SERVICE: &str = "tandem.v1.GenerationService";
const PATIENCE: Duration = Duration::from_secs(10);
const SESSIONS: Metric = Metric {
    name: "tandem_test_sessions",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "Sessions that are open.",
};

const CONNECTIONS: ConnectionMetrics = ConnectionMetrics {
    open: SESSIONS,
    closed: SESSIONS,
};

struct Running {
    server: AdminServer,
    health: Health,
    stop: oneshot::Sender<()>,
}

async fn start() -> Running {
    let listener = bind("127.0.0.1:0").await.unwrap();
    let health = Health::new([SERVICE]);
    let metrics = recorder(&[SESSIONS]).unwrap().handle();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let places = Places::new(ConnectionsConfig::default(), CONNECTIONS);
    let server = serve(listener, places, metrics, health.clone(), shutdown).unwrap();
    Running {
        server,
        health,
        stop,
    }
}

impl Running {
    /// The whole answer to one request on a connection of its own.
    async fn ask(&self, request_line: &str) -> String {
        let mut connection = TcpStream::connect(self.server.address()).await.unwrap();
        let request = format!("{request_line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn check(&self, service: &str) -> Result<(), HealthError> {
        check(&self.server.address().to_string(), service, PATIENCE).await
    }
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_text() {
    let running = start().await;
    let answer = running.ask("GET /metrics").await;
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    assert_eq!(
        exposed_metrics(page)[SESSIONS.name].samples[SESSIONS.name],
        "0"
    );

    let head = running.ask("HEAD /metrics").await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn liveness_is_at_once_and_readiness_follows_health() {
    let running = start().await;
    assert!(running.ask("GET /livez").await.starts_with("HTTP/1.1 200 "));
    let answer = running.ask("GET /readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.ends_with(&format!("not serving: {SERVICE}\n")),
        "{answer}"
    );

    running.health.set_all_serving();
    assert!(
        running
            .ask("GET /readyz")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    running.health.drain();
    assert!(
        running
            .ask("GET /readyz")
            .await
            .starts_with("HTTP/1.1 503 ")
    );
    assert!(running.ask("GET /livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let running = start().await;
    for path in [
        "/",
        "/metrics/",
        "/metricsx",
        "/grpc.health.v1.Health/Check",
    ] {
        let answer = running.ask(&format!("GET {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    for method in ["POST", "DELETE", "BREW"] {
        let answer = running.ask(&format!("{method} /metrics")).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(
            answer.contains("allow: GET, HEAD\r\n"),
            "{method}: {answer}"
        );
    }
    assert!(
        running
            .ask("POST /elsewhere")
            .await
            .starts_with("HTTP/1.1 404 ")
    );
    assert!(running.ask("rubbish").await.starts_with("HTTP/1.1 400 "));
    assert!(running.ask("GET /livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn grpc_health_answers_on_the_same_port() {
    let running = start().await;
    let error = running.check("").await.unwrap_err();
    assert!(
        matches!(
            error,
            HealthError::NotServing {
                status: "NOT_SERVING",
                ..
            }
        ),
        "{error}"
    );

    running.health.set_serving(SERVICE);
    running.check("").await.unwrap();
    running.check(SERVICE).await.unwrap();
    let error = running.check("tandem.v1.Other").await.unwrap_err();
    assert!(
        matches!(error, HealthError::UnknownService { .. }),
        "{error}"
    );

    running.health.drain();
    assert!(running.check(SERVICE).await.is_err());
}

#[tokio::test]
async fn other_grpc_services_are_unimplemented() {
    let running = start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", running.server.address())).unwrap();
    let mut channel = endpoint.connect().await.unwrap();
    let request = Request::post("/tandem.v1.GenerationService/Generate")
        .header(CONTENT_TYPE, "application/grpc")
        .body(Body::empty())
        .unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    let response = channel.call(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "12");
}

#[tokio::test]
async fn a_shutdown_ends_idle_connections_and_watches_at_once() {
    let running = start().await;
    let address = running.server.address();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let request = HealthCheckRequest {
        service: SERVICE.to_owned(),
    };
    let mut watch = client.watch(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert_ne!(idle.read(&mut [0; 1024]).await.unwrap(), 0);

    running.health.drain();
    running.stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, running.server.ended())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(idle.read(&mut [0; 1024]).await.unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever_for_a_stuck_connection() {
    let running = start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", running.server.address())).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let request = HealthCheckRequest {
        service: SERVICE.to_owned(),
    };
    let mut watch = client.watch(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());

    running.stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, running.server.ended())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn dropping_the_server_closes_its_port() {
    let running = start().await;
    let address = running.server.address();
    drop(running.server);
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
