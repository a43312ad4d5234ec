//! Rows of tokens that the edge only guesses.

use crate::by_hand::{Edge, PROMPT, cloud, expected, run, terms};
use tandem_in_process::LocalCloud;
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::{self, Feature};
use tandem_tests::client::assert_refused;
use tandem_tests::split_session::{SplitSession, rows, truncate};
use tonic::Code;

/// Rows that want a token each.
fn each(epoch: u32, start: u32, ids: &[u32]) -> Message {
    Message::Rows(v1::Rows {
        epoch,
        start,
        count: u32::try_from(ids.len()).unwrap(),
        token_ids: ids.to_vec(),
        want: v1::Want::EachToken.into(),
        ..v1::Rows::default()
    })
}

/// A session that may send drafts and has asked for the first token.
async fn drafting(cloud: &LocalCloud, run: v1::Run) -> SplitSession {
    let edge = Edge::of(cloud).await;
    let open = v1::Open {
        features: vec![Feature::Drafts.into()],
        ..edge.open()
    };
    let messages = vec![
        Message::Open(open),
        Message::Run(run),
        rows(0, 0, &PROMPT, true),
    ];
    SplitSession::of(&edge.client, messages).await.unwrap()
}

async fn next(session: &mut SplitSession) -> (u32, u32, Vec<u32>) {
    let tokens = session.token().await.unwrap();
    (tokens.epoch, tokens.position, tokens.ids)
}

#[tokio::test]
async fn drafts_that_are_right_come_with_the_token_behind_them() {
    let cloud = cloud().await;
    let said = expected(9);
    let mut session = drafting(&cloud, terms(0)).await;
    assert_eq!(next(&mut session).await, (0, 4, vec![said[0]]));
    session.send(each(0, 4, &said[..4])).await.unwrap();
    assert_eq!(next(&mut session).await, (0, 5, said[1..5].to_vec()));
    // One that was not guessed, and several on their way at once.
    session.send(each(0, 8, &said[4..5])).await.unwrap();
    session.send(each(0, 9, &said[5..7])).await.unwrap();
    session.send(each(0, 11, &said[7..8])).await.unwrap();
    // Those that came while the first was run are run together.
    let mut tokens = Vec::new();
    while tokens.len() < 4 {
        let (epoch, first, ids) = next(&mut session).await;
        assert_eq!((epoch, first as usize), (0, 9 + tokens.len()));
        tokens.extend(ids);
    }
    assert_eq!(tokens, said[5..9]);
}

#[tokio::test]
async fn behind_a_draft_that_is_wrong_an_epoch_begins() {
    let cloud = cloud().await;
    let said = expected(6);
    let mut session = drafting(&cloud, terms(0)).await;
    assert_eq!(next(&mut session).await, (0, 4, vec![said[0]]));
    let wrong = (said[2] + 1) % 300;
    let guesses = [said[0], said[1], wrong, said[3]];
    session.send(each(0, 4, &guesses)).await.unwrap();
    // What was sent behind it is not run.
    session.send(each(0, 8, &said[4..5])).await.unwrap();
    assert_eq!(next(&mut session).await, (0, 5, said[1..3].to_vec()));
    let ran = cloud.faults.rows();
    session.send(each(1, 6, &said[2..4])).await.unwrap();
    assert_eq!(next(&mut session).await, (1, 7, said[3..5].to_vec()));
    assert_eq!(cloud.faults.rows() - ran, 2);
    // The row of a token that is known to be another one comes too late as well.
    session.send(each(1, 8, &[wrong])).await.unwrap();
    session.send(each(2, 8, &said[4..5])).await.unwrap();
    assert_eq!(next(&mut session).await, (2, 9, vec![said[5]]));
}

#[tokio::test]
async fn a_truncate_begins_any_later_epoch() {
    let cloud = cloud().await;
    let said = expected(3);
    let mut session = drafting(&cloud, terms(0)).await;
    next(&mut session).await;
    session.send(each(0, 4, &[said[0], 7])).await.unwrap();
    // The edge does not know that the draft was wrong.
    let behind = vec![
        truncate(2, 5),
        run(2),
        rows(2, 5, &[said[1]], true),
        truncate(7, 5),
        run(7),
        rows(7, 5, &[said[1]], true),
    ];
    for message in behind {
        session.send(message).await.unwrap();
    }
    assert_eq!(next(&mut session).await, (0, 5, vec![said[1]]));
    assert_eq!(next(&mut session).await.0, 2);
    assert_eq!(next(&mut session).await.0, 7);
    session.send(truncate(7, 4)).await.unwrap();
    assert_refused(
        Err::<(), _>(session.end().await),
        Code::InvalidArgument,
        "EPOCH",
    );
}

#[tokio::test]
async fn drafts_behind_the_last_token_are_dropped() {
    let cloud = cloud().await;
    let said = expected(5);
    let three = v1::Run {
        max_tokens: 3,
        ..terms(0)
    };
    let mut session = drafting(&cloud, three).await;
    next(&mut session).await;
    session.send(each(0, 4, &said[..5])).await.unwrap();
    let last = session.token().await.unwrap();
    assert_eq!((last.position, &last.ids[..]), (5, &said[1..3]));
    assert_eq!(last.finish_reason(), v1::FinishReason::Length);
    // The rows of the answer's own tokens are there, in the epoch that begins behind them.
    session.send(run(1)).await.unwrap();
    session.send(rows(1, 6, &said[2..4], true)).await.unwrap();
    assert_eq!(next(&mut session).await.1, 8);
}

#[tokio::test]
async fn what_is_no_draft_is_refused() {
    let cloud = cloud().await;
    let refused = async |message: Message, reason: &str| {
        let mut session = drafting(&cloud, terms(0)).await;
        next(&mut session).await;
        session.send(message).await.unwrap();
        let status = Err::<(), _>(session.end().await);
        assert_refused(status, Code::InvalidArgument, reason);
    };
    let nameless = Message::Rows(v1::Rows {
        start: 4,
        count: 2,
        token_ids: vec![5],
        want: v1::Want::EachToken.into(),
        ..v1::Rows::default()
    });
    refused(nameless, "ROWS").await;
    refused(each(0, 4, &[5; 33]), "ROWS").await;
    refused(each(0, 3, &[5; 2]), "OUT_OF_ORDER").await;
    refused(each(0, 5, &[5]), "OUT_OF_ORDER").await;
    refused(each(1, 4, &[5]), "EPOCH").await;
    let edge = Edge::of(&cloud).await;
    let mut plain = edge.answering().await.session;
    plain.send(each(0, 4, &[5])).await.unwrap();
    let status = Err::<(), _>(plain.end().await);
    assert_refused(status, Code::InvalidArgument, "ROWS");
    cloud.is_free().await;
}

#[tokio::test]
async fn a_token_must_be_wanted_before_drafts_follow() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let open = v1::Open {
        features: vec![Feature::Drafts.into()],
        ..edge.open()
    };
    let messages = vec![
        Message::Open(open),
        run(0),
        rows(0, 0, &PROMPT, false),
        each(0, 4, &[5]),
    ];
    let mut session = SplitSession::of(&edge.client, messages).await.unwrap();
    assert_refused(
        Err::<(), _>(session.end().await),
        Code::InvalidArgument,
        "NOT_SAMPLED",
    );
}
