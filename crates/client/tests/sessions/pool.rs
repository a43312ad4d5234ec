//! Finished conversations, kept for their next turn.

use crate::asking::{PROMPT, asker, client_of, cloud, conversation};
use std::time::Duration;
use tandem_client::{AllRunning, SessionPool, SplitClient};
use tandem_in_process::{ClientOptions, client};

const LONG: Duration = Duration::from_secs(300);

/// Keeps a conversation of `salt`'s that began with a prompt.
async fn keep(pool: &SessionPool, client: &SplitClient, salt: &str, prompt: &[u32]) {
    let turn = pool.turn().unwrap();
    let session = conversation(client, prompt, 2).await;
    turn.keep(asker(salt), session);
}

#[tokio::test]
async fn a_conversation_is_taken_by_the_prompt_that_goes_on_with_it() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let pool = SessionPool::new(4, LONG);
    let others = [PROMPT[0], PROMPT[1], PROMPT[2], 100, 101, 102, 103];
    keep(&pool, &client, "a", &others).await;
    keep(&pool, &client, "a", &PROMPT).await;
    let turn = pool.turn().unwrap();
    let prompt = [&PROMPT[..], &[200, 201]].concat();
    // The longest beginning wins, and it is taken once.
    let (session, shared) = turn.take(&asker("a"), &prompt, 0).unwrap();
    assert!(session.tokens().starts_with(&PROMPT));
    assert_eq!(shared, PROMPT.len());
    assert!(turn.take(&asker("a"), &prompt, 0).is_none());
}

#[tokio::test]
async fn who_ask_are_kept_apart() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let pool = SessionPool::new(4, LONG);
    keep(&pool, &client, "a", &PROMPT).await;
    let turn = pool.turn().unwrap();
    assert!(turn.take(&asker("b"), &PROMPT, 0).is_none());
    assert!(turn.take(&asker("a"), &PROMPT, 0).is_some());
}

#[tokio::test]
async fn a_conversation_that_would_lose_more_than_it_saves_stays() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let pool = SessionPool::new(4, LONG);
    keep(&pool, &client, "a", &PROMPT).await;
    let turn = pool.turn().unwrap();
    // Three in common, and five would be lost.
    let prompt = [&PROMPT[..3], &[100, 101, 102]].concat();
    assert!(turn.take(&asker("a"), &prompt, 0).is_none());
    // All in common; but another session would begin with as much.
    assert!(turn.take(&asker("a"), &PROMPT, PROMPT.len()).is_none());
    assert!(turn.take(&asker("a"), &PROMPT, 0).is_some());
}

#[tokio::test]
async fn the_one_that_waited_longest_makes_room() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let pool = SessionPool::new(2, LONG);
    let [first, second] = [0, 100].map(|own| PROMPT.map(|id| id + own));
    keep(&pool, &client, "a", &first).await;
    keep(&pool, &client, "a", &second).await;
    let turn = pool.turn().unwrap();
    turn.make_room();
    assert!(turn.take(&asker("a"), &first, 0).is_none());
    assert!(turn.take(&asker("a"), &second, 0).is_some());
}

#[tokio::test]
async fn as_many_answers_run_as_may() {
    let pool = SessionPool::new(2, LONG);
    let turns = [pool.turn().unwrap(), pool.turn().unwrap()];
    assert_eq!(pool.turn().unwrap_err(), AllRunning { max: 2 });
    drop(turns);
    assert!(pool.turn().is_ok());
}

#[tokio::test]
async fn a_conversation_is_closed_in_its_time() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let pool = SessionPool::new(4, Duration::ZERO);
    keep(&pool, &client, "a", &PROMPT).await;
    assert!(cloud.cloud.session_bytes() > 0);
    pool.prune();
    // It was not lost.
    assert_eq!(client.clouds().known().len(), 1);
    cloud.is_free().await;
}

#[tokio::test]
async fn a_conversation_whose_connection_broke_is_not_kept() {
    let cloud = cloud().await;
    let cable = cloud.cable();
    let client = client(&cable, ClientOptions::default()).await;
    let pool = SessionPool::new(4, LONG);
    keep(&pool, &client, "a", &PROMPT).await;
    pool.prune();
    assert_eq!(client.clouds().known().len(), 1);
    cable.cut();
    while !client.clouds().known().is_empty() {
        tokio::task::yield_now().await;
        pool.prune();
    }
    assert!(pool.turn().unwrap().take(&asker("a"), &PROMPT, 0).is_none());
}

#[tokio::test]
async fn a_closed_pool_keeps_nothing() {
    let cloud = cloud().await;
    let client = client_of(&cloud).await;
    let pool = SessionPool::new(4, LONG);
    keep(&pool, &client, "a", &PROMPT).await;
    pool.close();
    cloud.is_free().await;
    keep(&pool, &client, "a", &PROMPT).await;
    cloud.is_free().await;
}
