//! Keys and values in pages: a session whose edge can go on elsewhere holds what it has run, and gives way where
//! there is no more.

use std::path::PathBuf;
use std::time::Duration;
use tandem_proto::v1;
use tandem_proto::v1::infer_request::Message;
use tandem_tests::client::assert_refused;
use tandem_tests::paths::fixtures;
use tandem_tests::process::{Server, ServerOptions};
use tandem_tests::split_session::{SplitSession, fitting_open, rows, run, truncate};
use tonic::{Code, Status};

/// 3 layers, 3 heads of 16 numbers for keys and as many for values, up to 256 positions.
fn model() -> PathBuf {
    fixtures().join("models/llama-mha-untied-bias")
}

/// Of 32 positions of the whole model.
const PAGES_BYTES: f64 = (3 * 2 * 32 * 3 * 16 * 4) as f64;

/// A cloud with memory for 28 times 32 positions.
async fn cloud() -> Server {
    let small = ServerOptions::default().config("sessions: {kv_memory: 1MiB}");
    Server::cloud(&model(), small).await.unwrap()
}

/// An Open of an edge that can go on elsewhere, or cannot.
async fn open(cloud: &Server, number: u8, can_move: bool) -> Message {
    let mut open = fitting_open(&cloud.url(), 0).await.unwrap();
    open.session_id[0] = number;
    if can_move {
        open.features = vec![v1::Feature::Replay.into()];
    }
    Message::Open(open)
}

/// A session that has run so many positions and its first token.
async fn begin(
    cloud: &Server,
    number: u8,
    can_move: bool,
    positions: u32,
) -> Result<(SplitSession, u32), Status> {
    // Sessions whose numbers end alike have the same prompt.
    let ids: Vec<u32> = (0..positions)
        .map(|p| (p * 7 + u32::from(number % 10)) % 90)
        .collect();
    let messages = vec![
        open(cloud, number, can_move).await,
        run(0),
        rows(0, 0, &ids, true),
    ];
    let mut session = SplitSession::begin(&cloud.url(), messages).await?;
    let token = session.token().await?;
    Ok((session, token.ids[0]))
}

/// Decodes greedily from a position on, until the session ends or has so many positions.
async fn decode(
    session: &mut SplitSession,
    (position, token): (u32, u32),
    end: u32,
) -> Result<Vec<u32>, (Vec<u32>, Status)> {
    let mut tokens = vec![token];
    for position in position..end {
        let last = tokens[tokens.len() - 1];
        let sent = session.send(rows(0, position, &[last], true)).await;
        match session.token().await {
            Ok(token) => tokens.extend(token.ids),
            Err(status) => return Err((tokens, status)),
        }
        sent.unwrap();
    }
    Ok(tokens)
}

/// Waits until so much is reserved, and in use.
async fn assert_held(cloud: &Server, reserved: f64, in_use: f64) {
    let held = cloud.wait_metrics(Duration::from_secs(5), |metrics| {
        let pages = metrics.sum_with("tandem_cloud_kv_pages", &[("state", "in_use")]);
        metrics.get("tandem_cloud_kv_bytes") == Some(reserved * PAGES_BYTES)
            && pages == in_use * 3.0
    });
    held.await.unwrap();
}

/// Waits until nothing is reserved and no page is in use.
async fn assert_all_is_free(cloud: &Server) {
    let free = cloud.wait_metrics(Duration::from_secs(5), |metrics| {
        let pages = |state| metrics.sum_with("tandem_cloud_kv_pages", &[("state", state)]);
        metrics.get("tandem_cloud_kv_bytes") == Some(0.0)
            && pages("in_use") == 0.0
            && pages("reserved") == 0.0
            && pages("free") > 0.0
    });
    free.await.unwrap();
}

