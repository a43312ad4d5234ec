//! Steps, batches and turns, with a half that does nothing but count.

use super::*;
use crate::pulse::Ended;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Counts rows. Each step of the engine says that it has begun, waits until the test lets it, and tells which
/// rows ran in it.
struct Counting {
    begun: Sender<()>,
    allowed: Receiver<()>,
    ran: Sender<Vec<usize>>,
}

/// A step of so many rows.
enum Step {
    Rows(usize),
    Panic,
}

impl Half for Counting {
    type Session = usize;
    type Open = ();
    type Step = Step;
    type Output = usize;

    fn open(&mut self, (): ()) -> Result<usize, EngineError> {
        Ok(0)
    }

    fn rows(step: &Step, most: usize) -> usize {
        match step {
            Step::Rows(rows) => most.min(*rows),
            Step::Panic => 1,
        }
    }

    fn run(&mut self, turns: &mut [Turn<'_, Self>]) {
        let _ = self.begun.send(());
        if self.allowed.recv().is_err() {
            return;
        }
        let _ = self.ran.send(turns.iter().map(|turn| turn.rows).collect());
        for turn in turns {
            let Step::Rows(left) = turn.step else {
                panic!("as the test asks");
            };
            *turn.session += turn.rows;
            *left -= turn.rows;
            turn.outcome = match left {
                0 => Outcome::Done(Ok(*turn.session)),
                _ => Outcome::Unfinished,
            };
        }
    }

    fn is_dropped(_: &Self::Session, _: &Self::Step) -> bool {
        false
    }

    fn goes_on(_: &usize) -> bool {
        true
    }

    fn merge(_: &mut Step, next: Step) -> Option<Step> {
        Some(next)
    }
}

struct Test {
    engine: Engine<Counting>,
    begun: Receiver<()>,
    allow: Sender<()>,
    ran: Receiver<Vec<usize>>,
}

impl Test {
    async fn start() -> Self {
        Self::start_with(EngineOptions::new(1)).await
    }

    async fn start_with(options: EngineOptions) -> Self {
        let (allow, allowed) = channel();
        let (tell, ran) = channel();
        let (begin, begun) = channel();
        let half = Counting {
            begun: begin,
            allowed,
            ran: tell,
        };
        let load = move || Ok::<_, EngineError>(half);
        let engine = Engine::start("test", options, load).await.unwrap();
        Self {
            engine,
            begun,
            allow,
            ran,
        }
    }

    async fn session(&self) -> EngineSession<Counting> {
        self.engine.open(()).await.unwrap()
    }

    /// Lets the engine run a step, and returns the rows of each turn in it.
    fn step(&self) -> Vec<usize> {
        self.allow.send(()).unwrap();
        self.ran.recv().unwrap()
    }

