//! The engine thread: makes every libtorch call of the process, and is talked to over a bounded
//! channel.
//!
//! One thread, because libtorch's pool of workers and its gradient mode belong to the thread that
//! calls it. A step there has rows of all sessions that are ready: those that wait for a token, and as many
//! rows of prompts and of drafts as do not keep these waiting for long. A step that panics loses its session and nothing
//! else.

use crate::engine_step::EngineStep;
use crate::error::EngineError;
use crate::gather::Gather;
use crate::half::{Half, Outcome, Turn, guarded};
use crate::pulse::{Beating, Pulse};
use crate::scheduler::{OwnerNumber, Priority, Scheduler, SessionNumber};
use crate::step_budget::StepBudget;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tandem_model::ComputeThread;
use tokio::sync::{mpsc, oneshot};

/// Sessions that wait for a token in one step.
const DECODE_ROWS: usize = 64;

/// How long a session counts as coming, behind a token of its answer.
const SOON: Duration = Duration::from_millis(250);

/// Between two looks for sessions that are waited for.
const LOOK: Duration = Duration::from_micros(50);

/// How an engine runs.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Threads that compute, the engine's own included.
    pub threads: usize,
    /// How much longer a step in which somebody waits for a token may take for the rows of prompts and of drafts in
    /// it; `None` for as much as it takes without.
    pub step: Option<Duration>,
    /// Is told of every step, on the engine's thread.
    pub observe: fn(&EngineStep),
}

impl EngineOptions {
    /// An engine that nobody observes.
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            step: None,
            observe: |_| {},
        }
    }
}

/// Requests that may wait in the channel; senders wait when it is full.
const WAITING_REQUESTS: usize = 256;

/// A finished step and where its time went.
#[derive(Debug)]
pub struct Completed<T> {
    /// What it gave.
    pub output: T,
    /// When it, or the step that it was merged into, was taken up.
    pub start: Instant,
    /// From submission to start.
    pub queue: Duration,
    /// What the engine's steps took that its parts ran in, without those in between. Zero for a step that was
    /// merged into a later one.
    pub compute: Duration,
}

/// The receiving end of a submitted step.
pub type Pending<T> = oneshot::Receiver<Result<Completed<T>, EngineError>>;

struct Reply<T> {
    to: oneshot::Sender<Result<Completed<T>, EngineError>>,
    submitted: Instant,
}

struct Job<Step, Output> {
    step: Step,
    replies: Vec<Reply<Output>>,
    /// When its first part was taken up, and how long its parts took so far.
    begun: Option<Instant>,
    compute: Duration,
}

enum Request<Open, Step, Output> {
    Open(
        Open,
        SessionNumber,
        oneshot::Sender<Result<(), EngineError>>,
    ),
    Step(SessionNumber, Priority, Job<Step, Output>),
    /// Look at the list of closed sessions.
    Wake,
}

type JobOf<H> = Job<<H as Half>::Step, <H as Half>::Output>;
type RequestOf<H> = Request<<H as Half>::Open, <H as Half>::Step, <H as Half>::Output>;

/// A handle to an engine thread. The thread ends when the last handle and session are dropped.
pub struct Engine<H: Half> {
    shared: Arc<Shared<H>>,
}

struct Shared<H: Half> {
    requests: mpsc::Sender<RequestOf<H>>,
    /// Closing must not wait and must not fail, hence a list beside the channel. It holds at most
    /// one entry a session.
    closed: Mutex<Vec<Closed>>,
    next_key: AtomicU64,
    pulse: Pulse,
}

