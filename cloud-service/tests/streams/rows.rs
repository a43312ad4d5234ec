//! Rows and tokens by their positions: in order, again, and in epochs.

use crate::by_hand::{Edge, PROMPT, cloud, expected, granted, run, terms};
use tandem_in_process::{WholeModel, demanding};
use tandem_proto::v1;
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::infer_response::Message as Down;
use tandem_tests::split_session::{SplitSession, rows, truncate};

async fn progress(session: &mut SplitSession) -> u32 {
    match session.receive().await.unwrap() {
        Down::Progress(progress) => progress.received,
        other => panic!("rows that want nothing are acknowledged, and not answered with {other:?}"),
    }
}

#[tokio::test]
async fn nothing_waits_for_the_grant_and_tokens_are_the_models() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    // Everything at once.
    let messages = vec![
        run(0),
        rows(0, 0, &PROMPT[..3], false),
        rows(0, 3, &PROMPT[3..], true),
    ];
    let mut session = edge.session(messages).await;
    let granted = granted(&mut session).await;
    let terms = (
        granted.version,
        granted.codec.as_str(),
        granted.context,
        granted.pages,
    );
    assert_eq!(terms, (1, "f32", 256, 0));
    assert_eq!(progress(&mut session).await, 3);
    let token = session.token().await.unwrap();
    assert_eq!((token.epoch, token.position), (0, 4));
    assert_eq!(token.ids, expected(1));
}

/// The tokens of an answer by these terms behind `ids`, up to its end, and what that was.
async fn answer(edge: &Edge, run: v1::Run, ids: &[u32]) -> (Vec<u32>, v1::FinishReason) {
    let messages = vec![Message::Run(run), rows(0, 0, ids, true)];
    let mut session = edge.session(messages).await;
    let mut tokens = Vec::new();
    loop {
        let token = session.token().await.unwrap();
        tokens.extend(&token.ids);
        if token.finish_reason() != v1::FinishReason::Unspecified {
            return (tokens, token.finish_reason());
        }
        let row = rows(0, token.position, &token.ids, true);
        session.send(row).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_ends_where_its_run_says() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let tokens = expected(3);
    let of_three = v1::Run {
        max_tokens: 3,
        ..terms(0)
    };
    let ended = answer(&edge, of_three, &PROMPT).await;
    assert_eq!(ended, (tokens.clone(), v1::FinishReason::Length));
    let up_to_the_third = v1::Run {
        eos_token_ids: vec![tokens[2]],
        sampling: Some(v1::SamplingParameters {
            ignore_eos: false,
            ..demanding()
        }),
        ..terms(0)
    };
    let ended = answer(&edge, up_to_the_third, &PROMPT).await;
    assert_eq!(ended, (tokens, v1::FinishReason::Stop));
}

#[tokio::test]
async fn an_answer_that_had_another_session_goes_on_as_it_would_have() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let tokens = expected(5);
    let (before, behind) = tokens.split_at(2);
    let run = v1::Run {
        max_tokens: 5,
        answered: 2,
        ..terms(0)
    };
    let ended = answer(&edge, run, &[&PROMPT, before].concat()).await;
    assert_eq!(ended, (behind.to_vec(), v1::FinishReason::Length));
}

#[tokio::test]
async fn rows_that_come_again_do_not_run_again() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut answering = edge.answering().await;
    answering.reaches(2).await;
    let ran = cloud.faults.rows();
    assert_eq!(ran, PROMPT.len() + 1);
    let session = &mut answering.session;
    // Tokens that were sampled are answered from the record.
    for (position, expected) in [(3, answering.tokens[0]), (4, answering.tokens[1])] {
        let id = [PROMPT[3], answering.tokens[0]][position as usize - 3];
        session.send(rows(0, position, &[id], true)).await.unwrap();
        let token = session.token().await.unwrap();
        assert_eq!((token.position, token.ids), (position + 1, vec![expected]));
    }
    // Rows that are known are acknowledged.
    session.send(rows(0, 0, &PROMPT, false)).await.unwrap();
    assert_eq!(progress(session).await, 5);
    assert_eq!(cloud.faults.rows(), ran);
    // Of rows that overlap, those run that are new.
    let overlapping = [PROMPT[3], answering.tokens[0], answering.tokens[1]];
    session.send(rows(0, 3, &overlapping, true)).await.unwrap();
    let token = session.token().await.unwrap();
    assert_eq!((token.position, token.ids), (6, vec![expected(3)[2]]));
    assert_eq!(cloud.faults.rows(), ran + 1);
}

