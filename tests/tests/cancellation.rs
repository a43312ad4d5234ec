//! A client that goes away takes nothing with it.

use std::time::{Duration, Instant};
use tandem_tests::client::{Client, ids_request};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Pair, PairOptions};
use tonic::{Code, Request};

#[tokio::test]
async fn a_client_that_cancels_frees_the_clouds_memory_within_a_second() {
    let pair = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    let mut client = Client::connect(&pair.edge.url()).await.unwrap();
    let prompt: Vec<u32> = (100..200).collect();
    let mut stream = client
        .raw()
        .generate(ids_request(&prompt, 2000))
        .await
        .unwrap()
        .into_inner();
    for _ in 0..4 {
        stream.message().await.unwrap().unwrap();
    }
    // The gauge is published now and then, and four tokens may be there before it is.
    pair.cloud
        .wait_metrics(Duration::from_secs(5), |m| {
            m.sum("tandem_cloud_kv_bytes") > 0.0
        })
        .await
        .unwrap();
    drop(stream);
    let cancelled = Instant::now();
    pair.cloud
        .wait_metrics(Duration::from_secs(5), |m| {
            m.sum("tandem_cloud_kv_bytes") == 0.0
        })
        .await
        .unwrap();
    assert!(
        cancelled.elapsed() < Duration::from_secs(1),
        "{:?}",
        cancelled.elapsed()
    );
    let edge = pair.edge.metrics().await.unwrap();
    assert_eq!(edge.sum("tandem_edge_sessions"), 0.0);
}

#[tokio::test]
async fn an_answer_ends_at_its_deadline() {
    let pair = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    let mut client = Client::connect(&pair.edge.url()).await.unwrap();
    let mut request = Request::new(ids_request(&[1, 2, 3], 4000));
    // In the metadata only: what ends the answer is the edge, not this client's own timer.
    request
        .metadata_mut()
        .insert("grpc-timeout", "700m".parse().unwrap());
    let began = Instant::now();
    let mut stream = client.raw().generate(request).await.unwrap().into_inner();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the answer ended by itself"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    pair.cloud
        .wait_metrics(Duration::from_secs(2), |m| {
            m.sum("tandem_cloud_kv_bytes") == 0.0
        })
        .await
        .unwrap();
}