impl<H: Half> Shared<H> {
    fn take_closed(&self) -> Vec<Closed> {
        std::mem::take(&mut *self.closed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A session to be forgotten, and who waits for that.
struct Closed {
    key: SessionNumber,
    told: Option<oneshot::Sender<()>>,
}

impl<H: Half> Clone for Engine<H> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<H: Half> std::fmt::Debug for Engine<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl<H: Half> Engine<H> {
    /// Starts a thread that computes, loads a half there, and waits for it.
    ///
    /// # Errors
    /// Those of `load`, and `Stopped` when the thread cannot be started.
    pub async fn start<E: Send + 'static>(
        name: &str,
        options: EngineOptions,
        load: impl FnOnce() -> Result<H, E> + Send + 'static,
    ) -> Result<Self, StartError<E>> {
        Self::start_with(name, options, load).await
    }

    /// The same with another half, which takes and gives what this one does.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn start_with<D, E>(
        name: &str,
        options: EngineOptions,
        load: impl FnOnce() -> Result<D, E> + Send + 'static,
    ) -> Result<Self, StartError<E>>
    where
        D: Half<Open = H::Open, Step = H::Step, Output = H::Output>,
        E: Send + 'static,
    {
        let (requests, receiver) = mpsc::channel(WAITING_REQUESTS);
        let shared = Arc::new(Shared {
            requests,
            closed: Mutex::default(),
            next_key: AtomicU64::new(0),
            pulse: Pulse::default(),
        });
        let beating = Beating::of(shared.pulse.clone());
        let (loaded, wait) = oneshot::channel();
        let thread_shared = Arc::downgrade(&shared);
        let take_closed = move || {
            let shared = thread_shared.upgrade();
            shared.map_or(Vec::new(), |shared| shared.take_closed())
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _at_the_end = AtTheEnd(&take_closed);
                let _computing = ComputeThread::begin(options.threads);
                match load() {
                    Ok(half) => {
                        let _ = loaded.send(Ok(()));
                        EngineLoop::new(half, options).run(receiver, &take_closed, &beating);
                    }
                    Err(error) => {
                        let _ = loaded.send(Err(error));
                    }
                }
            })
            .map_err(StartError::Thread)?;
        match wait.await {
            Ok(Ok(())) => Ok(Self { shared }),
            Ok(Err(error)) => Err(StartError::Load(error)),
            Err(_) => Err(StartError::LoadPanicked),
        }
    }

    /// Opens a session of nobody in particular.
    ///
    /// # Errors
    /// Those of [`Half::open`], and `Stopped`.
    pub async fn open(&self, open: H::Open) -> Result<EngineSession<H>, EngineError> {
        self.open_for(OwnerNumber::default(), 0, open).await
    }

    /// Opens a session whose rows count among an owner's. Those of an answer that has had sessions before, `moved` of them,
    /// go before the owner's new prompts.
    ///
    /// # Errors
    /// Those of [`Half::open`], and `Stopped`.
    pub async fn open_for(
        &self,
        owner: OwnerNumber,
        moved: u32,
        open: H::Open,
    ) -> Result<EngineSession<H>, EngineError> {
        let number = self.shared.next_key.fetch_add(1, Ordering::Relaxed);
        let key = SessionNumber {
            number,
            owner,
            moved,
        };
        let session = EngineSession {
            engine: self.clone(),
            key,
            told: None,
        };
        let (reply, wait) = oneshot::channel();
        self.send(Request::Open(open, key, reply)).await?;
        wait.await.map_err(|_| EngineError::Stopped)??;
        Ok(session)
    }

    /// What its thread says of itself.
    pub fn pulse(&self) -> Pulse {
        self.shared.pulse.clone()
    }

    async fn send(&self, request: RequestOf<H>) -> Result<(), EngineError> {
        self.shared
            .requests
            .send(request)
            .await
            .map_err(|_| EngineError::Stopped)
    }
}

/// Why an engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError<E> {
    /// The thread could not be started.
    #[error("cannot start the engine thread: {0}")]
    Thread(std::io::Error),
    /// Loading failed.
    #[error(transparent)]
    Load(E),
    /// Loading panicked; the message went to the log.
    #[error("loading the model panicked")]
    LoadPanicked,
}

/// An open session. Dropping it frees its memory before the next step of anyone.
#[derive(Debug)]
pub struct EngineSession<H: Half> {
    engine: Engine<H>,
    key: SessionNumber,
    /// Who waits until it is closed.
    told: Option<oneshot::Sender<()>>,
}