#[tokio::test]
async fn a_request_that_comes_again_while_it_runs_is_answered_once() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut session = edge.session(vec![run(0)]).await;
    let held = cloud.faults.hold();
    session.send(rows(0, 0, &PROMPT, true)).await.unwrap();
    held.has_one().await;
    session.send(rows(0, 3, &PROMPT[3..], true)).await.unwrap();
    let ping = v1::Ping {
        nonce: 1,
        ..v1::Ping::default()
    };
    session.send(Message::Ping(ping)).await.unwrap();
    // The cloud has read it all when it answers this.
    while !matches!(session.receive().await.unwrap(), Down::Pong(_)) {}
    drop(held);
    assert_eq!(session.token().await.unwrap().position, 4);
    session.send(Message::Close(v1::Close {})).await.unwrap();
    assert_eq!(session.end().await.code(), tonic::Code::Ok);
    assert_eq!(cloud.faults.rows(), PROMPT.len());
}

#[tokio::test]
async fn a_truncation_and_a_token_that_cross_do_no_harm() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut session = edge.session(vec![run(0)]).await;
    let held = cloud.faults.hold();
    session.send(rows(0, 0, &PROMPT, true)).await.unwrap();
    held.has_one().await;
    // The first token is being sampled when the edge takes its last two rows back and says others.
    let other = [PROMPT[0], PROMPT[1], 70, 80];
    for message in [
        truncate(1, 2),
        run(1),
        rows(0, 4, &[1], true),
        rows(1, 2, &other[2..], true),
    ] {
        session.send(message).await.unwrap();
    }
    drop(held);
    let old = session.token().await.unwrap();
    assert_eq!((old.epoch, old.position), (0, 4));
    let new = session.token().await.unwrap();
    assert_eq!((new.epoch, new.position), (1, 4));
    let mut model = WholeModel::load();
    let answer = model.answer(&other, 2);
    assert_eq!(new.ids, answer[..1]);
    session.send(rows(1, 4, &new.ids, true)).await.unwrap();
    assert_eq!(session.token().await.unwrap().ids, answer[1..]);
    // What belonged to the older epoch was not run.
    assert_eq!(cloud.faults.rows(), PROMPT.len() + 2 + 1);
}

#[tokio::test]
async fn a_truncation_keeps_the_record_up_to_its_position() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut answering = edge.answering().await;
    answering.reaches(3).await;
    let session = &mut answering.session;
    session.send(truncate(1, 5)).await.unwrap();
    session
        .send(rows(1, 4, &answering.tokens[..1], true))
        .await
        .unwrap();
    let again = session.token().await.unwrap();
    assert_eq!(
        (again.epoch, again.position, again.ids),
        (1, 5, vec![answering.tokens[1]])
    );
}

#[tokio::test]
async fn pings_are_answered_while_a_step_runs() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut session = edge.session(vec![run(0)]).await;
    granted(&mut session).await;
    let held = cloud.faults.hold();
    session.send(rows(0, 0, &PROMPT[..1], true)).await.unwrap();
    held.has_one().await;
    let ping = v1::Ping {
        nonce: 42,
        padding: vec![0; 1000],
        reply_bytes: 77,
    };
    session.send(Message::Ping(ping)).await.unwrap();
    let pong = v1::Pong {
        nonce: 42,
        padding: vec![0; 77],
    };
    assert_eq!(session.receive().await.unwrap(), Down::Pong(pong));
    drop(held);
    assert_eq!(session.token().await.unwrap().position, 1);
}
