//! The harness against a stand-in: a shell script for the process, and this test for its admin
//! port. That the real servers keep the contract is what the end-to-end tests show.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::server::Program;
use super::*;
use crate::port::ReservedPort;

const SERVICE: &str = "tandem.v1.SplitService";

/// A server that is a shell script.
struct StandIn {
    server: Server,
    /// The script's; outlives the process that reads it.
    _folder: TempDir,
}

impl Deref for StandIn {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for StandIn {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Runs `body` with the arguments a server is given.
fn server(body: &str, options: ServerOptions) -> StandIn {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("stand-in");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server::spawn(Program {
        path,
        service: SERVICE,
        arguments: vec!["--model".into(), "some model".into()],
        options,
    });
    StandIn {
        server: server.unwrap(),
        _folder: folder,
    }
}

async fn logged(server: &Server, text: &str) {
    let start = Instant::now();
    while !server.log().contains(text) {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{}",
            server.log()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const LONG: Duration = Duration::from_secs(10);

/// Waits for signals; a shell acts on one only between two short children.
const WAIT: &str = "while :; do sleep 0.02; done";

async fn admin(server: &Server) -> HealthReporter {
    let listener = TcpListener::bind(server.metrics_address()).await.unwrap();
    let (reporter, service) = tonic_health::server::health_reporter();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    reporter
        .set_service_status("", ServingStatus::NotServing)
        .await;
    reporter
}

#[tokio::test]
async fn a_server_gets_its_arguments_config_and_environment() {
    let options = ServerOptions::default()
        .config("log: text\n")
        .arg("--codec")
        .args(["f32", "--quiet"])
        .env("COLOUR", "never");
    let mut server = server(
        "printf '<%s>' \"$@\"; cat \"$5\"; echo $COLOUR >&2",
        options,
    );
    assert!(server.wait(LONG).await.unwrap().success());
    let (listen, metrics) = (server.address(), server.metrics_address());
    let config = server.log_file().with_file_name("config.yaml");
    let config = config.display();
    assert_eq!(
        server.log(),
        format!(
            "<serve><--model><some model><--config><{config}><--listen><{listen}>\
             <--metrics-listen><{metrics}><--codec><f32><--quiet>log: text\nnever\n"
        )
    );
}

#[tokio::test]
async fn waiting_ends_when_every_service_serves() {
    let mut server = server(WAIT, ServerOptions::default());
    let unavailable = server.health("").await.unwrap_err();
    assert_eq!(unavailable.code(), tonic::Code::Unavailable);
    let reporter = admin(&server).await;
    let ready = tokio::spawn(async move {
        reporter
            .set_service_status("", ServingStatus::Serving)
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        reporter
            .set_service_status(SERVICE, ServingStatus::Serving)
            .await;
        Instant::now()
    });
    server.wait_serving().await.unwrap();
    assert!(ready.is_finished(), "served before it said so");
    assert!(ready.await.unwrap().elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn waiting_ends_with_the_log_when_the_server_exits_or_takes_too_long() {
    let mut failed = server("echo no such model >&2; exit 3", ServerOptions::default());
    let error = failed.wait_serving().await.unwrap_err().to_string();
    assert!(error.contains("exit status: 3"), "{error}");
    assert!(error.contains("no such model"), "{error}");

    let options = ServerOptions::default().deadline(Duration::from_millis(200));
    let mut slow = server(&format!("echo loading; {WAIT}"), options);
    let _reporter = admin(&slow).await;
    logged(&slow, "loading").await;
    let error = slow.wait_serving().await.unwrap_err().to_string();
    assert!(
        error.contains("NotServing") && error.contains("loading"),
        "{error}"
    );
}

#[tokio::test]
async fn terminate_asks_and_kill_does_not() {
    let body = format!("trap 'echo draining; exit 0' TERM; echo up; {WAIT}");
    let mut polite = server(&body, ServerOptions::default());
    logged(&polite, "up").await;
    assert!(polite.is_running());
    polite.wait(Duration::from_millis(50)).await.unwrap_err();
    polite.terminate().unwrap();
    assert_eq!(polite.wait(LONG).await.unwrap().code(), Some(0));
    assert!(polite.log().contains("draining"));
    polite.terminate().unwrap_err();

    let body = format!("trap '' TERM; echo up; {WAIT}");
    let mut stubborn = server(&body, ServerOptions::default());
    logged(&stubborn, "up").await;
    assert!(stubborn.memory().unwrap().resident > 0);
    stubborn.kill();
    assert!(!stubborn.is_running());
    assert_eq!(stubborn.wait(LONG).await.unwrap().code(), None);
    stubborn.memory().unwrap_err();
}

#[tokio::test]
async fn a_restarted_server_keeps_its_ports() {
    let mut server = server(&format!("echo up $*; {WAIT}"), ServerOptions::default());
    let reporter = admin(&server).await;
    reporter
        .set_service_status("", ServingStatus::Serving)
        .await;
    reporter
        .set_service_status(SERVICE, ServingStatus::Serving)
        .await;
    logged(&server, "up").await;
    let pid = server.pid();
    server.restart().await.unwrap();
    assert_ne!(server.pid(), pid);
    let start = Instant::now();
    while server.log().lines().count() < 2 {
        assert!(start.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let log = server.log();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines[0], lines[1]);
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() {
    let server = server(&format!("trap '' TERM; {WAIT}"), ServerOptions::default());
    let (pid, log) = (server.pid(), server.log_file());
    assert!(Path::new(&format!("/proc/{pid}")).exists() && log.exists());
    drop(server);
    // A zombie would still be listed.
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!log.exists());
}

#[tokio::test]
async fn metrics_come_over_plain_http() {
    let port = ReservedPort::new().unwrap();
    let listener = TcpListener::bind(port.address()).await.unwrap();
    let answers = [
        "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nsome_total 3\n",
        "HTTP/1.0 503 Service Unavailable\r\n\r\nnot yet",
    ];
    let serving = tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            assert!(request.starts_with(b"GET /metrics HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let metrics = Metrics::scrape(port.address()).await.unwrap();
    assert_eq!(metrics.sum("some_total"), 3.0);
    let error = Metrics::scrape(port.address()).await.unwrap_err();
    assert!(format!("{error:#}").contains("503"), "{error:#}");
    serving.await.unwrap();
}
