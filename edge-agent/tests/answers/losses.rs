//! What goes wrong with the cloud, as a client of the edge sees it.

use crate::asking::{LocalEdge, PROMPT, cloud, expected, request};
use tandem_in_process::Cable;
use tonic::{Code, Status};

#[tokio::test]
async fn a_client_sees_nothing_of_a_connection_that_broke() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let edge = LocalEdge::start(&cable, |_| {}).await;
    let mut answer = edge.begin(request(&PROMPT, 80)).await.unwrap();
    answer.reaches(3).await;
    let held = cloud.faults.hold();
    held.has_one().await;
    cable.cut();
    drop(held);
    answer.ends().await.unwrap();
    assert_eq!(answer.tokens, expected(&PROMPT, 80));
    // Its session was taken up again.
    assert_eq!(answer.finished().replays, 0);
    assert!(answer.finished().exact);
}

#[tokio::test]
async fn a_cloud_that_is_away_is_said_to_be_and_found_when_it_comes() {
    let cable = Cable::local();
    let edge = LocalEdge::start(&cable, |_| {}).await;
    let mut answer = edge.begin(request(&PROMPT, 3)).await.unwrap();
    let error = answer.ends().await.unwrap_err();
    assert_eq!(Status::from(&error).code(), Code::Unavailable);
    let cloud = cloud().await;
    cable.plug_in(&cloud);
    let answer = edge.answer(request(&PROMPT, 3)).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 3));
}

#[tokio::test]
async fn a_step_that_panics_in_the_cloud_fails_its_answer_and_no_other() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let other = [50, 51];
    let mut good = edge.begin(request(&other, 6)).await.unwrap();
    let mut bad = edge.begin(request(&PROMPT, 60)).await.unwrap();
    bad.reaches(2).await;
    good.ends().await.unwrap();
    cloud.faults.panic_at(50);
    let error = bad.ends().await.unwrap_err();
    assert_eq!(Status::from(&error).code(), Code::Internal);
    // What had come before is right, and so is what comes next.
    assert_eq!(
        bad.tokens,
        expected(&PROMPT, 50 - PROMPT.len() + 1)[..bad.tokens.len()]
    );
    assert_eq!(good.tokens, expected(&other, 6));
    let next = edge.answer(request(&PROMPT, 60)).await;
    assert_eq!(next.tokens, expected(&PROMPT, 60));
}