impl<H: Half> EngineSession<H> {
    /// Queues a step and returns what will receive its result. Waits while the channel is full.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn submit(
        &self,
        priority: Priority,
        step: H::Step,
    ) -> Result<Pending<H::Output>, EngineError> {
        let (to, wait) = oneshot::channel();
        let job = Job {
            step,
            replies: vec![Reply {
                to,
                submitted: Instant::now(),
            }],
            begun: None,
            compute: Duration::ZERO,
        };
        self.engine
            .send(Request::Step(self.key, priority, job))
            .await?;
        Ok(wait)
    }

    /// Queues a step and waits for its result.
    ///
    /// # Errors
    /// Those of the step, and `Stopped`.
    pub async fn run(
        &self,
        priority: Priority,
        step: H::Step,
    ) -> Result<Completed<H::Output>, EngineError> {
        let wait = self.submit(priority, step).await?;
        wait.await.map_err(|_| EngineError::SessionGone)?
    }

    /// Closes it, and waits until its memory is free: for the end of the step under way.
    pub async fn close(mut self) {
        let (told, wait) = oneshot::channel();
        self.told = Some(told);
        drop(self);
        // An engine that has stopped holds nothing either.
        let _ = wait.await;
    }
}

impl<H: Half> Drop for EngineSession<H> {
    fn drop(&mut self) {
        let shared = &self.engine.shared;
        shared
            .closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Closed {
                key: self.key,
                told: self.told.take(),
            });
        // When the channel is full the thread is awake, and looks at the list after each step.
        let woken = shared.requests.try_send(Request::Wake);
        if let Err(mpsc::error::TrySendError::Closed(_)) = woken {
            // Nobody looks any more, and nothing is held.
            drop(shared.take_closed());
        }
    }
}

/// Tells those that wait for the end of a session, when the thread ends before.
struct AtTheEnd<F: Fn() -> Vec<Closed>>(F);

impl<F: Fn() -> Vec<Closed>> Drop for AtTheEnd<F> {
    fn drop(&mut self) {
        drop((self.0)());
    }
}

/// The thread's own side.
struct EngineLoop<H: Half> {
    half: H,
    sessions: HashMap<SessionNumber, H::Session>,
    scheduler: Scheduler<JobOf<H>>,
    budget: StepBudget,
    observe: fn(&EngineStep),
    gather: Gather,
    /// Sessions that come soon with the next row of an answer, and the end of the step that they come from.
    coming: Vec<(SessionNumber, Instant)>,
    /// When the last step ended, and what it took.
    last: (Instant, Duration),
}

/// A session whose turn it is, with its step.
struct Taken<H: Half> {
    key: SessionNumber,
    session: H::Session,
    job: JobOf<H>,
    priority: Priority,
    /// How many of its rows run.
    rows: usize,
}

impl<H: Half> EngineLoop<H> {
    fn new(half: H, options: EngineOptions) -> Self {
        Self {
            half,
            sessions: HashMap::new(),
            scheduler: Scheduler::new(),
            budget: StepBudget::new(options.step),
            observe: options.observe,
            gather: Gather::default(),
            coming: Vec::new(),
            last: (Instant::now(), Duration::ZERO),
        }
    }

    fn run(
        mut self,
        mut requests: mpsc::Receiver<RequestOf<H>>,
        take_closed: impl Fn() -> Vec<Closed>,
        beating: &Beating,
    ) {
        loop {
            beating.turn();
            // What was closed by now was opened before, so its opening is among the requests.
            let closed = take_closed();
            let mut has_come = false;
            while let Ok(request) = requests.try_recv() {
                self.accept(request);
                has_come = true;
            }
            self.close(closed);
            self.wait_for_others(&mut requests);
            // A session that was closed since the look above has sent its wake, which may be among what has come.
            if self.step() || has_come {
                continue;
            }
            beating.rest();
            match requests.blocking_recv() {
                Some(request) => self.accept(request),
                None => return,
            }
        }
    }

