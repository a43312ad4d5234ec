//! Several clouds: where sessions go, and how answers move from one to another.

use crate::asking::{Answer, PROMPT, asked, asker, cloud, expected};
use std::time::Duration;
use tandem_client::{CloudError, ReplayTerms, SessionError, SplitClient, Standing};
use tandem_in_process::{Cable, ClientOptions, LocalCloud, client_of_many};

/// Two clouds, a cable to each, and a client of both.
struct Two {
    clouds: [LocalCloud; 2],
    cables: [Cable; 2],
    client: SplitClient,
}

impl Two {
    async fn alike() -> Self {
        Self::of([cloud().await, cloud().await], ClientOptions::default()).await
    }

    async fn of(clouds: [LocalCloud; 2], options: ClientOptions) -> Self {
        let cables = [clouds[0].cable(), clouds[1].cable()];
        let client = client_of_many(&[&cables[0], &cables[1]], options).await;
        let two = Self {
            clouds,
            cables,
            client,
        };
        two.are_known().await;
        two
    }

    /// Waits for both to have described themselves.
    async fn are_known(&self) {
        for link in self.client.clouds().links() {
            link.describe().await.unwrap();
        }
    }

    /// Which one an answer runs in.
    fn of_answer(&self, running: [u64; 2]) -> usize {
        let now = self.busy();
        usize::from(now[1] > running[1])
    }

    /// Bytes that sessions hold in each.
    fn busy(&self) -> [u64; 2] {
        [0, 1].map(|at| self.clouds[at].cloud.session_bytes())
    }

    /// An answer, and the cloud that it runs in.
    async fn begun(&self) -> (Answer, usize) {
        let before = self.busy();
        let mut answer = Answer::to(&self.client, &PROMPT).await;
        answer.reaches(3).await;
        let at = self.of_answer(before);
        (answer, at)
    }
}

fn only_exact() -> ClientOptions {
    let options = ClientOptions::default();
    ClientOptions {
        replay: ReplayTerms {
            only_exact: true,
            within: Duration::from_millis(600),
            ..options.replay
        },
        ..options
    }
}

#[tokio::test]
async fn sessions_go_to_the_cloud_that_has_fewer() {
    let two = Two::alike().await;
    let mut answers = Vec::new();
    let mut at = [0, 0];
    for _ in 0..6 {
        let (answer, cloud) = two.begun().await;
        at[cloud] += 1;
        answers.push(answer);
    }
    assert!(at[0] > 0 && at[1] > 0, "{at:?}");
    for answer in &mut answers {
        answer.reaches(6).await;
        assert_eq!(answer.tokens, expected(&PROMPT, 6));
        assert_eq!(answer.generation.replays(), 0);
    }
}

#[tokio::test]
async fn an_answer_goes_on_in_the_other_cloud_at_once() {
    let two = Two::alike().await;
    let (mut answer, at) = two.begun().await;
    two.cables[at].pull_out();
    let began = std::time::Instant::now();
    answer.reaches(8).await;
    // No pause comes before it.
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(answer.tokens, expected(&PROMPT, 8));
    assert_eq!(answer.generation.replays(), 1);
    assert!(answer.generation.is_exact());
    // The other one is left alone.
    assert_eq!(two.client.clouds().known().len(), 1);
    let mut next = Answer::to(&two.client, &PROMPT).await;
    next.reaches(2).await;
    assert_eq!(next.generation.replays(), 0);
}

#[tokio::test]
async fn an_answer_leaves_a_cloud_that_drains() {
    let two = Two::alike().await;
    let (mut answer, at) = two.begun().await;
    two.clouds[at].drain.signal().begin();
    // It is told of the drain with a token or behind it.
    answer.reaches(12).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 12));
    assert_eq!(answer.generation.replays(), 1);
    assert!(answer.generation.is_exact());
    two.clouds[at].is_free().await;
}

#[tokio::test]
async fn an_answer_stays_with_a_cloud_that_drains_where_no_other_computes_alike() {
    let other = LocalCloud::start(|config| config.kv = "int8".to_owned()).await;
    let two = Two::of([cloud().await, other], ClientOptions::default()).await;
    let mut answer = loop {
        let (answer, at) = two.begun().await;
        if at == 0 {
            break answer;
        }
    };
    two.clouds[0].drain.signal().begin();
    answer.reaches(12).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 12));
    assert_eq!(answer.generation.replays(), 0);
}

#[tokio::test]
async fn an_answer_that_goes_on_otherwise_says_so() {
    let first = cloud().await;
    let other = LocalCloud::start(|config| config.kv = "int8".to_owned()).await;
    let two = Two::of([first, other], ClientOptions::default()).await;
    let (mut answer, at) = two.begun().await;
    assert!(answer.generation.is_exact());
    two.cables[at].pull_out();
    answer.reaches(6).await;
    assert_eq!(answer.generation.replays(), 1);
    assert!(!answer.generation.is_exact());
}

