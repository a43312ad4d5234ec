//! What clients meet while an edge plans and loads.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tandem_tests::client::{Client, assert_refused, ids_request};
use tandem_tests::link::{LinkProfile, ShapedLink};
use tandem_tests::paths::fixtures;
use tandem_tests::port::ReservedPort;
use tandem_tests::process::{Server, ServerOptions};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt as _;

/// Longer than planning a small model takes beside other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// An edge that waits for its cloud refuses at both doors at once; the same connection is served later.
#[tokio::test]
async fn an_edge_that_plans_refuses_at_once_and_then_serves() {
    let model = fixtures().join("models/qwen2-bias");
    let cache = tempfile::tempdir().unwrap();
    let (openai, nobody) = (ReservedPort::new().unwrap(), ReservedPort::new().unwrap());
    let link = ShapedLink::start(nobody.address(), LinkProfile::unshaped()).unwrap();
    let yaml = format!(
        "plan: {{cache: {}, context: 48, prompt_tokens: 20, output_tokens: 10}}\nopenai: {{listen: '{}'}}\n",
        cache.path().display(),
        openai.address()
    );
    let options = ServerOptions::default().config(yaml).deadline(PATIENCE);
    let cloud_url = format!("http://{}", link.address());
    let mut edge = Server::spawn_planning_edge(&model, &cloud_url, options).unwrap();

    let client = connected(&edge.url()).await;
    let began = Instant::now();
    let refused = client.generate(ids_request(&[1, 2], 1)).await;
    assert!(began.elapsed() < Duration::from_secs(2), "it hung");
    let status = refused.clone().unwrap_err();
    assert_refused(refused, Code::Unavailable, "PLANNING");
    let retry = status.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(Duration::from_secs(5)));
    assert_eq!(edge.health("").await.unwrap(), ServingStatus::NotServing);
    let answer = get_models(openai.address());
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: 5"), "{answer}");
    assert!(answer.contains(r#""code":"planning""#), "{answer}");

    let cloud = Server::cloud(&model, ServerOptions::default())
        .await
        .unwrap();
    link.set_target(cloud.address());
    // Refused or answered: the connection neither hangs nor breaks when the doors open.
    let began = Instant::now();
    let answer = loop {
        match client.generate(ids_request(&[1, 2], 1)).await {
            Ok(answer) => break answer,
            Err(status) => assert!(
                ["PLANNING", "LOADING"].contains(&reason(&status).as_str()),
                "{status:?}"
            ),
        }
        assert!(began.elapsed() < PATIENCE, "{}", edge.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(answer.ids.len(), 1);
    edge.wait_serving().await.unwrap();
    let answer = get_models(openai.address());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(edge.log().contains("planned split="), "{}", edge.log());
}

/// SIGTERM ends an edge that still waits for its cloud.
#[tokio::test]
async fn an_edge_that_plans_ends_when_it_is_told_to() {
    let model = fixtures().join("models/qwen2-bias");
    let cache = tempfile::tempdir().unwrap();
    let yaml = format!("plan: {{cache: {}}}\n", cache.path().display());
    let nobody = ReservedPort::new().unwrap();
    let cloud_url = format!("http://{}", nobody.address());
    let options = ServerOptions::default().config(yaml);
    let mut edge = Server::spawn_planning_edge(&model, &cloud_url, options).unwrap();
    // A connection that stays open holds nothing up.
    let _client = connected(&edge.url()).await;
    edge.terminate().unwrap();
    let ended = edge.wait(Duration::from_secs(20)).await.unwrap();
    assert!(ended.success(), "{}", edge.log());
}

/// A client of an edge that has just been started.
async fn connected(url: &str) -> Client {
    let began = Instant::now();
    loop {
        match Client::connect(url).await {
            Ok(client) => return client,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(30), "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

/// The whole answer to a request for the list of models.
fn get_models(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
