//! The turns of a conversation: a kept session runs what is new of a prompt.

use crate::asking::{Answer, PROMPT, asked, client_of, cloud, conversation, expected};
use std::time::Duration;
use tandem_client::Kept;
use tandem_in_process::{ClientOptions, LocalCloud, client};

/// A prompt that goes on from another one and what was answered to it.
fn next_turn(prompt: &[u32], answer: &[u32]) -> Vec<u32> {
    [prompt, answer, &[90, 91, 92]].concat()
}

#[tokio::test]
async fn each_turn_runs_what_is_new() {
    let cloud = cloud().await;
    for split in [0, 1] {
        let options = ClientOptions {
            split,
            ..ClientOptions::default()
        };
        let client = client(&cloud.cable(), options).await;
        let mut answer = Answer::to(&client, &PROMPT).await;
        answer.reaches(5).await;
        let mut prompt = PROMPT.to_vec();
        for _ in 0..3 {
            prompt = next_turn(&prompt, &answer.tokens);
            let session = answer.end().await;
            // The row of the last token never went up.
            let shared = prompt.len() - 4;
            assert_eq!(session.tokens(), &prompt[..shared]);
            let ran = cloud.faults.rows();
            let kept = Kept { session, shared };
            answer = Answer::begin(&client, asked(&prompt), Some(kept))
                .await
                .unwrap();
            assert_eq!(answer.generation.reused(), shared);
            assert_eq!(cloud.faults.rows() - ran, 4, "split {split}");
            answer.reaches(5).await;
            assert_eq!(answer.tokens, expected(&prompt, 5), "split {split}");
        }
    }
}

#[tokio::test]
async fn a_turn_that_differs_goes_on_from_where_it_does() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let session = conversation(&client, &PROMPT, 6).await;
    let shared = 4;
    let prompt = [&PROMPT[..shared], &[100, 101, 102]].concat();
    let kept = Kept { session, shared };
    let answer = Answer::begin(&client, asked(&prompt), Some(kept)).await;
    let mut answer = answer.unwrap();
    answer.reaches(5).await;
    assert_eq!(answer.tokens, expected(&prompt, 5));
    assert_eq!(answer.generation.reused(), shared);
}

#[tokio::test]
async fn the_same_prompt_again_runs_its_last_row() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let session = conversation(&client, &PROMPT, 3).await;
    let ran = cloud.faults.rows();
    let kept = Kept {
        session,
        shared: PROMPT.len(),
    };
    let answer = Answer::begin(&client, asked(&PROMPT), Some(kept)).await;
    assert_eq!(cloud.faults.rows() - ran, 1);
    let mut answer = answer.unwrap();
    answer.reaches(4).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 4));
}

#[tokio::test]
async fn a_kept_session_that_the_cloud_gave_up_is_another_one() {
    let cloud = LocalCloud::start(|config| config.sessions.max = 1).await;
    let client = client_of(&cloud).await;
    let session = conversation(&client, &PROMPT, 3).await;
    // It takes the place of the kept one, and leaves it.
    drop(Answer::to(&client, &PROMPT).await);
    cloud.is_free().await;
    let kept = Kept { session, shared: 5 };
    let answer = Answer::begin(&client, asked(&PROMPT), Some(kept)).await;
    let mut answer = answer.unwrap();
    assert_eq!(answer.generation.reused(), 0);
    answer.reaches(4).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 4));
}

#[tokio::test]
async fn a_kept_session_whose_connection_broke_is_another_one() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let client = client(&cable, ClientOptions::default()).await;
    let session = conversation(&client, &PROMPT, 3).await;
    cable.cut();
    let kept = Kept { session, shared: 5 };
    let answer = Answer::begin(&client, asked(&PROMPT), Some(kept)).await;
    let mut answer = answer.unwrap();
    answer.reaches(4).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 4));
}

#[tokio::test]
async fn a_turn_whose_session_is_lost_goes_on_in_another_one() {
    let cloud = LocalCloud::start(|config| config.sessions.lease = Duration::ZERO.into()).await;
    let cable = cloud.cable();
    let client = client(&cable, ClientOptions::default()).await;
    let session = conversation(&client, &PROMPT, 3).await;
    let kept = Kept { session, shared: 5 };
    let answer = Answer::begin(&client, asked(&PROMPT), Some(kept)).await;
    let mut answer = answer.unwrap();
    answer.reaches(2).await;
    cable.cut();
    answer.reaches(5).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 5));
    assert_eq!(answer.generation.replays(), 1);
}
