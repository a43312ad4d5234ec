//! The turns of a conversation.

use crate::asking::{LocalEdge, PROMPT, cloud, expected, request};
use std::time::Duration;
use tandem_transport::auth::Peer;

/// A prompt that goes on from another one and what was answered to it.
fn next_turn(prompt: &[u32], answer: &[u32]) -> Vec<u32> {
    [prompt, answer, &[90, 91, 92]].concat()
}

#[tokio::test]
async fn the_next_turn_finds_its_conversation() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let mut prompt = PROMPT.to_vec();
    let mut reused = 0;
    for _ in 0..3 {
        let answer = edge.answer(request(&prompt, 5)).await;
        assert_eq!(answer.tokens, expected(&prompt, 5));
        assert_eq!(answer.reused(), reused);
        prompt = next_turn(&prompt, &answer.tokens);
        reused = prompt.len() as u32 - 4;
    }
}

#[tokio::test]
async fn so_it_does_behind_a_stop_string() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let whole = edge.answer(request(&PROMPT, 6)).await;
    let cut = Peer {
        token: Some("somebody else".into()),
        ..Peer::default()
    };
    let mut ends_early = request(&PROMPT, 6);
    ends_early.peer = cut.clone();
    ends_early.terms.stop = vec![whole.text().chars().take(3).collect()];
    let answer = edge.answer(ends_early).await;
    assert!(answer.tokens.len() < 6);
    let mut next = request(&next_turn(&PROMPT, &answer.tokens), 5);
    next.peer = cut;
    let prompt = next.prompt.clone();
    let next = edge.answer(next).await;
    assert_eq!(next.reused() as usize, prompt.len() - 4);
    assert_eq!(next.tokens, expected(&prompt, 5));
}

#[tokio::test]
async fn conversations_of_others_are_theirs() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let by = |token: &str, salt: &str| {
        let mut request = request(&PROMPT, 3);
        request.peer.token = Some(token.into());
        request.terms.cache_salt = salt.to_owned();
        request
    };
    assert_eq!(edge.answer(by("a", "")).await.reused(), 0);
    assert_eq!(edge.answer(by("b", "")).await.reused(), 0);
    assert_eq!(edge.answer(by("a", "one of its users")).await.reused(), 0);
    assert!(edge.answer(by("a", "")).await.reused() > 0);
}

#[tokio::test]
async fn a_conversation_that_is_over_is_not_kept() {
    let cloud = cloud().await;
    let edge = LocalEdge::start(&cloud.cable(), |config| {
        config.sessions.idle_ttl = Duration::ZERO.into();
        config.sessions.prefix_memory = tandem_config::ByteSize::bytes(0);
    })
    .await;
    for _ in 0..2 {
        assert_eq!(edge.answer(request(&PROMPT, 3)).await.reused(), 0);
    }
}