    /// Waits for those of the last step that are near, where others are ready.
    fn wait_for_others(&mut self, requests: &mut mpsc::Receiver<RequestOf<H>>) {
        if !self.scheduler.is_ready() {
            return;
        }
        while let Some(until) = self.wait_until()
            && Instant::now() < until
        {
            match requests.try_recv() {
                Ok(request) => self.accept(request),
                // What they come through may need this processor.
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }

    /// Until when the sessions of the last step are waited for that are near and have not come.
    fn wait_until(&self) -> Option<Instant> {
        let (ended, took) = self.last;
        let of_last = self.coming.iter().filter(|(_, from)| *from == ended);
        let away = of_last.filter(|(key, _)| self.is_coming(*key));
        let waits = away.filter_map(|(key, _)| self.gather.wait(*key, took));
        waits.max().map(|wait| ended + wait)
    }

    /// Whether a session is open and has no step that waits.
    fn is_coming(&self, key: SessionNumber) -> bool {
        self.sessions.contains_key(&key) && !self.scheduler.has_step(key)
    }

    /// Whether anybody comes soon with a row that a long step would hold up.
    fn is_awaited(&self) -> bool {
        let soon =
            |(key, from): &(SessionNumber, Instant)| from.elapsed() < SOON && self.is_coming(*key);
        self.coming.iter().any(soon)
    }

    fn accept(&mut self, request: RequestOf<H>) {
        match request {
            Request::Open(open, key, reply) => {
                let half = &mut self.half;
                let opened = guarded(|| half.open(open)).map(|session| {
                    self.sessions.insert(key, session);
                });
                // A requester that is gone drops its session, which closes it.
                let _ = reply.send(opened);
            }
            Request::Step(key, priority, job) => {
                if priority == Priority::Decode {
                    self.note_trip(key, &job);
                }
                self.scheduler.push(key, priority, job);
            }
            Request::Wake => {}
        }
    }

    /// Learns how long a session has taken from its token to this row.
    fn note_trip(&mut self, key: SessionNumber, job: &JobOf<H>) {
        let token = self.coming.iter().find(|(other, _)| *other == key);
        let row = job.replies.first().map(|reply| reply.submitted);
        // A row that was sent before the token was there is none that it brought.
        if let Some(((_, token), row)) = token.zip(row)
            && row > *token
            && self.is_coming(key)
        {
            self.gather.came(key, row.saturating_duration_since(*token));
        }
    }

    fn close(&mut self, closed: Vec<Closed>) {
        for Closed { key, told } in closed {
            self.gather.forget(key);
            self.scheduler.remove(key);
            self.sessions.remove(&key);
            if let Some(told) = told {
                let _ = told.send(());
            }
        }
    }

    /// Runs what is ready, together; false where nothing is.
    fn step(&mut self) -> bool {
        let mut batch = Vec::new();
        let mut idle = true;
        let mut decoding = 0;
        while decoding < DECODE_ROWS
            && let Some((key, job)) = self.scheduler.take_decode(absorb::<H>)
        {
            idle = false;
            let rows = H::rows(&job.step, usize::MAX);
            let Some(taken) = self.take(key, job, (Priority::Decode, rows)) else {
                continue;
            };
            if rows == 0 || H::is_dropped(&taken.session, &taken.job.step) {
                // It takes no time.
                self.run_batch(vec![taken]);
            } else {
                decoding += 1;
                self.scheduler.ran(key, Priority::Decode, 1);
                batch.push(taken);
            }
        }
        let awaited = self.is_awaited();
        let most = self.budget.rows(decoding, awaited);
        let mut of_prompts = 0;
        while of_prompts < most
            && let Some((key, job)) = self.scheduler.take_prefill(absorb::<H>)
        {
            idle = false;
            let rows = H::rows(&job.step, most - of_prompts);
            if let Some(taken) = self.take(key, job, (Priority::Prefill, rows)) {
                of_prompts += rows;
                self.scheduler.ran(key, Priority::Prefill, rows);
                batch.push(taken);
            }
        }
        let others_wait = decoding > 1 || awaited || of_prompts > 0 || self.scheduler.has_prefill();
        let left = if others_wait {
            most.saturating_sub(of_prompts)
        } else {
            usize::MAX
        };
        let of_drafts = self.cut_drafts(&mut batch[..decoding], left);
        if !batch.is_empty() {
            let of_step: HashSet<SessionNumber> = batch.iter().map(|taken| taken.key).collect();
            let began = Instant::now();
            let coming = self.run_batch(batch);
            let step = EngineStep {
                decode_rows: decoding + of_drafts,
                draft_rows: of_drafts,
                prefill_rows: of_prompts,
                took: began.elapsed(),
            };
            let now = Instant::now();
            self.last = (now, step.took);
            self.coming
                .retain(|(key, from)| from.elapsed() < SOON && !of_step.contains(key));
            self.coming.extend(coming.into_iter().map(|key| (key, now)));
            self.budget.learn(&step);
            (self.observe)(&step);
        }
        !idle
    }

    /// Of decode steps of several rows, takes as many of those that are of drafts as there is time `left` for, and returns
    /// how many these are. What is left of a step runs in later ones: in none where a draft before it was wrong.
    fn cut_drafts(&mut self, batch: &mut [Taken<H>], mut left: usize) -> usize {
        let mut waiting = batch.iter().filter(|taken| taken.rows > 1).count();
        let mut drafts = 0;
        for taken in batch.iter_mut().filter(|taken| taken.rows > 1) {
            let share = left.div_ceil(waiting);
            waiting -= 1;
            // All of a step that cannot be cut.
            taken.rows = H::rows(&taken.job.step, share.saturating_add(1));
            let of_drafts = taken.rows - 1;
            left = left.saturating_sub(of_drafts);
            drafts += of_drafts;
            self.scheduler.ran(taken.key, taken.priority, of_drafts);
        }
        drafts
    }

    /// The session of a step, for as long as that runs.
    fn take(
        &mut self,
        key: SessionNumber,
        job: JobOf<H>,
        (priority, rows): (Priority, usize),
    ) -> Option<Taken<H>> {
        match self.sessions.remove(&key) {
            Some(session) => Some(Taken {
                key,
                session,
                job,
                priority,
                rows,
            }),
            None => {
                self.scheduler.finish(key);
                let now = Instant::now();
                answer(
                    job.replies,
                    Err(EngineError::SessionGone),
                    (now, Duration::ZERO),
                );
                None
            }
        }
    }

    /// Runs steps together, and returns the sessions that come soon with the next row of an answer.
    fn run_batch(&mut self, mut batch: Vec<Taken<H>>) -> Vec<SessionNumber> {
        let mut coming = Vec::new();
        let began = Instant::now();
        let mut turns: Vec<Turn<'_, H>> = batch
            .iter_mut()
            .map(|taken| Turn::new(&mut taken.session, &mut taken.job.step, taken.rows))
            .collect();
        let half = &mut self.half;
        let ran = guarded(|| {
            half.run(&mut turns);
            Ok(())
        });
        let outcomes: Vec<Outcome<H::Output>> =
            turns.into_iter().map(|turn| turn.outcome).collect();
        let took = began.elapsed();
        for (taken, outcome) in batch.into_iter().zip(outcomes) {
            let Taken {
                key,
                session,
                mut job,
                priority,
                ..
            } = taken;
            let start = *job.begun.get_or_insert(began);
            job.compute += took;
            let done = match outcome {
                Outcome::Unfinished => {
                    self.sessions.insert(key, session);
                    self.scheduler.put_back(key, priority, job);
                    continue;
                }
                Outcome::Done(done) => done,
                Outcome::NotRun => Err(match &ran {
                    Err(error) => error.clone(),
                    Ok(()) => EngineError::SessionGone,
                }),
            };
            if done.as_ref().is_ok_and(H::goes_on) {
                coming.push(key);
            }
            if let Err(EngineError::Panicked(message)) = &done {
                tracing::error!(message, "a step panicked; its session is lost");
            } else {
                self.sessions.insert(key, session);
            }
            self.scheduler.finish(key);
            answer(job.replies, done, (start, job.compute));
        }
        coming
    }
}

fn absorb<H: Half>(job: &mut JobOf<H>, next: JobOf<H>) -> Option<JobOf<H>> {
    match H::merge(&mut job.step, next.step) {
        Some(step) => Some(Job { step, ..next }),
        None => {
            job.replies.extend(next.replies);
            None
        }
    }
}

fn answer<T: Default>(
    mut replies: Vec<Reply<T>>,
    result: Result<T, EngineError>,
    (start, compute): (Instant, Duration),
) {
    let last = replies.pop();
    for reply in replies {
        let queue = start.saturating_duration_since(reply.submitted);
        let _ = reply.to.send(match &result {
            Ok(_) => Ok(Completed {
                output: T::default(),
                start,
                queue,
                compute: Duration::ZERO,
            }),
            Err(error) => Err(error.clone()),
        });
    }
    if let Some(reply) = last {
        let queue = start.saturating_duration_since(reply.submitted);
        let _ = reply.to.send(result.map(|output| Completed {
            output,
            start,
            queue,
            compute,
        }));
    }
}

#[cfg(test)]
mod tests;