    /// Holds the engine in a step of a session of its own, and returns when it is there.
    async fn hold(&self) -> (EngineSession<Counting>, Pending<usize>) {
        let session = self.session().await;
        // Of steps that have ended.
        while self.begun.try_recv().is_ok() {}
        let pending = session
            .submit(Priority::Decode, Step::Rows(1))
            .await
            .unwrap();
        self.begun.recv().unwrap();
        (session, pending)
    }
}

async fn done(pending: Pending<usize>) -> usize {
    pending.await.unwrap().unwrap().output
}

#[tokio::test]
async fn sessions_that_are_ready_run_together_and_prompts_behind_them() {
    let test = Test::start().await;
    let (a, b, c) = (
        test.session().await,
        test.session().await,
        test.session().await,
    );
    // The engine is in a step while these come.
    let _held = test.hold().await;
    let prompt = a.submit(Priority::Prefill, Step::Rows(50)).await.unwrap();
    let first = b.submit(Priority::Decode, Step::Rows(1)).await.unwrap();
    let second = c.submit(Priority::Decode, Step::Rows(2)).await.unwrap();
    // The one that was held may have gone alone, or with the others.
    let rows: Vec<usize> = std::iter::from_fn(|| Some(test.step()))
        .find(|rows| rows.len() > 2)
        .unwrap();
    assert!(rows.ends_with(&[1, 2, 50]), "{rows:?}");
    assert_eq!(
        (done(prompt).await, done(first).await, done(second).await),
        (50, 1, 2)
    );
}

#[tokio::test]
async fn drafts_join_as_far_as_others_may_wait_for_them() {
    // The least that may join: steps of this half take no time at all.
    let test = Test::start_with(EngineOptions {
        step: Some(Duration::ZERO),
        ..EngineOptions::new(1)
    })
    .await;
    let (alone, other) = (test.session().await, test.session().await);
    // A prompt first, by which it learns what a row takes.
    let prompt = alone.submit(Priority::Prefill, Step::Rows(64));
    let prompt = prompt.await.unwrap();
    assert_eq!(test.step(), [64]);
    done(prompt).await;
    // Nobody else waits.
    tokio::time::sleep(SOON).await;
    let drafts = alone
        .submit(Priority::Decode, Step::Rows(32))
        .await
        .unwrap();
    assert_eq!(test.step(), [32]);
    done(drafts).await;

    let (_held, _pending) = test.hold().await;
    let drafts = alone
        .submit(Priority::Decode, Step::Rows(32))
        .await
        .unwrap();
    let token = other.submit(Priority::Decode, Step::Rows(1)).await.unwrap();
    let mut ran = vec![test.step(), test.step()];
    assert_eq!(done(token).await, 1);
    assert!(ran[1].iter().sum::<usize>() <= 2 + 4, "{ran:?}");
    while ran.iter().flatten().sum::<usize>() < 1 + 1 + 32 {
        ran.push(test.step());
    }
    assert_eq!(done(drafts).await, 64 + 32 + 32);
}

#[tokio::test]
async fn prompts_go_before_drafts() {
    let test = Test::start_with(EngineOptions {
        step: Some(Duration::ZERO),
        ..EngineOptions::new(1)
    })
    .await;
    let (asking, drafting) = (test.session().await, test.session().await);
    let first = asking.submit(Priority::Prefill, Step::Rows(64));
    let first = first.await.unwrap();
    assert_eq!(test.step(), [64]);
    done(first).await;
    let (_held, _pending) = test.hold().await;
    let drafts = drafting
        .submit(Priority::Decode, Step::Rows(32))
        .await
        .unwrap();
    let prompt = asking
        .submit(Priority::Prefill, Step::Rows(8))
        .await
        .unwrap();
    // While a prompt takes all that may join a step, a session has its token, and no draft.
    let mut ran = Vec::new();
    while ran.iter().flatten().filter(|&&rows| rows == 4).count() < 2 {
        ran.push(test.step());
    }
    assert!(
        ran.iter().flatten().all(|rows| [1, 4].contains(rows)),
        "{ran:?}"
    );
    done(prompt).await;
    while ran.iter().flatten().sum::<usize>() < 1 + 8 + 32 {
        ran.push(test.step());
    }
    done(drafts).await;
}

/// A session that drafts in every step, so that none tells what tokens alone take.
#[tokio::test]
async fn a_prompt_beside_drafts_in_every_step_goes_on() {
    let test = Test::start_with(EngineOptions {
        step: Some(Duration::ZERO),
        ..EngineOptions::new(1)
    })
    .await;
    let (drafting, asking) = (test.session().await, test.session().await);
    let learnt = drafting.submit(Priority::Prefill, Step::Rows(64));
    let learnt = learnt.await.unwrap();
    test.step();
    done(learnt).await;
    let draft = || drafting.submit(Priority::Decode, Step::Rows(2));
    for _ in 0..70 {
        let drafts = draft().await.unwrap();
        test.step();
        done(drafts).await;
    }
    let mut drafts = Vec::new();
    for _ in 0..10 {
        drafts.push(draft().await.unwrap());
    }
    let prompt = asking.submit(Priority::Prefill, Step::Rows(4));
    let prompt = prompt.await.unwrap();
    let steps: Vec<Vec<usize>> = (0..4).map(|_| test.step()).collect();
    let of_prompt = steps.iter().flatten().filter(|&&rows| rows == 4);
    assert_eq!(of_prompt.count(), 1, "{steps:?}");
    done(prompt).await;
}

#[tokio::test]
async fn a_long_step_lets_others_in_between_its_parts() {
    let test = Test::start().await;
    let (long, short) = (test.session().await, test.session().await);
    let long = long
        .submit(Priority::Prefill, Step::Rows(1000))
        .await
        .unwrap();
    assert_eq!(test.step(), [128]);
    let short = short.submit(Priority::Decode, Step::Rows(1)).await.unwrap();
    let mut parts = vec![128];
    while parts.iter().sum::<usize>() < 1001 {
        parts.extend(test.step());
    }
    // The first part after it came was under way at most.
    assert!(
        parts.iter().position(|&rows| rows == 1).unwrap() <= 2,
        "{parts:?}"
    );
    assert_eq!((done(short).await, done(long).await), (1, 1000));
}

#[tokio::test]
async fn a_closed_session_ends_between_the_parts_of_its_step() {
    let test = Test::start().await;
    let (long, other) = (test.session().await, test.session().await);
    let pending = long
        .submit(Priority::Prefill, Step::Rows(usize::MAX))
        .await
        .unwrap();
    test.step();
    drop(long);
    let other = other.submit(Priority::Decode, Step::Rows(1)).await.unwrap();
    let found = (0..3).any(|_| test.step() == [1]);
    assert!(found, "the closed session is still running");
    assert_eq!(done(other).await, 1);
    assert!(pending.await.is_err());
}

#[tokio::test]
async fn a_panic_ends_a_session_and_not_the_engine() {
    let test = Test::start().await;
    let (bad, good) = (test.session().await, test.session().await);
    let panics = bad.submit(Priority::Decode, Step::Panic).await.unwrap();
    test.step();
    let failed = panics.await.unwrap().unwrap_err();
    assert!(matches!(failed, EngineError::Panicked(_)), "{failed}");
    let again = bad.submit(Priority::Decode, Step::Rows(1)).await.unwrap();
    assert!(matches!(
        again.await.unwrap(),
        Err(EngineError::SessionGone)
    ));
    let good = good.submit(Priority::Decode, Step::Rows(1)).await.unwrap();
    test.step();
    assert_eq!(done(good).await, 1);
}

#[test]
fn a_session_that_is_closed_just_behind_a_look_is_forgotten_before_the_engine_sleeps() {
    let half = Counting {
        begun: channel().0,
        allowed: channel().1,
        ran: channel().0,
    };
    let (requests, receiver) = mpsc::channel(1);
    let (told, mut wait) = oneshot::channel();
    let key = SessionNumber {
        number: 0,
        owner: OwnerNumber::default(),
        moved: 0,
    };
    let closed = Closed {
        key,
        told: Some(told),
    };
    let state = Mutex::new((Some(requests), vec![closed]));
    // The first look comes too early, and what is to wake the engine is among the requests that it finds awake.
    let take_closed = move || {
        let (requests, closed) = &mut *state.lock().unwrap();
        match requests.take() {
            Some(requests) => {
                let _ = requests.try_send(Request::Wake);
                Vec::new()
            }
            None => std::mem::take(closed),
        }
    };
    // Without anybody who could send it a request, it ends where it would sleep.
    let beating = Beating::of(Pulse::default());
    EngineLoop::new(half, EngineOptions::new(1)).run(receiver, take_closed, &beating);
    assert!(wait.try_recv().is_ok(), "it has not been told");
}

/// Its sessions hold nothing then, and whoever watches it is told.
#[tokio::test]
async fn nobody_waits_for_an_engine_whose_thread_has_ended() {
    let options = EngineOptions {
        observe: |_| panic!("as the test asks"),
        ..EngineOptions::new(1)
    };
    let test = Test::start_with(options).await;
    let (one, two) = (test.session().await, test.session().await);
    let pulse = test.engine.pulse();
    let pending = one.submit(Priority::Decode, Step::Rows(1)).await.unwrap();
    test.allow.send(()).unwrap();
    assert_eq!(done(pending).await, 1);
    while pulse.turn() != Err(Ended) {
        tokio::task::yield_now().await;
    }
    one.close().await;
    two.close().await;
    assert!(matches!(
        test.engine.open(()).await,
        Err(EngineError::Stopped)
    ));
}

/// A session may be closed before the thread ends, and its closing seen after.
#[tokio::test]
async fn a_session_that_is_closed_while_the_thread_ends_is_closed() {
    let options = EngineOptions {
        observe: |_| panic!("as the test asks"),
        ..EngineOptions::new(1)
    };
    let test = Test::start_with(options).await;
    let other = test.session().await;
    let (held, pending) = test.hold().await;
    let closing = tokio::spawn(other.close());
    while test.engine.shared.closed.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    test.allow.send(()).unwrap();
    assert_eq!(done(pending).await, 1);
    closing.await.unwrap();
    held.close().await;
}
