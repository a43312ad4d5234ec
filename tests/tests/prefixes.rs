//! What prompts have in common is computed and sent once, and changes no answer.

use std::time::Duration;
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::infer_response::Message as Down;
use tandem_proto::v1::{self, SamplingParameters};
use tandem_tests::client::{Answer, Client, assert_refused, greedy_parameters, ids_request};
use tandem_tests::link::{LinkProfile, Rate};
use tandem_tests::paths::{default_model, fixtures};
use tandem_tests::process::{Pair, PairOptions, Server, ServerOptions};
use tandem_tests::split_session::{SplitSession, fitting_open, rows, run, truncate};
use tonic::Code;

/// Finished conversations are not kept: whatever is reused are pages.
const NO_TURNS: &str = "sessions: {idle_ttl: 0s}";

/// A beginning that all have, and an end of one's own.
fn prompt(beginning: usize, own: u32) -> Vec<u32> {
    let common = (0..beginning as u32).map(|p| 30 + p * 13 % 800);
    common.chain((0..9).map(|p| 40 + own * 17 + p)).collect()
}

/// Everything that an answer depends on.
fn request(prompt: &[u32], tokens: u32, salt: &str) -> v1::GenerateRequest {
    let mut request = ids_request(prompt, tokens);
    request.cache_salt = salt.to_owned();
    request.sampling = Some(SamplingParameters {
        temperature: Some(0.9),
        seed: Some(11),
        repetition_penalty: Some(1.1),
        presence_penalty: Some(0.4),
        logprobs: Some(2),
        ignore_eos: true,
        ..greedy_parameters()
    });
    request
}

async fn pair(split: u32, edge: &str, cloud: &str) -> Pair {
    let options = PairOptions::default()
        .edge(ServerOptions::default().config(edge))
        .cloud(ServerOptions::default().config(cloud));
    Pair::start(&default_model(), split, options).await.unwrap()
}

fn assert_same(found: &Answer, expected: &Answer) {
    assert_eq!(found.ids, expected.ids);
    assert_eq!(found.logprobs, expected.logprobs);
}

#[tokio::test]
async fn a_second_prompt_sends_what_is_its_own() {
    for split in [10, 0] {
        let alone = pair(split, "sessions: {idle_ttl: 0s, prefix_memory: 0B}", "").await;
        let alone = Client::connect(&alone.edge.url()).await.unwrap();
        let pair = pair(split, NO_TURNS, "").await;
        let client = Client::connect(&pair.edge.url()).await.unwrap();
        let mut up = Vec::new();
        for (own, reused) in [(1, 0), (2, 192), (3, 192)] {
            let request = request(&prompt(200, own), 6, "");
            let answer = client.generate(request.clone()).await.unwrap();
            assert_same(&answer, &alone.generate(request).await.unwrap());
            assert_eq!(answer.started.reused_tokens, reused, "split {split}");
            up.push(answer.wire().up_bytes);
        }
        // At split 0 a row is only a token's id, and the names of pages are no smaller.
        let most = if split == 0 { up[0] } else { up[0] / 2 };
        assert!(up[1] < most, "{up:?}");
        // An answer's own rows are pages too.
        let long = client
            .generate(request(&prompt(40, 7), 60, ""))
            .await
            .unwrap();
        let mut turn = prompt(40, 7);
        turn.extend(&long.ids);
        turn.extend([50, 51, 52]);
        let request = request(&turn, 6, "");
        let next = client.generate(request.clone()).await.unwrap();
        assert_eq!(next.started.reused_tokens, 96);
        assert_same(&next, &alone.generate(request).await.unwrap());

        let metrics = pair.cloud.metrics().await.unwrap();
        let found = metrics.sum_with(
            "tandem_cloud_prefix_positions_total",
            &[("result", "found")],
        );
        assert!(found >= 480.0, "{found}");
        assert!(metrics.get("tandem_cloud_prefix_bytes").unwrap() > 0.0);
        let metrics = pair.edge.metrics().await.unwrap();
        let kept = metrics.sum_with("tandem_edge_prefix_positions_total", &[("result", "kept")]);
        assert_eq!(kept, found);
        assert!(metrics.sum("tandem_edge_prefix_saved_bytes_total") >= 480.0);
        assert!(metrics.get("tandem_edge_prefix_bytes").unwrap() > 0.0);
    }
}

