//! Whatever happens to two clouds and the links to them, in any order: every answer ends, with the tokens of the model in
//! one piece, and nothing is left behind.

use crate::asking::{Answer, asked, expected};
use proptest::prelude::*;
use std::time::Duration;
use tandem_client::SplitClient;
use tandem_in_process::{Cable, ClientOptions, LocalCloud, client_of_many};
use tokio::task::JoinSet;

/// Tokens of an answer.
const TOKENS: usize = 40;
/// Answers at once.
const ANSWERS: u32 = 4;
/// How long they may take in all, waiting for clouds that are away included.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to one of the clouds, or to the link to it.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Its connections break.
    Cut,
    /// And cannot be made again.
    PullOut,
    /// They can.
    PlugIn,
    /// It ends at once, and another process is there.
    Restart,
    /// It drains.
    Drain,
    /// Its engine stops for a while.
    Hold,
    /// Sessions of others need its room.
    Crowd,
}

fn events() -> impl Strategy<Value = Vec<(Event, usize, u64)>> {
    let event = prop_oneof![
        3 => Just(Event::Cut),
        2 => Just(Event::PullOut),
        3 => Just(Event::PlugIn),
        1 => Just(Event::Restart),
        1 => Just(Event::Drain),
        1 => Just(Event::Hold),
        2 => Just(Event::Crowd),
    ];
    // To which of the two, and how many milliseconds before the next one.
    prop::collection::vec((event, 0..2_usize, 0..20_u64), 1..16)
}

fn prompt(number: u32) -> Vec<u32> {
    let length = [5, 33, 70, 16][number as usize % 4];
    (0..length)
        .map(|p| 3 + (p * 7 + number * 31) % 200)
        .collect()
}

/// A cloud that has room for a few sessions.
async fn small() -> LocalCloud {
    LocalCloud::start(|config| config.sessions.max = 3).await
}

struct Pair {
    clouds: [LocalCloud; 2],
    cables: [Cable; 2],
}

impl Pair {
    async fn happens(&mut self, event: Event, at: usize) {
        let (cloud, cable) = (&mut self.clouds[at], &self.cables[at]);
        match event {
            Event::Cut => cable.cut(),
            Event::PullOut => cable.pull_out(),
            Event::PlugIn => cable.plug_in(cloud),
            Event::Restart => {
                cable.pull_out();
                *cloud = small().await;
                cable.plug_in(cloud);
            }
            Event::Drain => cloud.drain.signal().begin(),
            Event::Hold => {
                let held = cloud.faults.hold();
                tokio::time::sleep(Duration::from_millis(30)).await;
                drop(held);
            }
            Event::Crowd => {
                let cable = cloud.cable_from("10.0.0.9");
                let other = client_of_many(&[&cable], ClientOptions::default()).await;
                if let Ok(answer) = Answer::begin(&other, asked(&[9, 8]), None).await {
                    drop(answer);
                }
            }
        }
    }
}

async fn answer(client: SplitClient, number: u32) -> (u32, Vec<u32>) {
    let prompt = prompt(number);
    // One that finds no room at all is asked for again, as clients do.
    let mut answer = loop {
        match Answer::begin(&client, asked(&prompt), None).await {
            Ok(answer) => break answer,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    answer.reaches(TOKENS).await;
    // With drafts there may be more than was waited for.
    answer.tokens.truncate(TOKENS);
    (number, answer.tokens)
}

async fn survives(happens: Vec<(Event, usize, u64)>, drafts: (usize, usize), draft_model: bool) {
    let mut pair = Pair {
        clouds: [small().await, small().await],
        cables: [Cable::local(), Cable::local()],
    };
    for (cable, cloud) in pair.cables.iter().zip(&pair.clouds) {
        cable.plug_in(cloud);
        if draft_model {
            // Or each token would be there before its guess.
            cable.delay(Duration::from_millis(1));
        }
    }
    let cables = [&pair.cables[0], &pair.cables[1]];
    let options = ClientOptions {
        drafts,
        draft_model: draft_model.then_some(PATIENCE),
        ..ClientOptions::default()
    };
    let client = client_of_many(&cables, options).await;
    let mut answers = JoinSet::new();
    for number in 0..ANSWERS {
        answers.spawn(answer(client.clone(), number));
    }
    for (event, at, pause) in happens {
        pair.happens(event, at).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    // In the end there are two clouds that serve.
    for at in [0, 1] {
        pair.happens(Event::Restart, at).await;
    }
    let all = tokio::time::timeout(PATIENCE, answers.join_all()).await;
    for (number, tokens) in all.unwrap() {
        assert_eq!(tokens, expected(&prompt(number), TOKENS), "answer {number}");
    }
    drop(client);
    for cloud in &pair.clouds {
        cloud.is_free().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_answer_ends_with_its_own_tokens(
        happens in events(),
        drafts in (0..9_usize, 1..9_usize),
        draft_model in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(survives(happens, drafts, draft_model));
    }
}
