//! Who may open a session, and who gives way when there is no room.

use crate::by_hand::{Edge, PROMPT, cloud, ends, granted, run};
use tandem_config::ByteSize;
use tandem_in_process::LocalCloud;
use tandem_proto::v1::infer_request::Message;
use tandem_status::retry_after;
use tandem_tests::client::assert_refused;
use tandem_tests::split_session::{SplitSession, rows};
use tonic::{Code, Status};

/// A cloud of so many sessions.
async fn cloud_of(sessions: usize) -> LocalCloud {
    LocalCloud::start(|config| config.sessions.max = sessions).await
}

/// What a session is refused with.
async fn refusal(edge: &Edge) -> Status {
    edge.session(Vec::new()).await.end().await
}

#[tokio::test]
async fn a_conversation_between_two_answers_gives_way() {
    let cloud = cloud_of(2).await;
    let edge = Edge::of(&cloud).await;
    let mut kept = edge.kept().await;
    let mut answering = edge.answering().await;
    edge.answering().await.reaches(3).await;
    ends(&mut kept, Code::Aborted, "EVICTED").await;
    answering.reaches(3).await;
}

#[tokio::test]
async fn an_answer_does_not_give_way_and_who_comes_is_told_when_to_come_again() {
    let cloud = cloud_of(1).await;
    let edge = Edge::of(&cloud).await;
    let mut answering = edge.answering().await;
    let refused = refusal(&edge).await;
    assert!(retry_after(&refused).is_some());
    assert_refused(Err::<(), _>(refused), Code::ResourceExhausted, "SESSIONS");
    answering.reaches(3).await;
    // Room is made by its end.
    drop(answering);
    cloud.is_free().await;
    edge.answering().await.reaches(2).await;
}

#[tokio::test]
async fn an_answer_that_can_move_gives_way_to_a_peer_that_has_fewer() {
    let cloud = cloud_of(2).await;
    let many = Edge::that_replays(&cloud.cable_from("10.0.0.1")).await;
    let none = Edge::that_replays(&cloud.cable_from("10.0.0.2")).await;
    let mut first = many.answering().await;
    let mut second = many.answering().await;
    // A peer that has as many as it would have leaves it none.
    let refused = refusal(&many).await;
    assert_refused(Err::<(), _>(refused), Code::ResourceExhausted, "SESSIONS");
    let mut new = none.answering().await;
    ends(&mut second.session, Code::Aborted, "EVICTED").await;
    first.reaches(3).await;
    new.reaches(3).await;
}

#[tokio::test]
async fn memory_is_made_by_conversations_between_two_answers() {
    // For the whole context of one session.
    let bytes = cloud().await.cloud.loaded.kv_sizes.bytes(0, 256);
    let cloud = LocalCloud::start(|config| {
        config.sessions.kv_memory = ByteSize::bytes(bytes + 1);
    })
    .await;
    let edge = Edge::of(&cloud).await;
    let mut kept = edge.kept().await;
    let mut answering = edge.answering().await;
    ends(&mut kept, Code::Aborted, "EVICTED").await;
    let refused = refusal(&edge).await;
    assert_refused(Err::<(), _>(refused), Code::ResourceExhausted, "KV_MEMORY");
    answering.reaches(2).await;
}

#[tokio::test]
async fn a_peer_has_limits_of_its_own() {
    let cloud = LocalCloud::start(|config| config.sessions.per_peer.max = 1).await;
    let edge = Edge::at(&cloud.cable_from("10.0.0.1")).await;
    let same_peer = Edge::at(&cloud.cable_from("10.0.0.1")).await;
    let other = Edge::at(&cloud.cable_from("10.0.0.2")).await;
    let mut answering = edge.answering().await;
    let refused = refusal(&same_peer).await;
    assert_refused(Err::<(), _>(refused), Code::ResourceExhausted, "SESSIONS");
    other.answering().await.reaches(2).await;
    answering.reaches(2).await;
}

#[tokio::test]
async fn streams_that_open_nothing_are_limited() {
    let cloud = LocalCloud::start(|config| config.sessions.per_peer.max_opening = 1).await;
    let edge = Edge::of(&cloud).await;
    let opening = SplitSession::of(&edge.client, Vec::new()).await.unwrap();
    let refused = refusal(&edge).await;
    assert_refused(Err::<(), _>(refused), Code::ResourceExhausted, "SESSIONS");
    // Who has opened its session does not count any more.
    opening.send(Message::Open(edge.open())).await.unwrap();
    let mut opened = opening;
    granted(&mut opened).await;
    edge.answering().await.reaches(2).await;
}

#[tokio::test]
async fn an_id_is_a_peers_own() {
    let cloud = cloud().await;
    let edge = Edge::at(&cloud.cable_from("10.0.0.1")).await;
    let other = Edge::at(&cloud.cable_from("10.0.0.2")).await;
    let open = edge.open();
    let messages = vec![Message::Open(open.clone())];
    let mut session = SplitSession::of(&edge.client, messages.clone())
        .await
        .unwrap();
    granted(&mut session).await;
    let mut again = SplitSession::of(&edge.client, messages.clone())
        .await
        .unwrap();
    ends(&mut again, Code::AlreadyExists, "SESSION_ID").await;
    let mut elsewhere = SplitSession::of(&other.client, messages).await.unwrap();
    granted(&mut elsewhere).await;
    other.answering().await.reaches(2).await;
    // The first has lost nothing.
    session.send(run(0)).await.unwrap();
    session.send(rows(0, 0, &PROMPT, true)).await.unwrap();
    assert_eq!(session.token().await.unwrap().position, 4);
}
