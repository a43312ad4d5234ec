//! An answer whose session is lost goes on in another one, with the same tokens: the client sees a pause.

use std::time::Duration;
use tandem_proto::v1::{self, SamplingParameters, generate_response::Event};
use tandem_tests::client::{
    Answer, Client, assert_refused, greedy_parameters, ids_request, text_request,
};
use tandem_tests::link::{Cut, LinkProfile};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Pair, PairOptions, ServerOptions};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

/// Everything that an answer's next token depends on: draws, all that was said so far, and how often.
fn demanding() -> v1::GenerateRequest {
    let mut request = text_request("Once upon a time, there was a", 60);
    request.sampling = Some(SamplingParameters {
        temperature: Some(0.9),
        top_p: Some(0.95),
        seed: Some(11),
        repetition_penalty: Some(1.1),
        presence_penalty: Some(0.4),
        frequency_penalty: Some(0.3),
        logprobs: Some(2),
        ignore_eos: true,
        ..greedy_parameters()
    });
    request
}

/// Asks, and is told on the way how many tokens there are.
fn ask(
    client: &Client,
    request: v1::GenerateRequest,
) -> (
    JoinHandle<Result<Answer, Status>>,
    tokio::sync::watch::Receiver<usize>,
) {
    let (told, tokens) = tokio::sync::watch::channel(0);
    let mut client = client.clone();
    let asking = tokio::spawn(async move {
        let mut stream = client.raw().generate(request).await?.into_inner();
        let mut answer = Answer::default();
        while let Some(response) = stream.message().await? {
            match response.event {
                Some(Event::Delta(delta)) => {
                    answer.ids.extend(&delta.token_ids);
                    answer.logprobs.extend(delta.logprobs);
                    answer.pieces.push(delta.text);
                    let _ = told.send(answer.ids.len());
                }
                Some(Event::Finished(finished)) => answer.finished = finished,
                Some(Event::Started(_) | Event::Step(_)) | None => {}
            }
        }
        Ok(answer)
    });
    (asking, tokens)
}

/// A pair behind a link that can be cut, whose cloud keeps no session that it cuts.
async fn pair(edge: &str) -> Pair {
    pair_with(edge, "sessions: {lease: 0s}").await
}

async fn pair_with(edge: &str, cloud: &str) -> Pair {
    let edge = ServerOptions::default().config(edge);
    let cloud = ServerOptions::default().config(cloud);
    let options = PairOptions::default().link(LinkProfile::unshaped());
    Pair::start(&default_model(), 10, options.edge(edge).cloud(cloud))
        .await
        .unwrap()
}

/// Waits until an answer has so many tokens.
async fn reach(tokens: &mut tokio::sync::watch::Receiver<usize>, count: usize) {
    tokens.wait_for(|tokens| *tokens >= count).await.unwrap();
}

fn assert_same(found: &Answer, expected: &Answer) {
    assert_eq!(found.ids, expected.ids);
    assert_eq!(found.text(), expected.text());
    assert_eq!(found.logprobs, expected.logprobs);
    let end = |answer: &Answer| {
        let finished = &answer.finished;
        (
            finished.finish_reason,
            finished.completion_tokens,
            finished.prompt_tokens,
        )
    };
    assert_eq!(end(found), end(expected));
}

#[tokio::test]
async fn an_answer_goes_on_when_its_connection_is_lost() {
    let pair = pair("").await;
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let alone = client.generate(demanding()).await.unwrap();
    assert_eq!(alone.finished.replays, 0);
    let (asking, mut tokens) = ask(&client, demanding());
    for cut in [10, 11, 40] {
        reach(&mut tokens, cut).await;
        pair.link().drop_connections(Cut::Reset);
    }
    let answer = asking.await.unwrap().unwrap();
    assert_same(&answer, &alone);
    assert!(
        (2..=3).contains(&answer.finished.replays),
        "{:?}",
        answer.finished
    );
    // What the lost sessions cost counts too: they ran 17 and 47 rows, and the cloud may still have a page of 32.
    assert!(answer.needed_rows() >= alone.needed_rows() + 17 + 47 - 32);
    let metrics = pair.edge.metrics().await.unwrap();
    assert!(metrics.sum("tandem_edge_replays_total") >= 2.0);
    let free = |m: &tandem_tests::process::Metrics| {
        m.sum_with("tandem_cloud_sessions", &[("state", "running")]) == 0.0
    };
    pair.cloud
        .wait_metrics(Duration::from_secs(5), free)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_answer_goes_on_where_it_was_when_its_connection_is_lost_for_a_while() {
    let pair = pair_with("", "").await;
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let alone = client.generate(demanding()).await.unwrap();
    let (asking, mut tokens) = ask(&client, demanding());
    reach(&mut tokens, 10).await;
    pair.link().drop_connections(Cut::Reset);
    reach(&mut tokens, 30).await;
    pair.link().cut(Cut::Reset);
    tokio::time::sleep(Duration::from_secs(2)).await;
    pair.link().restore().unwrap();
    let answer = asking.await.unwrap().unwrap();
    assert_same(&answer, &alone);
    assert_eq!(answer.finished.replays, 0, "{:?}", answer.finished);
    // A row went up once more each time, and drafts behind it.
    assert!(answer.needed_rows() <= alone.needed_rows() + 4);
    let metrics = pair.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("tandem_edge_resumes_total"), 2.0);
}