#[tokio::test]
async fn an_answer_that_must_not_go_on_otherwise_waits_for_a_cloud_that_computes_alike() {
    // Neither keeps a session that could be taken up.
    let lease = Duration::ZERO;
    let first = LocalCloud::start(|config| config.sessions.lease = lease.into()).await;
    let other = LocalCloud::start(|config| {
        config.sessions.lease = lease.into();
        config.kv = "int8".to_owned();
    });
    let other = other.await;
    let two = Two::of([first, other], only_exact()).await;
    let (mut answer, at) = two.begun().await;
    two.cables[at].pull_out();
    let error = answer.next().await.unwrap_err();
    assert!(
        matches!(
            &error,
            SessionError::Cloud(CloudError::HeldOtherwise { .. })
        ),
        "{error}"
    );
    two.cables[at].plug_in(&two.clouds[at]);
    let (mut answer, at) = two.begun().await;
    two.cables[at].pull_out();
    let (next, ()) = tokio::join!(answer.next(), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        two.cables[at].plug_in(&two.clouds[at]);
    });
    next.unwrap();
    assert!(answer.generation.is_exact());
}

#[tokio::test]
async fn an_answer_begins_in_the_other_cloud_where_one_is_full() {
    let small = || LocalCloud::start(|config| config.sessions.max = 1);
    let two = Two::of([small().await, small().await], ClientOptions::default()).await;
    let (mut first, at) = two.begun().await;
    let (mut second, other) = two.begun().await;
    assert_ne!(at, other);
    let error = Answer::begin(&two.client, asked(&PROMPT), None).await;
    assert!(error.unwrap_err().retry_after().is_some());
    for answer in [&mut first, &mut second] {
        answer.reaches(5).await;
        assert_eq!(answer.tokens, expected(&PROMPT, 5));
    }
}

#[tokio::test]
async fn an_answer_begins_in_a_cloud_that_is_back_and_was_not_asked() {
    let two = Two::alike().await;
    let links = two.client.clouds().links();
    // One is away and comes back; the other breaks before it has accepted a session.
    links[0].forget();
    two.cables[1].pull_out();
    let mut answer = Answer::to(&two.client, &PROMPT).await;
    answer.reaches(3).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 3));
}

#[tokio::test]
async fn an_answer_that_began_elsewhere_goes_on_where_it_was_refused_before() {
    let two = Two::alike().await;
    let links = two.client.clouds().links();
    // The one that is known is away; the other one is asked, and lost before its first token.
    links[1].forget();
    two.cables[0].pull_out();
    let held = two.clouds[1].faults.hold();
    let (answer, ()) = tokio::join!(Answer::begin(&two.client, asked(&PROMPT), None), async {
        held.has_one().await;
        two.cables[0].plug_in(&two.clouds[0]);
        two.cables[1].pull_out();
        drop(held);
    });
    let mut answer = answer.unwrap();
    answer.reaches(3).await;
    assert_eq!(answer.tokens, expected(&PROMPT, 3));
    assert!(answer.generation.replays() > 0);
}

#[tokio::test]
async fn a_prompt_goes_where_its_beginning_is() {
    let options = ClientOptions {
        prefix_memory: 1 << 20,
        ..ClientOptions::default()
    };
    let two = Two::of([cloud().await, cloud().await], options).await;
    let prompt: Vec<u32> = (0..70).map(|i| (i * 7 + 3) % 200).collect();
    let mut first = Answer::to(&two.client, &prompt).await;
    first.reaches(2).await;
    drop(first);
    for _ in 0..5 {
        let mut again = Answer::to(&two.client, &prompt).await;
        assert_eq!(again.generation.reused(), 64);
        again.reaches(3).await;
        assert_eq!(again.tokens, expected(&prompt, 3));
    }
}

#[tokio::test]
async fn clouds_are_asked_from_the_beginning_and_again_when_they_were_away() {
    let (first, second) = (cloud().await, cloud().await);
    let cables = [first.cable(), Cable::local()];
    let client = client_of_many(&[&cables[0], &cables[1]], ClientOptions::default()).await;
    let clouds = client.clouds().clone();
    let (told, mut standings) = tokio::sync::mpsc::unbounded_channel();
    let tending = tokio::spawn(async move {
        let tend = clouds.tend(|standing| told.send(standing.clone()).unwrap());
        tend.await;
    });
    assert_eq!(standings.recv().await, Some(Standing::Fits));
    assert_eq!(client.clouds().known().len(), 1);
    cables[1].plug_in(&second);
    while client.clouds().known().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (cable, cloud) in cables.iter().zip([&first, &second]) {
        cable.pull_out();
        for link in client.clouds().links() {
            link.forget();
        }
        while client.clouds().known().len() != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cable.plug_in(cloud);
        while client.clouds().known().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // One answered all the time, but for the moment in which both were forgotten.
    assert!(standings.try_recv().is_err());
    for cable in &cables {
        cable.pull_out();
    }
    for link in client.clouds().links() {
        link.forget();
    }
    assert_eq!(standings.recv().await, Some(Standing::Away));
    let error = client.choose(&asker(""), &PROMPT).await.unwrap_err();
    assert!(matches!(error, CloudError::Unreachable { .. }), "{error}");
    tending.abort();
}
