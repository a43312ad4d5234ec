//! What an answer leaves behind is not computed or sent again.

use tandem_proto::v1;
use tandem_proto::v1::generate_response::Event;
use tandem_tests::client::{Client, assert_refused, greedy_parameters, ids_request, message};
use tandem_tests::paths::{default_model, fixtures};
use tandem_tests::process::{Pair, PairOptions, ServerOptions};

fn chat(messages: Vec<v1::ChatMessage>) -> v1::ChatRequest {
    v1::ChatRequest {
        messages,
        sampling: Some(greedy_parameters()),
        max_tokens: Some(24),
        ..v1::ChatRequest::default()
    }
}

#[tokio::test]
async fn the_rows_of_a_second_turn_are_its_new_tokens() {
    let pair = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let mut messages = vec![message("user", "Name three colours.")];
    let first = client.chat(chat(messages.clone())).await.unwrap();
    let held = first.needed_rows();
    assert_eq!(first.started.reused_tokens, 0);

    messages.push(message("assistant", &first.text()));
    messages.push(message("user", "Which one is the sea?"));
    let second = client.chat(chat(messages.clone())).await.unwrap();
    let (prompt, reused) = (second.started.prompt_tokens, second.started.reused_tokens);
    assert_eq!(
        u64::from(reused),
        held,
        "all that the pair held is the prompt's beginning"
    );
    let generated = second.finished.completion_tokens - 1;
    let rows = u64::from(prompt - reused + generated);
    assert_eq!(second.needed_rows(), rows);
    // By bytes: 4 a value, and 4 a frame and row at most for the frame's header.
    let values = second.wire().rows * 576 * 4;
    assert!((values..values + 5 * second.wire().rows).contains(&second.wire().frame_bytes));

    let alone = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    let fresh = Client::connect(&alone.edge.url()).await.unwrap();
    let again = fresh.chat(chat(messages)).await.unwrap();
    assert_eq!(again.started.reused_tokens, 0);
    assert_eq!(again.ids, second.ids, "what is reused changes nothing");
}

#[tokio::test]
async fn an_edited_turn_keeps_what_is_before_the_edit() {
    let model = fixtures().join("models/llama-mha-untied-bias");
    let pair = Pair::start(&model, 1, PairOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let prompt: Vec<u32> = (5..65).collect();
    client.greedy(&prompt, 8).await.unwrap();
    let mut edited = prompt.clone();
    edited[50] = 200;
    let answer = client.greedy(&edited, 8).await.unwrap();
    assert_eq!(answer.started.reused_tokens, 50);
    // The same prompt again: the last token's row must run again, no other.
    let repeated = client.greedy(&edited, 8).await.unwrap();
    assert_eq!(repeated.started.reused_tokens, 59);
    assert_eq!(repeated.ids, answer.ids);
    assert_eq!(
        pair.cloud
            .metrics()
            .await
            .unwrap()
            .sum("tandem_cloud_sessions_opened_total"),
        1.0
    );
}

#[tokio::test]
async fn a_session_that_the_cloud_gave_up_is_opened_again_unseen() {
    let model = fixtures().join("models/llama-mha-untied-bias");
    let cloud = ServerOptions::default().args(["--idle-ttl", "200ms"]);
    let pair = Pair::start(&model, 1, PairOptions::default().cloud(cloud))
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let prompt: Vec<u32> = (5..65).collect();
    let first = client.greedy(&prompt, 8).await.unwrap();
    pair.cloud
        .wait_metrics(std::time::Duration::from_secs(5), |m| {
            m.sum_with(
                "tandem_cloud_sessions_evicted_total",
                &[("cause", "idle_ttl")],
            ) == 1.0
        })
        .await
        .unwrap();
    let second = client.greedy(&prompt, 8).await.unwrap();
    assert_eq!(second.ids, first.ids);
}

/// Nobody finds out what somebody else has asked.
#[tokio::test]
async fn a_conversation_is_found_again_by_who_had_it() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    let [one, two] = [
        "one-0123456789abcdef0123456789",
        "two-0123456789abcdef0123456789",
    ];
    std::fs::write(&tokens, format!("one: {one}\ntwo: {two}\n")).unwrap();
    let edge = ServerOptions::default().arg("--auth-tokens").arg(&tokens);
    let model = fixtures().join("models/llama-mha-untied-bias");
    let pair = Pair::start(&model, 1, PairOptions::default().edge(edge))
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let ask = async |token: &str, salt: &str, length: u32| {
        let prompt: Vec<u32> = (5..5 + length).collect();
        let mut request = tonic::Request::new(v1::GenerateRequest {
            cache_salt: salt.to_owned(),
            ..ids_request(&prompt, 1)
        });
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let mut client = client.clone();
        let mut stream = client.raw().generate(request).await?.into_inner();
        let mut reused = None;
        while let Some(response) = stream.message().await? {
            if let Some(Event::Started(started)) = response.event {
                reused = Some(started.reused_tokens);
            }
        }
        Ok::<_, tonic::Status>(reused.unwrap())
    };
    assert_eq!(ask(one, "", 40).await.unwrap(), 0);
    assert_eq!(ask(two, "", 50).await.unwrap(), 0);
    assert_eq!(ask(one, "user 7", 50).await.unwrap(), 0);
    assert_eq!(ask(one, "", 50).await.unwrap(), 40);
    assert_eq!(ask(one, "user 7", 60).await.unwrap(), 50);
    assert_eq!(ask(two, "", 60).await.unwrap(), 50);
    let long = "x".repeat(257);
    let refused = ask(one, &long, 60).await;
    assert_refused(refused, tonic::Code::InvalidArgument, "FIELD");
}