#[tokio::test]
async fn a_cloud_that_has_forgotten_costs_a_round_trip_and_no_answer() {
    let mut pair = pair(10, NO_TURNS, "").await;
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let request = |own| request(&prompt(200, own), 6, "");
    let first = client.generate(request(1)).await.unwrap();
    let second = client.generate(request(2)).await.unwrap();
    assert_eq!(second.started.reused_tokens, 192);
    pair.cloud.restart().await.unwrap();
    let again = client.generate(request(1)).await.unwrap();
    assert_same(&again, &first);
    assert_eq!(again.started.reused_tokens, 0);
    assert_eq!(again.finished.replays, 0);
    let metrics = pair.edge.metrics().await.unwrap();
    let gone = metrics.sum_with("tandem_edge_prefix_positions_total", &[("result", "gone")]);
    assert_eq!(gone, 192.0);
    // And the names that it has now are known.
    let again = client.generate(request(2)).await.unwrap();
    assert_same(&again, &second);
    assert_eq!(again.started.reused_tokens, 192);
}

#[tokio::test]
async fn a_cloud_that_has_some_of_it_is_sent_the_rest() {
    // Five pages of 20 layers.
    for (split, memory) in [(10, "5MiB"), (0, "7200KiB")] {
        let cloud = format!("sessions: {{prefix_memory: {memory}}}");
        let pair = pair(split, NO_TURNS, &cloud).await;
        let client = Client::connect(&pair.edge.url()).await.unwrap();
        let first = request(&prompt(100, 1), 6, "");
        let alone = client.generate(first.clone()).await.unwrap();
        let others: Vec<u32> = (0..100).map(|p| 900 - p * 7).collect();
        client.generate(request(&others, 2, "")).await.unwrap();
        let again = client.generate(first).await.unwrap();
        assert_eq!(again.started.reused_tokens, 64, "split {split}");
        assert_same(&again, &alone);
    }
}

/// What was sent in the wrong belief is acknowledged by nobody, and must not hold up what is sent again, or others.
#[tokio::test]
async fn much_that_was_sent_in_a_wrong_belief_holds_nobody_up() {
    let link = LinkProfile::new(Duration::from_millis(60), Some(Rate::mbit(20)));
    let options = PairOptions::default()
        .link(link)
        .edge(ServerOptions::default().config(NO_TURNS));
    let mut pair = Pair::start(&default_model(), 1, options).await.unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let long = |own: u32| {
        let mut all = prompt(100, own);
        all.extend((0..600).map(|p| 35 + p * 7 % 700));
        request(&all, 3, "")
    };
    let alone = client.generate(long(1)).await.unwrap();
    pair.cloud.restart().await.unwrap();
    // Both begin with what the cloud has no more.
    let both = async { tokio::join!(client.generate(long(1)), client.generate(long(2))) };
    let answers = tokio::time::timeout(Duration::from_secs(30), both).await;
    let (one, two) = answers.unwrap();
    let one = one.unwrap();
    assert_same(&one, &alone);
    assert_eq!(one.finished.replays + two.unwrap().finished.replays, 0);
}

/// The features that a cloud serves change with its configuration.
#[tokio::test]
async fn an_edge_goes_on_with_a_cloud_that_keeps_nothing_any_more() {
    let mut pair = pair(10, NO_TURNS, "").await;
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let first = client
        .generate(request(&prompt(100, 1), 3, ""))
        .await
        .unwrap();
    let off = "sessions: {prefix_memory: 0B}";
    pair.cloud.restart_with(off).await.unwrap();
    let again = client
        .generate(request(&prompt(100, 1), 3, ""))
        .await
        .unwrap();
    assert_same(&again, &first);
    assert_eq!(again.started.reused_tokens, 0);
}

/// Two conversations that begin alike have a session each, and neither loses what is its own.
#[tokio::test]
async fn a_conversation_is_not_given_up_for_one_that_begins_alike() {
    let pair = pair(10, "", "").await;
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let mut turns = [prompt(200, 1), prompt(200, 2)];
    for turn in 0..3 {
        for (number, prompt) in turns.iter_mut().enumerate() {
            let answer = client.generate(request(prompt, 20, "")).await.unwrap();
            let reused = answer.started.reused_tokens as usize;
            match (turn, number) {
                (0, 0) => assert_eq!(reused, 0),
                (0, _) => assert_eq!(reused, 192),
                // All rows that were run: the last token of an answer has none.
                _ => assert_eq!(reused, prompt.len() - 4, "turn {turn} of {number}"),
            }
            prompt.extend(&answer.ids);
            prompt.extend([60, 61, 62]);
        }
    }
    let metrics = pair.cloud.metrics().await.unwrap();
    assert_eq!(metrics.sum("tandem_cloud_sessions_opened_total"), 2.0);
}

