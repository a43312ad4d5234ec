//! Two clouds and an edge that knows both: what happens to one costs a pause at most.

use std::time::Duration;
use tandem_proto::v1::{self, SamplingParameters};
use tandem_tests::client::{Answer, Client, greedy_parameters, ids_request};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Server, ServerOptions};
use tokio::task::JoinSet;

const SPLIT: u32 = 10;

struct Trio {
    edge: Server,
    clouds: [Server; 2],
    client: Client,
}

impl Trio {
    async fn start() -> Self {
        let model = default_model();
        let start = || Server::cloud(&model, ServerOptions::default().args(["--weights", "int8"]));
        let clouds = [start().await.unwrap(), start().await.unwrap()];
        let urls = format!("{},{}", clouds[0].url(), clouds[1].url());
        let edge = Server::edge(&model, &urls, SPLIT, ServerOptions::default());
        let edge = edge.await.unwrap();
        let both = |m: &tandem_tests::process::Metrics| {
            m.sum_with("tandem_edge_clouds", &[("state", "fits")]) == 2.0
        };
        edge.wait_metrics(Duration::from_secs(10), both)
            .await
            .unwrap();
        let client = Client::connect(&edge.url()).await.unwrap();
        Self {
            edge,
            clouds,
            client,
        }
    }

    /// Asks for some answers at once.
    fn ask(&self, numbers: std::ops::Range<u32>) -> JoinSet<(u32, Answer)> {
        let mut asking = JoinSet::new();
        for number in numbers {
            let client = self.client.clone();
            asking.spawn(async move {
                let answer = client.generate(request(number)).await;
                (number, answer.unwrap())
            });
        }
        asking
    }

    /// What comes when nothing happens.
    async fn undisturbed(&self, numbers: std::ops::Range<u32>) -> Vec<Answer> {
        let mut answers = self.ask(numbers).join_all().await;
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Waits until so many answers run in a cloud.
    async fn runs(&self, at: usize, count: f64) {
        let runs = |m: &tandem_tests::process::Metrics| {
            m.sum_with("tandem_cloud_sessions", &[("state", "running")]) >= count
        };
        let waited = self.clouds[at].wait_metrics(Duration::from_secs(20), runs);
        waited.await.unwrap();
    }
}

/// Every other one is drawn with everything that a draw depends on.
fn request(number: u32) -> v1::GenerateRequest {
    let prompt: Vec<u32> = (0..20)
        .map(|p| 30 + (p * 13 + number * 101) % 800)
        .collect();
    let mut request = ids_request(&prompt, 80);
    let sampling = match number % 2 {
        0 => greedy_parameters(),
        _ => SamplingParameters {
            temperature: Some(0.8),
            top_p: Some(0.95),
            seed: Some(u64::from(number)),
            repetition_penalty: Some(1.1),
            ..greedy_parameters()
        },
    };
    request.sampling = Some(SamplingParameters {
        ignore_eos: true,
        logprobs: Some(1),
        ..sampling
    });
    request
}

fn assert_same(found: &Answer, expected: &Answer) {
    assert_eq!(found.ids, expected.ids);
    assert_eq!(found.text(), expected.text());
    assert_eq!(found.logprobs, expected.logprobs);
    assert!(found.finished.exact);
}

#[tokio::test]
async fn answers_go_on_when_a_cloud_is_killed() {
    let mut trio = Trio::start().await;
    let alone = trio.undisturbed(0..6).await;
    for (round, killed) in [0, 1, 0].into_iter().enumerate() {
        let mut asking = trio.ask(0..6);
        trio.runs(killed, 1.0).await;
        tokio::time::sleep(Duration::from_millis(80 * round as u64)).await;
        trio.clouds[killed].kill();
        let mut replays = 0;
        while let Some(answered) = asking.join_next().await {
            let (number, answer) = answered.unwrap();
            assert_same(&answer, &alone[number as usize]);
            replays += answer.finished.replays;
        }
        assert!(replays > 0);
        trio.clouds[killed].restart().await.unwrap();
    }
    let metrics = trio.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("tandem_edge_failures_total"), 0.0);
    assert_eq!(metrics.sum("tandem_edge_inexact_answers_total"), 0.0);
}

#[tokio::test]
async fn answers_leave_a_cloud_that_ends_before_it_has_to() {
    let mut trio = Trio::start().await;
    let alone = trio.undisturbed(0..6).await;
    for ending in [0, 1] {
        let mut asking = trio.ask(0..6);
        trio.runs(ending, 1.0).await;
        trio.clouds[ending].terminate().unwrap();
        // Far sooner than the drain's deadline, and than the answers would have ended.
        let ended = trio.clouds[ending].wait(Duration::from_secs(10)).await;
        assert!(ended.unwrap().success());
        let mut moved = 0;
        while let Some(answered) = asking.join_next().await {
            let (number, answer) = answered.unwrap();
            assert_same(&answer, &alone[number as usize]);
            moved += answer.finished.replays;
        }
        assert!(moved > 0);
        trio.clouds[ending].restart().await.unwrap();
        let both = |m: &tandem_tests::process::Metrics| {
            m.sum_with("tandem_edge_clouds", &[("state", "fits")]) == 2.0
        };
        let waited = trio.edge.wait_metrics(Duration::from_secs(20), both);
        waited.await.unwrap();
    }
    let metrics = trio.edge.metrics().await.unwrap();
    let moved = metrics.sum_with("tandem_edge_replays_total", &[("cause", "draining")]);
    assert!(moved > 0.0);
    assert_eq!(metrics.sum("tandem_edge_failures_total"), 0.0);
}

#[tokio::test]
async fn a_cloud_that_goes_silent_is_given_up_in_time() {
    let mut trio = Trio::start().await;
    let alone = trio.undisturbed(0..4).await;
    let mut asking = trio.ask(0..4);
    trio.runs(0, 1.0).await;
    trio.clouds[0].signal("STOP").unwrap();
    let began = std::time::Instant::now();
    while let Some(answered) = asking.join_next().await {
        let (number, answer) = answered.unwrap();
        assert_same(&answer, &alone[number as usize]);
    }
    // 4.5 s until it is noticed, and the rest of the answers.
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    trio.clouds[0].signal("CONT").unwrap();
}
