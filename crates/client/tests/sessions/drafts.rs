//! Answers with drafts are those without, and come with fewer round trips.

use crate::asking::{Answer, PROMPT, asked, asker, cloud};
use std::time::Duration;
use tandem_client::{Asked, Kept, SplitClient, Usage};
use tandem_in_process::{ClientOptions, LocalCloud, WholeModel, client, demanding};
use tandem_proto::v1;

const TOKENS: usize = 60;

async fn drafting(cloud: &LocalCloud, split: usize) -> SplitClient {
    drafting_by(cloud, split, (8, 8)).await
}

async fn drafting_by(cloud: &LocalCloud, split: usize, drafts: (usize, usize)) -> SplitClient {
    let options = ClientOptions {
        split,
        drafts,
        ..ClientOptions::default()
    };
    client(&cloud.cable(), options).await
}

/// Draws one of a few tokens, so that drafts are right now and then.
fn of_few(tokens: std::ops::Range<u32>) -> v1::SamplingParameters {
    let logit_bias = tokens.map(|token_id| v1::LogitBias {
        token_id,
        bias: 80.0,
    });
    v1::SamplingParameters {
        logit_bias: logit_bias.collect(),
        logprobs: Some(2),
        ..demanding()
    }
}

/// The same words over and over.
fn of_one() -> v1::SamplingParameters {
    v1::SamplingParameters {
        temperature: Some(0.0),
        repetition_penalty: None,
        presence_penalty: None,
        frequency_penalty: None,
        ..of_few(40..41)
    }
}

fn asked_by(sampling: &v1::SamplingParameters, prompt: &[u32]) -> Asked {
    let mut asked = asked(prompt);
    asked.run.sampling = Some(sampling.clone());
    asked.run.max_tokens = u32::try_from(TOKENS).unwrap();
    asked
}

/// The whole answer, and what it has cost.
async fn whole(client: &SplitClient, asked: Asked, kept: Option<Kept>) -> (Answer, Usage) {
    let mut answer = Answer::begin(client, asked, kept).await.unwrap();
    answer.reaches(TOKENS).await;
    let usage = answer.generation.usage();
    (answer, usage)
}

#[tokio::test]
async fn answers_are_those_without() {
    let cloud = cloud().await;
    let mut model = WholeModel::load();
    let (mut drafted, mut accepted) = (0, 0);
    for (split, drafts) in [
        (0, (8, 8)),
        (0, (8, 2)),
        (1, (8, 8)),
        (1, (12, 1)),
        (3, (8, 3)),
    ] {
        let client = drafting_by(&cloud, split, drafts).await;
        for sampling in [demanding(), of_few(40..43), of_few(70..72), of_one()] {
            let expected = model.answer_by(&sampling, &PROMPT, TOKENS);
            let asked = asked_by(&sampling, &PROMPT);
            let (answer, usage) = whole(&client, asked, None).await;
            assert_eq!(
                answer.tokens, expected,
                "split {split}, {drafts:?}, {sampling:?}"
            );
            assert_eq!(usage.drafted > 0, usage.token_ids > 0 || split == 0);
            (drafted, accepted) = (drafted + usage.drafted, accepted + usage.accepted);
        }
    }
    assert!(
        accepted > 100 && drafted > accepted,
        "{accepted} of {drafted}"
    );
    cloud.is_free().await;
}

#[tokio::test]
async fn an_answer_that_repeats_itself_takes_few_round_trips() {
    let cloud = cloud().await;
    let client = drafting(&cloud, 1).await;
    let (answer, usage) = whole(&client, asked_by(&of_one(), &PROMPT), None).await;
    assert_eq!(answer.tokens, [40; TOKENS]);
    assert!(usage.accepted > 40, "{usage:?}");
}

#[tokio::test]
async fn what_was_answered_before_is_drafted_to_the_same_asker_alone() {
    let cloud = cloud().await;
    let client = drafting(&cloud, 1).await;
    let ask = |salt: &str| Asked {
        asker: asker(salt),
        ..asked_by(&demanding(), &PROMPT)
    };
    let (first, before) = whole(&client, ask("one"), None).await;
    first.generation.remember();
    let (other, others) = whole(&client, ask("other"), None).await;
    let (again, after) = whole(&client, ask("one"), None).await;
    assert_eq!(first.tokens, other.tokens);
    assert_eq!(first.tokens, again.tokens);
    assert!(
        after.accepted > before.accepted.max(others.accepted) + 20,
        "{before:?} {others:?} {after:?}"
    );
}

