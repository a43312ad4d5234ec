//! What goes wrong in a step is its session's own.

use crate::by_hand::{Edge, cloud, ends};
use tonic::Code;

#[tokio::test]
async fn a_panic_ends_its_session_and_no_other() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut bad = edge.answering().await;
    let mut good = edge.answering().await;
    good.reaches(2).await;
    let mut also_good = edge.answering().await;
    also_good.reaches(3).await;
    cloud.faults.panic_at(4);
    // All three run together, behind a step of one of them.
    let held = cloud.faults.hold();
    also_good.ask().await;
    held.has_one().await;
    bad.ask().await;
    good.ask().await;
    drop(held);
    also_good.arrives().await.unwrap();
    good.arrives().await.unwrap();
    ends(&mut bad.session, Code::Internal, "STEP_FAILED").await;
    good.reaches(5).await;
    also_good.reaches(6).await;
    // Nor does it cost those that come.
    edge.answering().await.reaches(4).await;
}

#[tokio::test]
async fn a_step_that_fails_ends_its_session_and_no_other() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut good = edge.answering().await;
    good.reaches(3).await;
    let mut bad = edge.answering().await;
    cloud.faults.fail_at(4);
    bad.ask().await;
    ends(&mut bad.session, Code::Internal, "STEP_FAILED").await;
    good.reaches(5).await;
}

#[tokio::test]
async fn what_failed_leaves_no_memory_behind() {
    let cloud = cloud().await;
    let edge = Edge::of(&cloud).await;
    let mut panics = edge.answering().await;
    let mut fails = edge.answering().await;
    cloud.faults.panic_at(4);
    panics.ask().await;
    ends(&mut panics.session, Code::Internal, "STEP_FAILED").await;
    cloud.faults.fail_at(4);
    fails.ask().await;
    ends(&mut fails.session, Code::Internal, "STEP_FAILED").await;
    cloud.is_free().await;
    assert_eq!(cloud.cloud.admission.running().0, 0);
}
