//! An answer ends with its client, its deadline or the drain, and frees what it held.

use crate::asking::{LocalEdge, PROMPT, cloud, request};
use edge_agent::answer::AnswerEvent;
use edge_agent::answer_service::Call;
use edge_agent::error::{AnswerError, RequestError};
use edge_agent::several::{self, Several};
use std::time::Duration;
use tandem_in_process::StoppedClock;
use tandem_proto::v1::FinishReason;
use tandem_server::drain::Drained;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};

fn code(error: &AnswerError) -> Code {
    Status::from(error).code()
}

#[tokio::test]
async fn a_client_that_goes_away_frees_what_its_answer_held() {
    let cloud = cloud().await;
    let edge = LocalEdge::start(&cloud.cable(), |config| config.sessions.max = 1).await;
    let mut answer = edge.begin(request(&PROMPT, 200)).await.unwrap();
    answer.reaches(2).await;
    // Also while a step of its runs.
    let held = cloud.faults.hold();
    held.has_one().await;
    drop(answer);
    drop(held);
    cloud.is_free().await;
    while edge.drain.signal().in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    // The place at the edge is free too.
    edge.answer(request(&PROMPT, 3)).await;
}

#[tokio::test]
async fn an_answer_ends_at_its_clients_deadline() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let clock = StoppedClock::stop();
    let mut request = request(&PROMPT, 200);
    request.deadline = Some(Instant::now() + Duration::from_secs(60));
    let mut answer = edge.begin(request).await.unwrap();
    answer.reaches(2).await;
    let held = cloud.faults.hold();
    held.has_one().await;
    clock.advance(Duration::from_secs(61)).await;
    let error = answer.ends().await.unwrap_err();
    assert_eq!(code(&error), Code::DeadlineExceeded);
    drop(held);
    cloud.is_free().await;
}

#[tokio::test]
async fn an_answer_ends_when_its_time_is_up_though_its_client_has_more() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let clock = StoppedClock::stop();
    let mut request = request(&PROMPT, 200);
    request.deadline = Some(Instant::now() + Duration::from_secs(600));
    request.ends = Some(Instant::now() + Duration::from_secs(60));
    let mut answer = edge.begin(request).await.unwrap();
    answer.reaches(2).await;
    let held = cloud.faults.hold();
    held.has_one().await;
    clock.advance(Duration::from_secs(61)).await;
    let error = answer.ends().await.unwrap_err();
    assert_eq!(code(&error), Code::DeadlineExceeded);
    drop(held);
    cloud.is_free().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_keeps_nobody_out() {
    let cloud = cloud().await;
    let edge = LocalEdge::start(&cloud.cable(), |config| config.sessions.max = 1).await;
    let mut unread = edge.begin(request(&PROMPT, 200)).await.unwrap();
    unread.reaches(2).await;
    let clock = StoppedClock::stop();
    // As many tokens as may wait are made, which takes the engine's thread its time, and no more.
    let began = Instant::now();
    while cloud.cloud.session_bytes() > 0 || edge.drain.signal().in_flight() > 0 {
        assert!(began.elapsed() < Duration::from_secs(3600), "it is kept");
        clock.advance(Duration::from_secs(1)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(60));
    drop(clock);
    edge.answer(request(&PROMPT, 3)).await;
    let error = unread.ends().await.unwrap_err();
    assert!(matches!(error, AnswerError::NotRead), "{error}");
}

#[tokio::test]
async fn a_drain_lets_answers_end_and_none_begin() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let mut answer = edge.begin(request(&PROMPT, 20)).await.unwrap();
    answer.reaches(2).await;
    edge.drain.signal().begin();
    let refused = edge.begin(request(&PROMPT, 20)).await.unwrap_err();
    assert!(matches!(refused, AnswerError::Draining), "{refused}");
    answer.ends().await.unwrap();
    assert_eq!(answer.finished().finish_reason(), FinishReason::Length);
    assert_eq!(edge.drain.finished().await, Drained::Clean);
}

#[tokio::test]
async fn a_drain_lets_all_answers_of_a_request_end() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let one = request(&PROMPT, 20);
    let several = Several::new(one.peer, vec![one.prompt], 12, one.terms);
    let headers = HeaderMap::new();
    let call = Call {
        name: "generate",
        headers: &headers,
    };
    let reading = std::future::ready(Ok((several, ())));
    let begun = several::begin(&edge.service, call, reading).await;
    let (mut events, ()) = begun.unwrap();
    assert!(events.next().await.unwrap().1.is_ok());
    edge.drain.signal().begin();
    let mut ended = 0;
    while let Some((_, event)) = events.next().await {
        ended += usize::from(matches!(event.unwrap(), AnswerEvent::Finished(_)));
    }
    assert_eq!(ended, 12);
    drop(events);
    assert_eq!(edge.drain.finished().await, Drained::Clean);
}

#[tokio::test]
async fn a_drain_ends_answers_at_its_deadline() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let mut answer = edge.begin(request(&PROMPT, 200)).await.unwrap();
    answer.reaches(2).await;
    let held = cloud.faults.hold();
    held.has_one().await;
    let clock = StoppedClock::stop();
    edge.drain.signal().begin();
    let (drained, ()) = tokio::join!(
        edge.drain.finished(),
        clock.advance(Duration::from_secs(3600))
    );
    assert_eq!(drained, Drained::Late { unfinished: 1 });
    let error = answer.ends().await.unwrap_err();
    assert!(matches!(error, AnswerError::Draining), "{error}");
}

#[tokio::test]
async fn as_many_answers_are_made_as_may() {
    let cloud = cloud().await;
    let edge = LocalEdge::start(&cloud.cable(), |config| config.sessions.max = 1).await;
    let mut first = edge.begin(request(&PROMPT, 40)).await.unwrap();
    first.reaches(1).await;
    let mut second = edge.begin(request(&PROMPT, 40)).await.unwrap();
    let error = second.ends().await.unwrap_err();
    assert!(matches!(error, AnswerError::AllRunning(_)), "{error}");
    first.ends().await.unwrap();
    assert_eq!(first.tokens.len(), 40);
}

#[tokio::test]
async fn a_prompt_that_leaves_no_room_for_an_answer_is_refused() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let mut answer = edge.begin(request(&[40; 256], 1)).await.unwrap();
    let error = answer.ends().await.unwrap_err();
    assert!(
        matches!(
            error,
            AnswerError::Request(RequestError::PromptTooLong { .. })
        ),
        "{error}"
    );
    assert_eq!(cloud.faults.rows(), 0);
    let answer = edge.answer(request(&[40; 255], 10)).await;
    assert_eq!(answer.tokens.len(), 1);
    assert_eq!(answer.finished().finish_reason(), FinishReason::Length);
}
