//! What prompts begin with alike is computed and sent once.

use crate::asking::{Answer, asked, asker, cloud, expected};
use tandem_client::{Asked, SplitClient};
use tandem_in_process::{ClientOptions, client};

/// 70 tokens that all begin with, which is two pages, and some of one's own.
fn prompt(own: u32) -> Vec<u32> {
    let common = (0..70).map(|position| 10 + position * 13 % 200);
    common.chain([own, own + 1, own + 2]).collect()
}

fn options() -> ClientOptions {
    ClientOptions {
        prefix_memory: 1 << 20,
        ..ClientOptions::default()
    }
}

fn asked_by(salt: &str, prompt: &[u32]) -> Asked {
    Asked {
        asker: asker(salt),
        ..asked(prompt)
    }
}

/// An answer of three tokens, which are the right ones, and how much of its prompt was there.
async fn reused(client: &SplitClient, salt: &str, own: u32) -> usize {
    let prompt = prompt(own);
    let answer = Answer::begin(client, asked_by(salt, &prompt), None).await;
    let mut answer = answer.unwrap();
    answer.reaches(3).await;
    assert_eq!(answer.tokens, expected(&prompt, 3));
    answer.generation.reused()
}

#[tokio::test]
async fn a_second_prompt_runs_what_is_its_own() {
    let cloud = cloud().await;
    for split in [0, 1] {
        let options = ClientOptions { split, ..options() };
        let client = client(&cloud.cable(), options).await;
        assert_eq!(reused(&client, "a", 210).await, 0, "split {split}");
        let ran = cloud.faults.rows();
        assert_eq!(reused(&client, "a", 220).await, 64, "split {split}");
        assert_eq!(cloud.faults.rows() - ran, 73 - 64 + 2, "split {split}");
    }
}

#[tokio::test]
async fn nobody_begins_with_what_others_have_asked() {
    let cloud = cloud().await;
    let client = client(&cloud.cable(), options()).await;
    assert_eq!(reused(&client, "a", 210).await, 0);
    assert_eq!(reused(&client, "b", 210).await, 0);
    assert_eq!(reused(&client, "a", 210).await, 64);
}

#[tokio::test]
async fn an_edge_that_is_not_known_has_none() {
    let cloud = cloud().await;
    let client = client(&cloud.cable_from("10.0.0.1"), options()).await;
    assert_eq!(reused(&client, "a", 210).await, 0);
    assert_eq!(reused(&client, "a", 210).await, 0);
}

#[tokio::test]
async fn a_cloud_that_has_forgotten_costs_no_answer() {
    let cloud = cloud().await;
    for split in [0, 1] {
        let options = ClientOptions { split, ..options() };
        let client = client(&cloud.cable(), options).await;
        assert_eq!(reused(&client, "a", 210).await, 0, "split {split}");
        cloud.is_free().await;
        while cloud.cloud.prefixes.give_up_one(None) {}
        // The client believes that they are there, hears otherwise, and has sent them when it is asked again.
        assert_eq!(reused(&client, "a", 220).await, 0, "split {split}");
        assert_eq!(reused(&client, "a", 230).await, 64, "split {split}");
    }
}

#[tokio::test]
async fn another_cloud_has_other_beginnings() {
    let (first, second) = (cloud().await, cloud().await);
    let cable = first.cable();
    let client = client(&cable, options()).await;
    assert_eq!(reused(&client, "a", 210).await, 0);
    cable.plug_in(&second);
    cable.cut();
    assert_eq!(reused(&client, "a", 220).await, 0);
    assert_eq!(reused(&client, "a", 230).await, 64);
}
