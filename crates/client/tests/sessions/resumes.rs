//! A session whose connection broke is taken up again where it was: nothing is sent or computed again but its last row.

use crate::asking::{Answer, PROMPT, asked, client_of, cloud, expected};
use std::time::Duration;
use tandem_in_process::{ClientOptions, LocalCloud, StoppedClock, client};

#[tokio::test]
async fn an_answer_goes_on_where_it_was() {
    let cloud = cloud().await;
    for split in [0, 1, 3] {
        let cable = cloud.cable();
        let options = ClientOptions {
            split,
            ..ClientOptions::default()
        };
        let client = client(&cable, options).await;
        let mut answer = Answer::to(&client, &PROMPT).await;
        for tokens in [2, 5, 9] {
            answer.reaches(tokens).await;
            cable.cut();
        }
        let ran = cloud.faults.rows();
        answer.reaches(12).await;
        // The row that was lost on its way, and those of the next tokens.
        assert!(cloud.faults.rows() - ran <= 4, "split {split}");
        assert_eq!(answer.tokens, expected(&PROMPT, 12), "split {split}");
        assert_eq!(answer.generation.replays(), 0);
        assert!(answer.generation.is_exact());
    }
    cloud.is_free().await;
}

#[tokio::test]
async fn a_token_that_is_lost_on_its_way_is_sampled_again() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let client = client(&cable, ClientOptions::default()).await;
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
    assert_eq!(answer.generation.replays(), 0);
}

#[tokio::test]
async fn a_prompt_goes_on_behind_the_rows_that_have_arrived() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let client = client(&cable, ClientOptions::default()).await;
    let prompt: Vec<u32> = (0..100).map(|i| (i * 7 + 3) % 200).collect();
    let held = cloud.faults.hold();
    let (answer, ()) = tokio::join!(Answer::begin(&client, asked(&prompt), None), async {
        held.has_one().await;
        // The rest arrives meanwhile.
        tokio::time::sleep(Duration::from_millis(50)).await;
        cable.cut();
        drop(held);
    });
    let mut answer = answer.unwrap();
    answer.reaches(3).await;
    assert_eq!(answer.tokens, expected(&prompt, 3));
    assert_eq!(answer.generation.replays(), 0);
    // All rows but a few ran once.
    assert!(
        cloud.faults.rows() <= 2 * prompt.len(),
        "{}",
        cloud.faults.rows()
    );
}

#[tokio::test]
async fn a_link_may_be_away_for_as_long_as_the_lease_lasts() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let client = client(&cable, ClientOptions::default()).await;
    let mut answer = Answer::to(&client, &PROMPT).await;
    answer.reaches(3).await;
    cable.pull_out();
    let (next, ()) = tokio::join!(answer.next(), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // It waits, and is no answer that runs.
        assert!(cloud.cloud.session_bytes() > 0);
        assert_eq!(cloud.cloud.admission.running().0, 0);
        cable.plug_in(&cloud);
    });
    next.unwrap();
    answer.reaches(6).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 6));
    assert_eq!(answer.generation.replays(), 0);
}

#[tokio::test]
async fn a_session_is_gone_when_its_lease_has_ended() {
    let lease = Duration::from_millis(50);
    let cloud = LocalCloud::start(|config| config.sessions.lease = lease.into()).await;
    let cable = cloud.cable();
    let client = client(&cable, ClientOptions::default()).await;
    let mut answer = Answer::to(&client, &PROMPT).await;
    answer.reaches(3).await;
    cable.pull_out();
    let (next, ()) = tokio::join!(answer.next(), async {
        cloud.is_free().await;
        cable.plug_in(&cloud);
    });
    next.unwrap();
    answer.reaches(6).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 6));
    assert_eq!(answer.generation.replays(), 1);
}

#[tokio::test]
async fn an_answer_goes_on_elsewhere_when_its_cloud_has_started_again() {
    let (first, second) = (cloud().await, cloud().await);
    let cable = first.cable();
    let client = client(&cable, ClientOptions::default()).await;
    let mut answer = Answer::to(&client, &PROMPT).await;
    answer.reaches(3).await;
    cable.plug_in(&second);
    cable.cut();
    answer.reaches(6).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 6));
    assert_eq!(answer.generation.replays(), 1);
}

#[tokio::test]
async fn sessions_that_wait_are_the_first_to_go() {
    let cloud = LocalCloud::start(|config| config.sessions.max = 1).await;
    let cable = cloud.cable();
    let client = client(&cable, ClientOptions::default()).await;
    let mut answer = Answer::to(&client, &PROMPT).await;
    answer.reaches(3).await;
    cable.pull_out();
    // The cloud has noticed.
    while cloud.cloud.admission.running().0 > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let other = client_of(&cloud).await;
    let mut comes = Answer::to(&other, &PROMPT).await;
    comes.reaches(2).await;
    drop(comes);
    cable.plug_in(&cloud);
    answer.reaches(6).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 6));
    assert_eq!(answer.generation.replays(), 1);
}

#[tokio::test]
async fn a_session_that_is_dropped_does_not_wait() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let clock = StoppedClock::stop();
    let mut answer = Answer::to(&client, &PROMPT).await;
    answer.reaches(3).await;
    drop(answer);
    cloud.is_free().await;
    drop(clock);
}
