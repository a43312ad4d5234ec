//! Health, metrics, drain: what whoever runs the servers relies on.

use std::time::{Duration, Instant};
use tandem_tests::altered::AlteredModel;
use tandem_tests::client::{Client, assert_refused, ids_request};
use tandem_tests::link::LinkProfile;
use tandem_tests::paths::{default_model, fixtures};
use tandem_tests::process::{Pair, PairOptions, Server, ServerOptions};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

#[tokio::test]
async fn sigterm_lets_answers_end_and_refuses_new_ones() {
    let mut pair = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    let mut client = Client::connect(&pair.edge.url()).await.unwrap();
    let mut stream = client
        .raw()
        .generate(ids_request(&[1, 2, 3], 40))
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    pair.cloud.terminate().unwrap();
    pair.edge.terminate().unwrap();
    let mut tokens = 0;
    while let Some(response) = stream.message().await.unwrap() {
        if let Some(tandem_proto::v1::generate_response::Event::Delta(delta)) = response.event {
            tokens += delta.token_ids.len();
        }
    }
    assert_eq!(tokens, 40, "the answer came to its end");
    assert!(
        pair.edge
            .wait(Duration::from_secs(10))
            .await
            .unwrap()
            .success()
    );
    assert!(
        pair.cloud
            .wait(Duration::from_secs(10))
            .await
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn an_old_connection_keeps_its_sessions_and_gets_no_new_ones() {
    let aged = ServerOptions::default().config("transport: {max_connection_age: 1s}");
    let options = PairOptions::default().link(LinkProfile::unshaped());
    let pair = Pair::start(&default_model(), 10, options.cloud(aged))
        .await
        .unwrap();
    let connections = || pair.link().counters().connections.len();
    let mut client = Client::connect(&pair.edge.url()).await.unwrap();
    let mut stream = client
        .raw()
        .generate(ids_request(&[1, 2, 3], 150))
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    let before = connections();
    let began = Instant::now();
    let mut prompt = 5;
    while connections() == before {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "no new connection"
        );
        prompt += 1;
        client.greedy(&[prompt, 4], 1).await.unwrap();
    }
    let mut conversation = vec![1, 2, 3];
    while let Some(response) = stream.message().await.unwrap() {
        if let Some(tandem_proto::v1::generate_response::Event::Delta(delta)) = response.event {
            conversation.extend(delta.token_ids);
        }
    }
    assert_eq!(
        conversation.len(),
        153,
        "the answer went on, and came to its end"
    );
    // Its conversation goes on where its keys and values are.
    conversation.push(4);
    let again = client.greedy(&conversation, 2).await.unwrap();
    assert_eq!(again.started.reused_tokens, 152);
}

#[tokio::test]
async fn a_draining_edge_takes_nothing_new_and_cuts_off_at_its_deadline() {
    let edge = ServerOptions::default().args(["--drain-deadline", "1s"]);
    let mut pair = Pair::start(&default_model(), 10, PairOptions::default().edge(edge))
        .await
        .unwrap();
    let mut client = Client::connect(&pair.edge.url()).await.unwrap();
    let mut stream = client
        .raw()
        .generate(ids_request(&[1, 2, 3], 4000))
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    pair.edge.terminate().unwrap();
    let began = Instant::now();
    let refused = loop {
        match client.greedy(&[5, 6], 1).await {
            Ok(_) => assert!(
                began.elapsed() < Duration::from_secs(1),
                "the drain has not begun"
            ),
            Err(status) => break status,
        }
    };
    assert_refused(Err::<(), _>(refused), Code::Unavailable, "DRAINING");
    assert_eq!(
        pair.edge.health("").await.unwrap(),
        ServingStatus::NotServing
    );
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("4000 tokens in a second"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(
        pair.edge
            .wait(Duration::from_secs(5))
            .await
            .unwrap()
            .success()
    );
    pair.cloud
        .wait_metrics(Duration::from_secs(2), |m| {
            m.sum("tandem_cloud_kv_bytes") == 0.0
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let pair = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let prompt: Vec<u32> = (1000..1100).collect();
    let answer = client.greedy(&prompt, 11).await.unwrap();
    let (edge, cloud) = (
        pair.edge.metrics().await.unwrap(),
        pair.cloud.metrics().await.unwrap(),
    );
    assert_eq!(edge.sum("tandem_edge_prompt_tokens_total"), 100.0);
    for (metrics, side) in [(&edge, "edge"), (&cloud, "cloud")] {
        let name = |rest: &str| format!("tandem_{side}_{rest}");
        assert_eq!(metrics.sum(&name("generation_tokens_total")), 11.0);
        assert_eq!(metrics.sum(&name("time_to_first_token_seconds_count")), 1.0);
        assert_eq!(
            metrics.sum(&name("inter_token_latency_seconds_count")),
            10.0
        );
        let success = name("request_success_total");
        assert_eq!(
            metrics.sum_with(&success, &[("finished_reason", "length")]),
            1.0
        );
        let frames = [("direction", "up"), ("kind", "frame")];
        let bytes = metrics.sum_with(&name("wire_bytes_total"), &frames);
        assert_eq!(bytes, answer.wire().frame_bytes as f64);
        assert_eq!(metrics.sum(&name("failures_total")), 0.0);
    }
    // Both ends count the same bytes, up and down, and so does the answer.
    let wire = answer.wire();
    for (direction, told) in [("up", wire.up_bytes), ("down", wire.down_bytes)] {
        let labels = [("direction", direction)];
        let counted = edge.sum_with("tandem_edge_wire_bytes_total", &labels);
        assert_eq!(
            counted,
            cloud.sum_with("tandem_cloud_wire_bytes_total", &labels),
            "{direction}"
        );
        assert_eq!(counted, told as f64, "{direction}");
    }
}

/// A model whose tokenizer is a pipe that nobody writes to: it is read for as long as the reader
/// lives, as a large model is read for minutes.
fn endless_model() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = fixtures().join("models/llama-mha-untied-bias");
    for entry in std::fs::read_dir(model).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "tokenizer.json" {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    let pipe = folder.path().join("tokenizer.json");
    let made = std::process::Command::new("mkfifo").arg(pipe).status();
    assert!(made.unwrap().success());
    folder
}

#[tokio::test]
async fn sigterm_ends_a_server_that_still_reads_its_model() {
    let model = endless_model();
    let cloud = Server::spawn_cloud(model.path(), ServerOptions::default()).unwrap();
    let url = cloud.url();
    let edge = Server::spawn_edge(model.path(), &url, 1, ServerOptions::default()).unwrap();
    for mut server in [cloud, edge] {
        let reading = async {
            while server.health("").await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reading)
            .await
            .unwrap();
        assert!(server.is_running());
        server.terminate().unwrap();
        let status = server.wait(Duration::from_secs(5)).await.unwrap();
        assert!(status.success(), "{status}");
    }
}

#[tokio::test]
async fn a_model_that_is_written_to_is_used_no_more() {
    let model = fixtures().join("models/qwen2-bias");
    let own = [(); 2].map(|()| AlteredModel::copy(&model).unwrap());
    let weights = |at: usize| own[at].path().join("model.safetensors");
    let cloud = Server::cloud(own[0].path(), ServerOptions::default());
    let mut cloud = cloud.await.unwrap();
    let (url, options) = (cloud.url(), ServerOptions::default());
    let edge = Server::edge(own[1].path(), &url, 1, options);
    let mut edge = edge.await.unwrap();
    let client = Client::connect(&edge.url()).await.unwrap();
    let expected = client.greedy(&[1, 2, 3], 4).await.unwrap().ids;

    // Other files in their place are those of the next start.
    for at in [0, 1] {
        let next = own[at].path().join("next");
        std::fs::write(&next, "nothing that can be loaded").unwrap();
        std::fs::rename(&next, weights(at)).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(client.greedy(&[1, 2, 3], 4).await.unwrap().ids, expected);

    for at in [0, 1] {
        std::fs::copy(model.join("model.safetensors"), weights(at)).unwrap();
    }
    cloud.restart().await.unwrap();
    edge.restart().await.unwrap();
    let client = Client::connect(&edge.url()).await.unwrap();
    assert_eq!(client.greedy(&[1, 2, 3], 4).await.unwrap().ids, expected);
    for (at, server) in [(1, &mut edge), (0, &mut cloud)] {
        let written = std::fs::File::options().write(true).open(weights(at));
        written.unwrap().set_len(4096).unwrap();
        let status = server.wait(Duration::from_secs(5)).await.unwrap();
        assert_eq!(status.code(), Some(70), "{}", server.log());
        let said = "was written to while it was in use";
        assert!(server.log().contains(said), "{}", server.log());
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let model = fixtures().join("models/llama-mha-untied-bias");
    for (arguments, expected) in [
        (vec!["--weights", "f33"], "weights"),
        (
            vec!["--context", "4096"],
            "sessions.context is 4096, the model attends over 256",
        ),
        (vec!["--first-layer", "9"], "layers 9..3"),
        (vec!["--device", "cuda:0"], "cuda:0 is not available"),
    ] {
        let mut cloud =
            Server::spawn_cloud(&model, ServerOptions::default().args(&arguments)).unwrap();
        let status = cloud.wait(Duration::from_secs(20)).await.unwrap();
        assert!(!status.success());
        assert!(
            cloud.log().contains(expected),
            "{arguments:?}: {}",
            cloud.log()
        );
    }
}