/// A client of a model that drafts for itself and keeps sessions for so long, over so long a way that each guess is there
/// before the token.
async fn guessing(cloud: &LocalCloud, idle_ttl: Duration) -> SplitClient {
    let options = ClientOptions {
        drafts: (8, 8),
        draft_model: Some(idle_ttl),
        ..ClientOptions::default()
    };
    let cable = cloud.cable();
    cable.delay(Duration::from_millis(10));
    client(&cable, options).await
}

/// What guesses right comes with few round trips, and what is drawn by chance is guessed with the same draws.
#[tokio::test]
async fn a_model_that_says_the_same_guesses_right() {
    let cloud = cloud().await;
    let client = guessing(&cloud, Duration::from_secs(60)).await;
    let mut model = WholeModel::load();
    // Of the first one it learns how fast answers are without guesses.
    whole(&client, asked_by(&demanding(), &PROMPT), None).await;
    for sampling in [demanding(), v1::SamplingParameters::default()] {
        let expected = model.answer_by(&sampling, &PROMPT, TOKENS);
        let (answer, usage) = whole(&client, asked_by(&sampling, &PROMPT), None).await;
        assert_eq!(answer.tokens, expected, "{sampling:?}");
        // This model finds nothing likely, so that it guesses little ahead.
        assert!(usage.accepted > 15, "{sampling:?}: {usage:?}");
        assert!(
            2 * usage.accepted > usage.drafted,
            "{sampling:?}: {usage:?}"
        );
    }
    cloud.is_free().await;
}

#[tokio::test]
async fn a_draft_model_keeps_a_session_for_a_while() {
    let cloud = cloud().await;
    for (idle_ttl, left) in [(Duration::from_secs(60), 1), (Duration::ZERO, 0)] {
        let client = guessing(&cloud, idle_ttl).await;
        let drafting = client.front().draft_model.clone().unwrap();
        let (answer, _) = whole(&client, asked_by(&demanding(), &PROMPT), None).await;
        assert_eq!(drafting.idle_sessions(), 0);
        drop(answer);
        // The work for the answer ends a moment later.
        let kept = async {
            while drafting.idle_sessions() == 0 {
                tokio::task::yield_now().await;
            }
        };
        let kept = tokio::time::timeout(Duration::from_secs(20), kept).await;
        kept.expect("the draft model has a session of the answer");
        drafting.prune();
        assert_eq!(drafting.idle_sessions(), left);
    }
}

#[tokio::test]
async fn a_kept_session_goes_on_behind_drafts() {
    let cloud = cloud().await;
    let client = drafting(&cloud, 1).await;
    let sampling = of_few(40..42);
    let (answer, _) = whole(&client, asked_by(&sampling, &PROMPT), None).await;
    // All but the last tokens of the answer are part of the next prompt.
    let shared = PROMPT.len() + TOKENS - 9;
    let prompt = [&PROMPT[..], &answer.tokens[..TOKENS - 9], &[9, 10]].concat();
    let session = answer.end().await;
    let kept = Kept { session, shared };
    let (next, _) = whole(&client, asked_by(&sampling, &prompt), Some(kept)).await;
    assert_eq!(next.generation.reused(), shared);
    let expected = WholeModel::load().answer_by(&sampling, &prompt, TOKENS);
    assert_eq!(next.tokens, expected);
}

#[tokio::test]
async fn drafts_end_with_the_context() {
    let cloud = LocalCloud::start(|config| config.sessions.context = 64).await;
    let client = drafting(&cloud, 1).await;
    let mut asked = asked_by(&of_one(), &PROMPT);
    asked.run.max_tokens = 0;
    let mut answer = Answer::begin(&client, asked, None).await.unwrap();
    // The last token has a position, and no row.
    answer.reaches(64 - PROMPT.len()).await;
    assert_eq!(answer.tokens, [40; 57]);
}

#[tokio::test]
async fn a_cloud_that_knows_no_drafts_is_sent_none() {
    let cloud = cloud().await;
    let client = client(&cloud.cable(), ClientOptions::default()).await;
    let (answer, usage) = whole(&client, asked_by(&of_one(), &PROMPT), None).await;
    assert_eq!(answer.tokens, [40; TOKENS]);
    assert_eq!((usage.drafted, usage.accepted), (0, 0));
}
