//! What does not fit is refused with its documented status, and costs nobody else anything.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tandem_proto::v1;
use tandem_tests::altered::AlteredModel;
use tandem_tests::client::{Client, assert_refused, ids_request};
use tandem_tests::paths::fixtures;
use tandem_tests::port::ReservedPort;
use tandem_tests::process::{Pair, PairOptions, Server, ServerOptions};
use tonic::Code;

const PROMPT: [u32; 4] = [10, 20, 30, 40];

fn model() -> PathBuf {
    fixtures().join("models/llama-mha-untied-bias")
}

/// An edge that may not fit: it answers once it has loaded, and is not ready then.
async fn edge_of(model: &Path, cloud: &Server, split: u32) -> (Server, Client) {
    let mut edge =
        Server::spawn_edge(model, &cloud.url(), split, ServerOptions::default()).unwrap();
    loop {
        assert!(edge.is_running(), "{}", edge.log());
        // It is bound by the process a moment after it was started, and refuses while it loads.
        if let Ok(mut client) = Client::connect(&edge.url()).await
            && client.raw().get_model(v1::GetModelRequest {}).await.is_ok()
        {
            return (edge, client);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn edges_that_do_not_fit_are_refused_and_the_cloud_serves_on() {
    let cloud = Server::cloud(
        &model(),
        ServerOptions::default().args(["--first-layer", "1"]),
    )
    .await
    .unwrap();

    let other = fixtures().join("models/qwen3-qknorm");
    let (_edge, client) = edge_of(&other, &cloud, 1).await;
    let refused = client.greedy(&PROMPT, 4).await;
    assert_refused(refused, Code::FailedPrecondition, "MODEL");

    let fine_tune = AlteredModel::copy(&model()).unwrap();
    fine_tune
        .set_values("model.layers.2.mlp.up_proj.weight", 5, &[0.125])
        .unwrap();
    let (_edge, client) = edge_of(fine_tune.path(), &cloud, 1).await;
    let refused = client.greedy(&PROMPT, 4).await;
    assert_refused(refused, Code::FailedPrecondition, "MODEL");

    let tokenizer = AlteredModel::copy(&model()).unwrap();
    tokenizer
        .replace(
            "tokenizer.json",
            "\"ignore_merges\":",
            "\"ignore_merges\" :",
        )
        .unwrap();
    let (_edge, client) = edge_of(tokenizer.path(), &cloud, 1).await;
    client
        .greedy(&PROMPT, 4)
        .await
        .expect("formatting is not content");
    tokenizer
        .replace(
            "tokenizer.json",
            "\"unk_token\":null",
            "\"unk_token\":\"a\"",
        )
        .unwrap();
    let (_edge, client) = edge_of(tokenizer.path(), &cloud, 1).await;
    let refused = client.greedy(&PROMPT, 4).await;
    assert_refused(refused, Code::FailedPrecondition, "TOKENIZER");

    let (_edge, client) = edge_of(&model(), &cloud, 0).await;
    let refused = client.greedy(&PROMPT, 4).await;
    assert_refused(refused, Code::FailedPrecondition, "SPLIT");

    let (_edge, client) = edge_of(&model(), &cloud, 2).await;
    assert_eq!(client.greedy(&PROMPT, 4).await.unwrap().ids.len(), 4);
}

#[tokio::test]
async fn a_prompt_longer_than_the_context_is_refused_with_both_numbers() {
    let cloud = ServerOptions::default().args(["--context", "64"]);
    let pair = Pair::start(&model(), 1, PairOptions::default().cloud(cloud))
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let status = client.greedy(&[7; 64], 1).await.unwrap_err();
    assert!(
        status.message().contains("64 tokens; the context is 64"),
        "{}",
        status.message()
    );
    assert_refused(
        Err::<(), _>(status),
        Code::InvalidArgument,
        "PROMPT_TOO_LONG",
    );
    // One shorter fits, and without max_tokens the answer fills the context.
    let mut request = ids_request(&[7; 60], 1);
    request.max_tokens = None;
    let answer = client.generate(request).await.unwrap();
    assert_eq!(answer.ids.len(), 4);
    assert_eq!(
        answer.finished.finish_reason(),
        tandem_proto::v1::FinishReason::Length
    );
}

#[tokio::test]
async fn an_unreachable_cloud_is_unavailable_in_good_time() {
    let port = ReservedPort::new().unwrap();
    let url = format!("http://{}", port.address());
    let edge = Server::edge(&model(), &url, 1, ServerOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&edge.url()).await.unwrap();
    let began = Instant::now();
    let refused = client.greedy(&PROMPT, 4).await;
    assert_refused(refused, Code::Unavailable, "CLOUD_UNREACHABLE");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_cloud_that_comes_back_is_found_again() {
    let mut pair = Pair::start(&model(), 1, PairOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let before = client.greedy(&PROMPT, 4).await.unwrap();
    pair.cloud.restart().await.unwrap();
    let after = client.greedy(&PROMPT, 4).await.unwrap();
    assert_eq!(before.ids, after.ids);
}

#[tokio::test]
async fn a_full_set_of_sessions_is_refused_with_a_time_to_retry() {
    use tonic_types::StatusExt as _;
    let edge = ServerOptions::default().args(["--max-sessions", "2"]);
    let pair = Pair::start(&model(), 1, PairOptions::default().edge(edge))
        .await
        .unwrap();
    let mut client = Client::connect(&pair.edge.url()).await.unwrap();
    // Nobody reads these: their answers wait.
    let first = client
        .raw()
        .generate(ids_request(&PROMPT, 500))
        .await
        .unwrap();
    let second = client
        .raw()
        .generate(ids_request(&PROMPT, 500))
        .await
        .unwrap();
    pair.edge
        .wait_metrics(Duration::from_secs(5), |m| {
            m.sum_with("tandem_edge_sessions", &[("state", "running")]) == 2.0
        })
        .await
        .unwrap();
    let status = client.greedy(&PROMPT, 4).await.unwrap_err();
    assert!(status.get_details_retry_info().is_some());
    assert_refused(Err::<(), _>(status), Code::ResourceExhausted, "SESSIONS");
    drop((first, second));
    pair.edge
        .wait_metrics(Duration::from_secs(5), |m| {
            m.sum("tandem_edge_sessions") == 0.0
        })
        .await
        .unwrap();
    assert_eq!(client.greedy(&PROMPT, 4).await.unwrap().ids.len(), 4);
}

#[tokio::test]
async fn clouds_without_memory_refuse_and_idle_sessions_make_room() {
    // 3 layers of 64 positions, 4 heads of 16 values in f32, keys and values: one session's.
    let cloud = ServerOptions::default().args(["--context", "128", "--max-sessions", "1"]);
    let pair = Pair::start(&model(), 1, PairOptions::default().cloud(cloud))
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    client.greedy(&[1; 20], 4).await.unwrap();
    // Another conversation: the idle one goes.
    client.greedy(&[2; 20], 4).await.unwrap();
    let metrics = pair.cloud.metrics().await.unwrap();
    let evicted = metrics.sum_with(
        "tandem_cloud_sessions_evicted_total",
        &[("cause", "pressure")],
    );
    assert_eq!(evicted, 1.0);
}

/// Weights that make one token's rows NaN: the step fails, its session ends, the server serves on.
#[tokio::test]
async fn a_failed_step_costs_its_own_session_only() {
    let broken = AlteredModel::copy(&model()).unwrap();
    broken
        .set_values("model.embed_tokens.weight", 9 * 48, &[f32::NAN; 48])
        .unwrap();
    let cloud = Server::cloud(broken.path(), ServerOptions::default())
        .await
        .unwrap();
    for split in [0, 1] {
        let (edge, client) = edge_of(broken.path(), &cloud, split).await;
        assert_refused(
            client.greedy(&[1, 9, 2], 4).await,
            Code::Internal,
            "STEP_FAILED",
        );
        assert_eq!(
            client.greedy(&PROMPT, 4).await.unwrap().ids.len(),
            4,
            "split {split}"
        );
        assert!(edge.health("").await.is_ok());
    }
    assert!(cloud.health("").await.is_ok());
}

#[tokio::test]
async fn garbage_on_the_ports_is_nobodys_problem() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let pair = Pair::start(&model(), 1, PairOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    for address in [pair.cloud.address(), pair.edge.address()] {
        for garbage in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[0xff; 4096],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let _ = socket.write_all(garbage).await;
            let mut answer = Vec::new();
            let read = socket.read_to_end(&mut answer);
            let _ = tokio::time::timeout(Duration::from_secs(2), read).await;
        }
    }
    assert_eq!(client.greedy(&PROMPT, 4).await.unwrap().ids.len(), 4);
}
