//! A model at the edge that guesses what the pair will say.

use std::process::Command;
use std::time::Duration;
use tandem_proto::v1;
use tandem_tests::client::{Answer, Client, greedy_parameters, message};
use tandem_tests::link::LinkProfile;
use tandem_tests::paths::{default_model, fixtures};
use tandem_tests::process::{Binary, Pair, PairOptions, ServerOptions};

const GUESS: &str = "tandem_edge_draft_model_step_seconds_count";
const DRAFTS: &str = "tandem_edge_drafts_total";

fn question(temperature: f32) -> v1::ChatRequest {
    v1::ChatRequest {
        messages: vec![message("user", "Why is the sky blue?")],
        max_tokens: Some(48),
        sampling: Some(v1::SamplingParameters {
            temperature: Some(temperature),
            seed: Some(7),
            ..greedy_parameters()
        }),
        ..v1::ChatRequest::default()
    }
}

/// The pair with the model as its own draft model in other types, or without one, over a link that makes it worth while.
async fn pair(draft_model: bool) -> (Pair, Client) {
    let mut edge = ServerOptions::default();
    if draft_model {
        let model = default_model();
        let model = model.to_str().unwrap();
        edge = edge.args(["--draft-model", model, "--draft-weights", "int8"]);
    }
    let link = LinkProfile::new(Duration::from_millis(150), None);
    let options = PairOptions::default().edge(edge).link(link);
    let pair = Pair::start(&default_model(), 10, options).await.unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    (pair, client)
}

fn round_trips(answer: &Answer) -> usize {
    let accepted = answer.finished.drafts.unwrap_or_default().accepted;
    answer.ids.len() - usize::try_from(accepted).unwrap()
}

#[tokio::test]
async fn it_saves_round_trips_and_changes_nothing() {
    let (guessing, client) = pair(true).await;
    let (_alone, without) = pair(false).await;
    for temperature in [0.0, 0.8] {
        // Of the first one the edge learns how fast answers are without guesses.
        client.chat(question(temperature)).await.unwrap();
        let asked = v1::ChatRequest {
            cache_salt: "another".to_owned(),
            ..question(temperature)
        };
        let answer = client.chat(asked).await.unwrap();
        let expected = without.chat(question(temperature)).await.unwrap();
        assert_eq!(answer.ids, expected.ids, "at {temperature}");
        assert!(
            2 * round_trips(&answer) < round_trips(&expected),
            "at {temperature}: {:?}, without {:?}",
            answer.finished.drafts,
            expected.finished.drafts
        );
    }
    let metrics = guessing.edge.metrics().await.unwrap();
    assert!(metrics.sum(GUESS) > 40.0);
    assert!(metrics.sum("tandem_edge_draft_model_weight_bytes") > 1e8);
    let of_model = [("what", "accepted"), ("source", "draft_model")];
    assert!(metrics.sum_with(DRAFTS, &of_model) > 40.0);
}

#[test]
fn one_with_another_tokenizer_is_refused() {
    let other = fixtures().join("models/llama-gqa-llama3-tied");
    let ran = Command::new(Binary::EdgeAgent.path())
        .args(["generate", "a prompt", "--cloud", "http://127.0.0.1:1"])
        .args(["--split", "10"])
        .arg("--model")
        .arg(default_model())
        .arg("--draft-model")
        .arg(&other)
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(!ran.status.success(), "{said}");
    assert!(said.contains("it has another tokenizer"), "{said}");
}