#[tokio::test]
async fn an_answer_goes_on_when_the_cloud_is_another_process() {
    let mut pair = pair("").await;
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let alone = client.generate(demanding()).await.unwrap();
    let (asking, mut tokens) = ask(&client, demanding());
    reach(&mut tokens, 15).await;
    pair.cloud.restart().await.unwrap();
    let answer = asking.await.unwrap().unwrap();
    assert_same(&answer, &alone);
    assert!(answer.finished.replays > 0);
}

/// The last turn's session is lost with its stop string on the way, and a long prompt before its first token.
#[tokio::test]
async fn stop_strings_and_prompts_go_on_too() {
    let pair = pair("").await;
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let mut request = demanding();
    let text = client.generate(demanding()).await.unwrap().text();
    let middle = text.chars().count() / 2;
    request.stop = vec![text.chars().skip(middle).take(6).collect()];
    let alone = client.generate(request.clone()).await.unwrap();
    let (asking, mut tokens) = ask(&client, request);
    reach(&mut tokens, 5).await;
    pair.link().drop_connections(Cut::Reset);
    let again = asking.await.unwrap().unwrap();
    assert_same(&again, &alone);
    assert!(again.finished.replays > 0);

    let long: Vec<u32> = (0..1500).map(|i| 20 + i * 7 % 900).collect();
    let mut request = ids_request(&long, 8);
    request.cache_salt = "alone".to_owned();
    let alone = client.generate(request.clone()).await.unwrap();
    request.cache_salt = "again".to_owned();
    let (asking, _) = ask(&client, request);
    // Its rows are on their way.
    tokio::time::sleep(Duration::from_millis(300)).await;
    pair.link().drop_connections(Cut::Reset);
    let again = asking.await.unwrap().unwrap();
    assert_same(&again, &alone);
    assert!(again.finished.replays > 0);
}

#[tokio::test]
async fn three_times_more_than_there_is_memory_for_finishes_later_with_the_same_words() {
    let small = ServerOptions::default().args(["--kv-memory", "8MiB"]);
    let options = PairOptions::default().cloud(small);
    let pair = Pair::start(&default_model(), 10, options).await.unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let request = |number: u32| {
        let mut request = demanding();
        let prompt: Vec<u32> = (0..20)
            .map(|p| 30 + (p * 13 + number * 101) % 800)
            .collect();
        request.input = ids_request(&prompt, 1).input;
        request
    };
    let mut alone = Vec::new();
    for number in 0..8 {
        alone.push(client.generate(request(number)).await.unwrap());
    }
    // Who finds no room to begin is refused, and comes again; who has begun goes on.
    let asked: Vec<_> = (0..8)
        .map(|number| {
            let (client, request) = (client.clone(), request(number));
            tokio::spawn(async move {
                loop {
                    match client.generate(request.clone()).await {
                        Err(status) if status.code() == Code::ResourceExhausted => {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        answered => return answered,
                    }
                }
            })
        })
        .collect();
    let mut replays = 0;
    for (answer, alone) in asked.into_iter().zip(&alone) {
        let answer = answer.await.unwrap().unwrap();
        assert_same(&answer, alone);
        replays += answer.finished.replays;
    }
    assert!(replays > 0, "all had room at once");
}

#[tokio::test]
async fn what_cannot_go_on_says_so() {
    let off = pair("replay: {within: 0s}").await;
    let client = Client::connect(&off.edge.url()).await.unwrap();
    let (asking, mut tokens) = ask(&client, demanding());
    reach(&mut tokens, 5).await;
    off.link().drop_connections(Cut::Reset);
    assert_refused(
        asking.await.unwrap(),
        Code::Unavailable,
        "CLOUD_UNREACHABLE",
    );

    let mut short = pair("replay: {within: 1s}").await;
    let client = Client::connect(&short.edge.url()).await.unwrap();
    let (asking, mut tokens) = ask(&client, demanding());
    reach(&mut tokens, 5).await;
    short.cloud.kill();
    let began = std::time::Instant::now();
    let status = asking.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// A link that swallows everything: the cloud is told by the request how long anybody waits.
#[tokio::test]
async fn the_cloud_gives_up_an_answer_that_nobody_waits_for() {
    let pair = pair("").await;
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    client.greedy(&[5, 6], 1).await.unwrap();
    let mut request = tonic::Request::new(demanding());
    request.set_timeout(Duration::from_secs(4));
    let mut stream = client
        .clone()
        .raw()
        .generate(request)
        .await
        .unwrap()
        .into_inner();
    for _ in 0..3 {
        stream.message().await.unwrap().unwrap();
    }
    pair.link().pause();
    let given_up = |metrics: &tandem_tests::process::Metrics| {
        let code = [("code", "deadline_exceeded")];
        metrics.sum_with("tandem_cloud_failures_total", &code) == 1.0
    };
    pair.cloud
        .wait_metrics(Duration::from_secs(8), given_up)
        .await
        .unwrap();
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the answer ended"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::DeadlineExceeded);
}
