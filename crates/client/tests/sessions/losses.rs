//! An answer whose session is lost goes on in another one, with the same tokens.

use crate::asking::{Answer, PROMPT, asked, expected};
use std::time::Duration;
use tandem_client::{CloudError, ReplayTerms, Retry, SessionError};
use tandem_in_process::{ClientOptions, LocalCloud, client};
use tonic::Code;

/// A cloud that keeps no session whose stream broke.
async fn cloud() -> LocalCloud {
    LocalCloud::start(|config| config.sessions.lease = Duration::ZERO.into()).await
}

fn options(split: usize) -> ClientOptions {
    ClientOptions {
        split,
        ..ClientOptions::default()
    }
}

#[tokio::test]
async fn tokens_are_the_models_wherever_it_is_cut() {
    let cloud = cloud().await;
    let expected = expected(&PROMPT, 8);
    for split in 0..=3 {
        let client = client(&cloud.cable(), options(split)).await;
        let mut answer = Answer::to(&client, &PROMPT).await;
        answer.reaches(8).await;
        assert_eq!(answer.tokens, expected, "split {split}");
        assert_eq!(answer.generation.replays(), 0);
    }
    cloud.is_free().await;
}

#[tokio::test]
async fn an_answer_goes_on_when_its_connection_breaks() {
    let cloud = cloud().await;
    let expected = expected(&PROMPT, 8);
    for split in [0, 2] {
        let cable = cloud.cable();
        let client = client(&cable, options(split)).await;
        let mut answer = Answer::to(&client, &PROMPT).await;
        for tokens in [2, 5] {
            answer.reaches(tokens).await;
            cable.cut();
        }
        answer.reaches(8).await;
        assert_eq!(answer.tokens, expected, "split {split}");
        assert_eq!(answer.generation.replays(), 2);
    }
    cloud.is_free().await;
}

#[tokio::test]
async fn a_token_that_is_lost_on_its_way_is_sampled_again() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let client = client(&cable, options(1)).await;
    let mut answer = Answer::to(&client, &PROMPT).await;
    let held = cloud.faults.hold();
    let (next, ()) = tokio::join!(answer.next(), async {
        held.has_one().await;
        cable.cut();
        drop(held);
    });
    next.unwrap();
    answer.reaches(4).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 4));
    assert_eq!(answer.generation.replays(), 1);
}

#[tokio::test]
async fn a_prompt_that_is_lost_on_its_way_is_sent_again() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let client = client(&cable, options(1)).await;
    let held = cloud.faults.hold();
    let (answer, ()) = tokio::join!(Answer::begin(&client, asked(&PROMPT), None), async {
        held.has_one().await;
        cable.cut();
        drop(held);
    });
    let mut answer = answer.unwrap();
    answer.reaches(3).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 3));
}

#[tokio::test]
async fn the_time_to_find_a_session_begins_anew_when_one_that_was_found_is_lost() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let options = ClientOptions::default();
    let within = Duration::from_millis(600);
    let options = ClientOptions {
        replay: ReplayTerms {
            within,
            ..options.replay
        },
        ..options
    };
    let client = client(&cable, options).await;
    let mut answer = Answer::to(&client, &PROMPT).await;
    let held = cloud.faults.hold();
    let (next, ()) = tokio::join!(answer.next(), async {
        held.has_one().await;
        cable.cut();
        // The one that it goes on in gets no turn for longer than that.
        tokio::time::sleep(within + within / 2).await;
        cable.cut();
        drop(held);
    });
    next.unwrap();
    answer.reaches(4).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 4));
}

#[tokio::test]
async fn an_answer_goes_on_with_another_cloud() {
    let (first, second) = (cloud().await, cloud().await);
    let cable = first.cable();
    let client = client(&cable, options(1)).await;
    let mut answer = Answer::to(&client, &PROMPT).await;
    answer.reaches(3).await;
    cable.plug_in(&second);
    cable.cut();
    answer.reaches(6).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 6));
    assert!(answer.generation.is_exact());
    assert!(second.faults.rows() > PROMPT.len());
    first.is_free().await;
}

#[tokio::test]
async fn an_answer_that_had_to_give_way_goes_on() {
    let cloud = LocalCloud::start(|config| config.sessions.max = 2).await;
    let many = client(&cloud.cable_from("10.0.0.1"), options(1)).await;
    let other = client(&cloud.cable_from("10.0.0.2"), options(1)).await;
    let mut stays = Answer::to(&many, &PROMPT).await;
    let mut moves = Answer::to(&many, &PROMPT).await;
    let other = Answer::to(&other, &PROMPT).await;
    drop(other);
    moves.reaches(5).await;
    stays.reaches(5).await;
    let expected = expected(&PROMPT, 5);
    assert_eq!((moves.tokens, stays.tokens), (expected.clone(), expected));
    assert_eq!(moves.generation.replays(), 1);
    assert_eq!(stays.generation.replays(), 0);
}

#[tokio::test]
async fn attempts_have_an_end() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let few = ClientOptions {
        replay: ReplayTerms {
            within: Duration::from_secs(60),
            attempts: 1,
            only_exact: false,
        },
        ..options(1)
    };
    let client = client(&cable, few).await;
    let mut answer = Answer::to(&client, &PROMPT).await;
    cable.pull_out();
    let error = answer.next().await.unwrap_err();
    assert!(
        matches!(&error, SessionError::Cloud(CloudError::Unreachable { .. })),
        "{error}"
    );
    assert_eq!(answer.generation.replays(), 1);
}

#[tokio::test]
async fn without_replay_a_lost_session_is_the_end() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let never = ClientOptions {
        replay: ReplayTerms {
            within: Duration::ZERO,
            attempts: 30,
            only_exact: false,
        },
        ..options(1)
    };
    let client = client(&cable, never).await;
    let mut answer = Answer::to(&client, &PROMPT).await;
    cable.cut();
    let error = answer.next().await.unwrap_err();
    assert!(error.is_loss(), "{error}");
    assert_eq!(answer.generation.replays(), 0);
}

#[tokio::test]
async fn what_failed_in_the_cloud_is_not_tried_again() {
    let cloud = cloud().await;
    let client = client(&cloud.cable(), options(1)).await;
    let mut answer = Answer::to(&client, &PROMPT).await;
    answer.reaches(2).await;
    cloud.faults.panic_at(PROMPT.len() + 1);
    let error = answer.next().await.unwrap_err();
    let SessionError::Cloud(CloudError::Status(status)) = &error else {
        panic!("the cloud says so itself: {error}");
    };
    assert_eq!(status.code, Code::Internal);
    assert_eq!(error.retry(), Retry::Never);
    assert_eq!(answer.generation.replays(), 0);
    let mut next = Answer::to(&client, &PROMPT).await;
    next.reaches(4).await;
    assert_eq!(next.tokens, expected(&PROMPT, 4));
}