#[tokio::test]
async fn a_session_holds_what_it_has_run() {
    let cloud = cloud().await;
    // Three fill it nearly where the whole context is reserved, and a fourth has no room for its own.
    let mut whole = Vec::new();
    for number in 1..=3 {
        whole.push(begin(&cloud, number, false, 3).await.unwrap());
        assert_held(&cloud, f64::from(number) * 8.0, f64::from(number)).await;
    }
    let fourth = begin(&cloud, 4, false, 3).await.map(|_| ());
    assert_refused(fourth, Code::ResourceExhausted, "KV_MEMORY");
    // Four have room where what is run is.
    let mut growing = Vec::new();
    for number in 5..=8 {
        growing.push(begin(&cloud, number, true, 32).await.unwrap());
    }
    let ninth = begin(&cloud, 9, true, 1).await.map(|_| ());
    assert_refused(ninth, Code::ResourceExhausted, "KV_MEMORY");
    drop((whole, growing));
    assert_all_is_free(&cloud).await;
}

#[tokio::test]
async fn what_is_truncated_or_ended_is_free_at_once() {
    let cloud = cloud().await;
    let (session, _) = begin(&cloud, 1, true, 200).await.unwrap();
    let (kept, _) = begin(&cloud, 2, true, 33).await.unwrap();
    assert_held(&cloud, 9.0, 9.0).await;
    session.send(truncate(1, 40)).await.unwrap();
    assert_held(&cloud, 4.0, 4.0).await;
    kept.send(Message::Close(v1::Close {})).await.unwrap();
    assert_held(&cloud, 2.0, 2.0).await;
    drop(session);
    assert_all_is_free(&cloud).await;
}

#[tokio::test]
async fn the_answer_that_came_last_gives_way_and_the_others_are_what_they_are_alone() {
    let cloud = cloud().await;
    let (mut alone, token) = begin(&cloud, 1, true, 20).await.unwrap();
    let expected = decode(&mut alone, (20, token), 250).await.unwrap();
    drop(alone);
    assert_all_is_free(&cloud).await;

    let mut sessions = Vec::new();
    for number in 11..=14 {
        sessions.push(begin(&cloud, number, true, 20).await.unwrap());
    }
    // Four times 8 are more than 28.
    let answers = sessions.into_iter().map(|(mut session, token)| {
        tokio::spawn(async move { decode(&mut session, (20, token), 250).await })
    });
    let mut ended = Vec::new();
    for answer in answers.collect::<Vec<_>>() {
        ended.push(answer.await.unwrap());
    }
    assert_eq!(ended[0].as_ref().unwrap(), &expected);
    assert!(ended[1].is_ok());
    let gave_way = ended.iter().filter_map(|ended| ended.as_ref().err());
    let gave_way: Vec<_> = gave_way.cloned().collect();
    assert!(!gave_way.is_empty());
    for (tokens, status) in gave_way {
        assert!(tokens.len() > 1, "it had begun");
        assert_refused::<()>(Err(status), Code::Aborted, "EVICTED");
    }
    assert_all_is_free(&cloud).await;
    let metrics = cloud.metrics().await.unwrap();
    let cause = [("cause", "answering")];
    assert!(metrics.sum_with("tandem_cloud_sessions_evicted_total", &cause) > 0.0);
}

#[tokio::test]
async fn an_answer_that_cannot_go_on_elsewhere_never_gives_way() {
    let cloud = cloud().await;
    let (mut whole, token) = begin(&cloud, 1, false, 20).await.unwrap();
    let mut growing = Vec::new();
    // One more than have room beside it.
    for number in 2..=22 {
        match begin(&cloud, number, true, 32).await {
            Ok((session, _)) => growing.push(session),
            Err(status) => {
                assert_refused::<()>(Err(status), Code::ResourceExhausted, "KV_MEMORY");
            }
        }
    }
    assert_eq!(growing.len(), 20);
    decode(&mut whole, (20, token), 250).await.unwrap();
    drop((whole, growing));
    assert_all_is_free(&cloud).await;
}
