//! How long the cloud waits, and for whom.

use crate::by_hand::{Edge, PROMPT, cloud, ends, run, terms};
use std::time::Duration;
use tandem_in_process::StoppedClock;
use tandem_proto::v1;
use tandem_proto::v1::infer_request::Message;
use tandem_tests::split_session::{SplitSession, rows};
use tonic::Code;

#[tokio::test]
async fn a_stream_that_opens_nothing_is_closed() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut session = SplitSession::of(&edge.client, Vec::new()).await.unwrap();
    let clock = StoppedClock::stop();
    clock.advance(Duration::from_secs(11)).await;
    ends(&mut session, Code::DeadlineExceeded, "OPEN_TIMEOUT").await;
}

#[tokio::test]
async fn a_session_that_is_silent_for_too_long_is_closed() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut answering = edge.answering().await;
    let clock = StoppedClock::stop();
    // Each row begins the time anew.
    for _ in 0..3 {
        clock.advance(Duration::from_secs(299)).await;
        answering.next().await.unwrap();
    }
    clock.advance(Duration::from_secs(301)).await;
    ends(&mut answering.session, Code::Aborted, "IDLE").await;
    cloud.is_free().await;
}

#[tokio::test]
async fn whoever_reads_nothing_is_closed_too() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let session = edge.session(Vec::new()).await;
    let ping = || {
        Message::Ping(v1::Ping {
            reply_bytes: 64 << 10,
            ..v1::Ping::default()
        })
    };
    for _ in 0..200 {
        session.send(ping()).await.unwrap();
    }
    let clock = StoppedClock::stop();
    clock.advance(Duration::from_secs(299)).await;
    clock.advance(Duration::from_secs(2)).await;
    cloud.is_free().await;
}

#[tokio::test]
async fn who_waits_for_the_engine_is_not_silent() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut answering = edge.answering().await;
    let clock = StoppedClock::stop();
    let held = cloud.faults.hold();
    answering.ask().await;
    held.has_one().await;
    clock.advance(Duration::from_secs(3600)).await;
    drop(held);
    answering.arrives().await.unwrap();
}

#[tokio::test]
async fn an_answer_ends_when_nobody_waits_for_it_any_more() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let clock = StoppedClock::stop();
    let short = v1::Run {
        timeout_millis: 700,
        ..terms(0)
    };
    let messages = vec![Message::Run(short), rows(0, 0, &PROMPT, true)];
    let mut session = edge.session(messages).await;
    session.token().await.unwrap();
    clock.advance(Duration::from_millis(701)).await;
    ends(&mut session, Code::DeadlineExceeded, "DEADLINE").await;
    cloud.is_free().await;
}

#[tokio::test]
async fn a_deadline_ends_with_its_answer() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let clock = StoppedClock::stop();
    let short = v1::Run {
        timeout_millis: 700,
        max_tokens: 1,
        ..terms(0)
    };
    let messages = vec![Message::Run(short), rows(0, 0, &PROMPT, true)];
    let mut session = edge.session(messages).await;
    let last = session.token().await.unwrap();
    clock.advance(Duration::from_secs(2)).await;
    session.send(run(0)).await.unwrap();
    let row = rows(0, last.position, &last.ids, true);
    session.send(row).await.unwrap();
    assert_eq!(session.token().await.unwrap().position, 5);
}
