//! A cloud that cannot be used says why, and so does the client.

use crate::asking::{Answer, PROMPT, asked, client_of, cloud, expected};
use std::time::{Duration, Instant};
use tandem_client::{CloudError, CloudStatus, Retry, SessionError};
use tandem_in_process::{Cable, ClientOptions, LocalCloud, StoppedClock, client};
use tonic::Code;

/// What the cloud itself says.
fn status(error: &SessionError) -> &CloudStatus {
    match error {
        SessionError::Cloud(CloudError::Status(status)) => status,
        other => panic!("the cloud says so itself: {other}"),
    }
}

#[tokio::test]
async fn a_cloud_that_is_not_there_cannot_be_reached() {
    let client = client(&Cable::local(), ClientOptions::default()).await;
    let error = Answer::begin(&client, asked(&PROMPT), None).await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, SessionError::Cloud(CloudError::Unreachable { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_cloud_that_comes_later_is_found() {
    let cloud = cloud().await;
    let cable = Cable::local();
    let client = client(&cable, ClientOptions::default()).await;
    client.clouds().any().await.unwrap_err();
    cable.plug_in(&cloud);
    let mut answer = Answer::to(&client, &PROMPT).await;
    answer.reaches(2).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 2));
}

#[tokio::test]
async fn a_full_cloud_says_when_to_come_again() {
    let cloud = LocalCloud::start(|config| config.sessions.max = 1).await;
    let client = client_of(&cloud).await;
    let mut running = Answer::to(&client, &PROMPT).await;
    let error = Answer::begin(&client, asked(&PROMPT), None).await;
    let error = error.unwrap_err();
    assert_eq!(status(&error).code, Code::ResourceExhausted);
    assert!(error.retry_after().is_some());
    assert_eq!(error.retry(), Retry::Never);
    running.reaches(3).await;
    assert_eq!(running.tokens, expected(&PROMPT, 3));
}

#[tokio::test]
async fn a_cloud_that_drains_takes_no_answer() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let mut running = Answer::to(&client, &PROMPT).await;
    cloud.drain.signal().begin();
    let error = Answer::begin(&client, asked(&PROMPT), None).await;
    let error = error.unwrap_err();
    assert_eq!(status(&error).code, Code::Unavailable);
    assert!(error.cloud_may_have_changed());
    // The one that runs goes on, and its session is not for another turn.
    running.reaches(3).await;
    assert_eq!(running.tokens, expected(&PROMPT, 3));
    let mut session = running.end().await;
    assert!(!session.is_reusable());
}

#[tokio::test]
async fn an_answer_ends_at_its_deadline() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let clock = StoppedClock::stop();
    let mut asked = asked(&PROMPT);
    asked.deadline = Some(Instant::now() + Duration::from_secs(60));
    let held = cloud.faults.hold();
    let (begun, ()) = tokio::join!(Answer::begin(&client, asked, None), async {
        held.has_one().await;
        clock.advance(Duration::from_secs(61)).await;
        // The step that is under way has to end.
        drop(held);
    });
    assert_eq!(status(&begun.unwrap_err()).code, Code::DeadlineExceeded);
}