#[tokio::test]
async fn nobody_begins_with_what_others_have_asked() {
    let pair = pair(10, NO_TURNS, "").await;
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let reused = async |salt: &str, own| {
        let answer = client.generate(request(&prompt(100, own), 2, salt)).await;
        answer.unwrap().started.reused_tokens
    };
    assert_eq!(reused("one", 1).await, 0);
    assert_eq!(reused("two", 2).await, 0);
    assert_eq!(reused("one", 3).await, 96);
    assert_eq!(reused("two", 4).await, 96);
}

#[tokio::test]
async fn nothing_is_kept_where_it_is_switched_off() {
    for (edge, cloud) in [
        ("sessions: {idle_ttl: 0s, prefix_memory: 0B}", ""),
        (NO_TURNS, "sessions: {prefix_memory: 0B}"),
        ("{sessions: {idle_ttl: 0s}, replay: {within: 0s}}", ""),
    ] {
        let pair = pair(10, edge, cloud).await;
        let client = Client::connect(&pair.edge.url()).await.unwrap();
        for own in 1..3 {
            let answer = client.generate(request(&prompt(100, own), 2, "")).await;
            assert_eq!(answer.unwrap().started.reused_tokens, 0);
        }
        let metrics = pair.cloud.metrics().await.unwrap();
        assert_eq!(metrics.get("tandem_cloud_prefix_bytes").unwrap_or(0.0), 0.0);
    }
}

/// 3 layers, up to 256 positions.
async fn cloud(config: &str) -> Server {
    let model = fixtures().join("models/llama-mha-untied-bias");
    let options = ServerOptions::default().config(config);
    Server::cloud(&model, options).await.unwrap()
}

async fn open(cloud: &Server, number: u8, names: Vec<Vec<u8>>) -> v1::Open {
    let mut open = fitting_open(&cloud.url(), 0).await.unwrap();
    open.session_id[0] = number;
    open.features = vec![v1::Feature::Replay.into(), v1::Feature::Prefixes.into()];
    open.page_names = names;
    open
}

fn ids(count: u32) -> Vec<u32> {
    (0..count).map(|p| (p * 7 + 3) % 90).collect()
}

/// What a session is told, up to its first token.
struct Begun {
    session: SplitSession,
    granted: v1::Granted,
    pages: Vec<v1::Pages>,
    token: u32,
}

async fn begin(cloud: &Server, messages: Vec<Message>) -> Begun {
    let mut session = SplitSession::begin(&cloud.url(), messages).await.unwrap();
    let (mut granted, mut pages) = (v1::Granted::default(), Vec::new());
    loop {
        match session.receive().await.unwrap() {
            Down::Granted(message) => granted = message,
            Down::Pages(message) => pages.push(message),
            Down::Tokens(tokens) => {
                return Begun {
                    session,
                    granted,
                    pages,
                    token: tokens.ids[0],
                };
            }
            _ => {}
        }
    }
}

fn names(pages: &[v1::Pages]) -> Vec<Vec<u8>> {
    pages.iter().flat_map(|page| page.names.clone()).collect()
}

