//! A session whose connection broke waits for its edge, and for no other.

use crate::by_hand::{self, Edge, PROMPT, cloud, expected, granted, run};
use tandem_in_process::LocalCloud;
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::{self, Feature};
use tandem_tests::split_session::{SplitSession, rows};
use tonic::Code;

/// What opens a session that may be taken up.
fn open(edge: &Edge) -> v1::Open {
    v1::Open {
        features: vec![Feature::Replay.into(), Feature::Resume.into()],
        ..edge.open()
    }
}

/// What takes it up.
fn again(open: &v1::Open, epoch: u32, position: u32) -> v1::Open {
    v1::Open {
        resume: Some(v1::Resume { epoch, position }),
        ..open.clone()
    }
}

async fn stream(edge: &Edge, messages: Vec<Message>) -> SplitSession {
    SplitSession::of(&edge.client, messages).await.unwrap()
}

/// A session with the first token behind the prompt.
async fn begun(edge: &Edge, open: &v1::Open) -> SplitSession {
    let messages = vec![
        Message::Open(open.clone()),
        run(0),
        rows(0, 0, &PROMPT, true),
    ];
    let mut session = stream(edge, messages).await;
    assert_eq!(session.token().await.unwrap().ids, expected(1));
    session
}

async fn ends(edge: &Edge, open: v1::Open, code: Code, reason: &str) {
    let mut session = stream(edge, vec![Message::Open(open)]).await;
    by_hand::ends(&mut session, code, reason).await;
}

#[tokio::test]
async fn a_session_is_taken_up_by_its_own_peer_alone() {
    let cloud = cloud().await;
    let cable = cloud.cable_from("10.0.0.1");
    let edge = Edge::at(&cable).await;
    let other = Edge::at(&cloud.cable_from("10.0.0.2")).await;
    let open = open(&edge);
    let session = begun(&edge, &open).await;
    cable.cut();
    ends(&other, again(&open, 1, 4), Code::Aborted, "SESSION_GONE").await;
    let last = expected(1)[0];
    let behind = vec![
        Message::Open(again(&open, 1, 4)),
        run(1),
        rows(1, 4, &[last], true),
    ];
    let mut taken_up = stream(&edge, behind).await;
    let granted = granted(&mut taken_up).await;
    assert!(granted.lease_millis > 0);
    let next = taken_up.token().await.unwrap();
    assert_eq!((next.epoch, next.position), (1, 5));
    assert_eq!(next.ids[..], expected(2)[1..]);
    drop((session, taken_up));
    cloud.is_free().await;
}

#[tokio::test]
async fn a_session_whose_stream_is_believed_to_live_is_taken_up_too() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let open = open(&edge);
    let mut before = begun(&edge, &open).await;
    let mut taken_up = stream(&edge, vec![Message::Open(again(&open, 7, 2))]).await;
    granted(&mut taken_up).await;
    // The old stream ends.
    before.end().await;
    taken_up.send(run(7)).await.unwrap();
    let rest = rows(7, 2, &PROMPT[2..], true);
    taken_up.send(rest).await.unwrap();
    assert_eq!(taken_up.token().await.unwrap().ids, expected(1));
}

#[tokio::test]
async fn what_cannot_be_taken_up_says_why() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let unknown = open(&edge);
    ends(&edge, again(&unknown, 1, 0), Code::Aborted, "SESSION_GONE").await;
    let without = v1::Open {
        features: vec![Feature::Replay.into()],
        ..again(&unknown, 1, 0)
    };
    ends(&edge, without, Code::InvalidArgument, "RESUME").await;
    for (epoch, position, reason) in [(0, 4, "EPOCH"), (1, 5, "OUT_OF_ORDER")] {
        let open = open(&edge);
        let _session = begun(&edge, &open).await;
        let again = again(&open, epoch, position);
        ends(&edge, again, Code::InvalidArgument, reason).await;
    }
    cloud.is_free().await;
}

#[tokio::test]
async fn without_a_lease_the_feature_is_not_served() {
    let none = |config: &mut cloud_service::config::CloudConfig| {
        config.sessions.lease = std::time::Duration::ZERO.into();
    };
    let cloud = LocalCloud::start(none).await;
    let edge = Edge::of(&cloud).await;
    let open = open(&edge);
    ends(&edge, open, Code::Unimplemented, "FEATURE").await;
}

#[tokio::test]
async fn a_session_that_waits_ends_with_a_drain() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let edge = Edge::at(&cable).await;
    let open = open(&edge);
    let session = begun(&edge, &open).await;
    cable.cut();
    cloud.rests().await;
    assert!(cloud.cloud.session_bytes() > 0);
    cloud.drain.signal().begin();
    cloud.is_free().await;
    drop(session);
}
