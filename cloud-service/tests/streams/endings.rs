//! Every end of a stream frees the session's memory, and a drain ends streams without losing answers.

use crate::by_hand::{Edge, PROMPT, cloud, ends, granted, run, terms};
use std::time::Duration;
use tandem_in_process::StoppedClock;
use tandem_proto::v1;
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::infer_response::Message as Down;
use tandem_server::drain::Drained;
use tandem_tests::client::assert_refused;
use tandem_tests::split_session::{SplitSession, rows};
use tonic::Code;

#[tokio::test]
async fn a_session_that_is_closed_is_free() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut answering = edge.answering().await;
    assert!(cloud.cloud.session_bytes() > 0);
    let session = &mut answering.session;
    session.send(Message::Close(v1::Close {})).await.unwrap();
    assert_eq!(session.end().await.code(), Code::Ok);
    cloud.is_free().await;
    assert_eq!(cloud.cloud.admission.running().0, 0);
}

#[tokio::test]
async fn an_edge_that_goes_away_leaves_nothing_behind() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    drop(edge.answering().await);
    cloud.is_free().await;
    // While its step runs, too.
    let mut answering = edge.answering().await;
    let held = cloud.faults.hold();
    answering.ask().await;
    held.has_one().await;
    drop(answering);
    drop(held);
    cloud.is_free().await;
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_nothing_behind() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let edge = Edge::at(&cable).await;
    let mut sessions = [edge.answering().await, edge.answering().await];
    let mut elsewhere = Edge::of(&cloud).await.answering().await;
    let with_all = cloud.cloud.session_bytes();
    cable.cut();
    for broken in &mut sessions {
        assert!(broken.session.end().await.code() != Code::Ok);
    }
    while cloud.cloud.session_bytes() > with_all / 3 {
        tokio::task::yield_now().await;
    }
    elsewhere.reaches(3).await;
    drop(elsewhere);
    cloud.is_free().await;
    // The next connection is as good as the first.
    edge.answering().await.reaches(2).await;
}

#[tokio::test]
async fn a_drain_lets_answers_end_and_nothing_begin() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut kept = edge.kept().await;
    let mut idle = edge.session(Vec::new()).await;
    granted(&mut idle).await;
    let ends_soon = v1::Run {
        max_tokens: 2,
        ..terms(0)
    };
    let messages = vec![Message::Run(ends_soon), rows(0, 0, &PROMPT, true)];
    let mut answering = edge.session(messages).await;
    let first = answering.token().await.unwrap();

    cloud.drain.signal().begin();
    for session in [&mut kept, &mut idle] {
        assert!(matches!(
            session.receive().await.unwrap(),
            Down::Draining(_)
        ));
        ends(session, Code::Unavailable, "DRAINING").await;
    }
    let Down::Draining(told) = answering.receive().await.unwrap() else {
        panic!("an edge is told");
    };
    assert_eq!(told.deadline_millis, 30_000);
    let messages = vec![Message::Open(edge.open())];
    let new = SplitSession::of(&edge.client, messages).await;
    assert_refused(new.map(|_| ()), Code::Unavailable, "DRAINING");

    let row = rows(0, first.position, &first.ids, true);
    answering.send(row).await.unwrap();
    let last = answering.token().await.unwrap();
    assert_eq!(last.finish_reason(), v1::FinishReason::Length);
    ends(&mut answering, Code::Unavailable, "DRAINING").await;
    assert_eq!(cloud.drain.finished().await, Drained::Clean);
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut answering = edge.answering().await;
    let clock = StoppedClock::stop();
    cloud.drain.signal().begin();
    let finished = cloud.drain.finished();
    let (drained, ()) = tokio::join!(finished, async {
        answering.reaches(2).await;
        clock.advance(Duration::from_secs(31)).await;
    });
    assert_eq!(drained, Drained::Late { unfinished: 1 });
    ends(&mut answering.session, Code::Unavailable, "DRAINING").await;
    cloud.is_free().await;
}

#[tokio::test]
async fn a_stream_that_says_nothing_more_ends_well() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let open = Message::Open(edge.open());
    let requests = [open, run(0), rows(0, 0, &PROMPT, true)].map(|message| v1::InferRequest {
        message: Some(message),
    });
    // The edge's half ends behind these.
    let mut client = edge.client.clone();
    let stream = client.infer(tokio_stream::iter(requests)).await;
    let mut down = stream.unwrap().into_inner();
    while let Some(message) = down.message().await.unwrap() {
        assert!(message.message.is_some());
    }
    cloud.is_free().await;
}