#[tokio::test]
async fn a_wrong_belief_is_told_and_what_was_sent_in_it_is_dropped() {
    let cloud = cloud("").await;
    let all = ids(110);
    let first = open(&cloud, 1, Vec::new()).await;
    let first = begin(
        &cloud,
        vec![Message::Open(first), run(0), rows(0, 0, &all, true)],
    )
    .await;
    assert_eq!((first.granted.pages, first.pages[0].first), (0, 0));
    let names = names(&first.pages);
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| name.len() == 16));

    // As it was told.
    let second = open(&cloud, 2, names.clone()).await;
    let second = vec![Message::Open(second), run(0), rows(0, 96, &all[96..], true)];
    let second = begin(&cloud, second).await;
    assert_eq!(second.granted.pages, 3);
    assert_eq!(second.token, first.token);

    // With a name that nobody was told: the first page is there, and what follows it is dropped.
    let guessed = vec![names[0].clone(), vec![7; 16], names[2].clone()];
    let third = open(&cloud, 3, guessed).await;
    let messages = vec![Message::Open(third), run(0), rows(0, 96, &all[96..], true)];
    let mut session = SplitSession::begin(&cloud.url(), messages).await.unwrap();
    match session.receive().await.unwrap() {
        Down::Granted(granted) => assert_eq!(granted.pages, 1),
        other => panic!("{other:?}"),
    }
    session.send(run(1)).await.unwrap();
    session.send(rows(1, 32, &all[32..], true)).await.unwrap();
    let token = session.token().await.unwrap();
    assert_eq!((token.epoch, token.ids[0]), (1, first.token));
    // It has named the same pages by the same names.
    session.send(truncate(2, 33)).await.unwrap();
    session.send(run(2)).await.unwrap();
    session.send(rows(2, 33, &all[33..], true)).await.unwrap();
    let told = loop {
        match session.receive().await.unwrap() {
            Down::Pages(pages) => break pages,
            Down::Tokens(tokens) => panic!("{tokens:?}"),
            _ => {}
        }
    };
    assert_eq!((told.epoch, told.first), (2, 1));
    assert_eq!(told.names, names[1..]);
    assert_eq!(session.token().await.unwrap().ids[0], first.token);
    drop(first.session);
}

#[tokio::test]
async fn names_that_cannot_be_are_refused() {
    let cloud = cloud("").await;
    let refused = async |open: v1::Open, reason: &str| {
        let mut session = SplitSession::begin(&cloud.url(), vec![Message::Open(open)])
            .await
            .unwrap();
        assert_refused(
            Err::<(), _>(session.end().await),
            Code::InvalidArgument,
            reason,
        );
    };
    refused(open(&cloud, 1, vec![vec![1; 15]]).await, "PAGES").await;
    refused(open(&cloud, 1, vec![vec![1; 17]]).await, "PAGES").await;
    // All of its 256 positions.
    refused(open(&cloud, 1, vec![vec![1; 16]; 8]).await, "PAGES").await;
    let mut unnamed = open(&cloud, 1, vec![vec![1; 16]]).await;
    unnamed.features = vec![v1::Feature::Replay.into()];
    refused(unnamed, "PAGES").await;
    let nothing = open(&cloud, 1, vec![vec![1; 16]; 7]).await;
    let mut session = SplitSession::begin(&cloud.url(), vec![Message::Open(nothing)])
        .await
        .unwrap();
    assert!(matches!(session.receive().await, Ok(Down::Granted(granted)) if granted.pages == 0));
}

/// Memory for 28 times 32 positions.
#[tokio::test]
async fn pages_that_no_session_has_make_room_for_sessions() {
    let cloud = cloud("sessions: {kv_memory: 1MiB, prefix_memory: 1GiB}").await;
    let page_bytes = f64::from(3 * 2 * 32 * 3 * 16 * 4);
    let held = async |pages: f64, kept: f64| {
        let seen = cloud.wait_metrics(Duration::from_secs(5), |metrics| {
            metrics.get("tandem_cloud_kv_bytes") == Some(pages * page_bytes)
                && metrics.get("tandem_cloud_prefix_bytes") == Some(kept * page_bytes)
        });
        seen.await.unwrap();
    };
    let session = async |number: u8, count: u32| {
        let own: Vec<u32> = ids(count).iter().map(|id| id + u32::from(number)).collect();
        let open = open(&cloud, number, Vec::new()).await;
        begin(
            &cloud,
            vec![Message::Open(open), run(0), rows(0, 0, &own, true)],
        )
        .await
    };
    let first = session(1, 200).await;
    held(7.0, 6.0).await;
    drop(first.session);
    held(0.0, 6.0).await;
    let mut open_sessions = Vec::new();
    for number in 2..5 {
        open_sessions.push(session(number, 250).await);
    }
    // They have made room for themselves, and for pages of their own in what is left.
    held(24.0, 4.0).await;
    // A fourth takes the last pages that are kept.
    open_sessions.push(session(5, 120).await);
    held(28.0, 0.0).await;
    drop(open_sessions);
    held(0.0, 0.0).await;
}
