//! The engine thread: makes every libtorch call of the process, and is talked to over a bounded
//! channel.
//!
//! One thread, because libtorch's pool of workers and its gradient mode belong to the thread that
//! calls it. Sessions take turns there; a step that panics loses its session and nothing else.

use crate::error::EngineError;
use crate::scheduler::{Priority, Scheduler, SessionNumber};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tandem_model::ComputeThread;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait in the channel; senders wait when it is full.
const WAITING_REQUESTS: usize = 256;

/// One half of a split model, as the engine thread drives it.
pub trait Half: 'static {
    /// What a session keeps between steps.
    type Session;
    /// What a session is opened with.
    type Open: Send + 'static;
    /// One step of a session.
    type Step: Send + 'static;
    /// What a step gives. Steps merged into a later one give the default.
    type Output: Default + Send + 'static;

    /// Opens a session.
    ///
    /// # Errors
    /// When there is no room for it.
    fn open(&mut self, open: Self::Open) -> Result<Self::Session, EngineError>;

    /// Runs a step, or a part of a long one, which is taken off `step`: `None` when there is more to do.
    /// Others have their turn before the next part.
    ///
    /// # Errors
    /// As the step says. The session is then as it was before the part.
    fn advance(
        &mut self,
        session: &mut Self::Session,
        step: &mut Self::Step,
    ) -> Result<Option<Self::Output>, EngineError>;

    /// Runs a step to its end.
    ///
    /// # Errors
    /// As the step says.
    fn step(
        &mut self,
        session: &mut Self::Session,
        mut step: Self::Step,
    ) -> Result<Self::Output, EngineError> {
        loop {
            if let Some(output) = self.advance(session, &mut step)? {
                return Ok(output);
            }
        }
    }

    /// Makes `next` part of `step`, both waiting prefills of one session, or gives it back.
    fn merge(step: &mut Self::Step, next: Self::Step) -> Option<Self::Step>;
}

/// A finished step and where its time went.
#[derive(Debug)]
pub struct Completed<T> {
    /// What it gave.
    pub output: T,
    /// When it, or the step that it was merged into, was taken up.
    pub start: Instant,
    /// From submission to start.
    pub queue: Duration,
    /// What its parts took, without what others did in between. Zero for a step that was merged into a
    /// later one.
    pub compute: Duration,
}

/// The receiving end of a submitted step.
pub type Pending<T> = oneshot::Receiver<Result<Completed<T>, EngineError>>;

struct Reply<T> {
    to: oneshot::Sender<Result<Completed<T>, EngineError>>,
    submitted: Instant,
}

struct Job<H: Half> {
    step: H::Step,
    replies: Vec<Reply<H::Output>>,
    /// When its first part was taken up, and how long its parts took so far.
    begun: Option<Instant>,
    compute: Duration,
}

enum Request<H: Half> {
    Open(
        H::Open,
        SessionNumber,
        oneshot::Sender<Result<(), EngineError>>,
    ),
    Step(SessionNumber, Priority, Job<H>),
    /// Look at the list of closed sessions.
    Wake,
}

/// A handle to an engine thread. The thread ends when the last handle and session are dropped.
pub struct Engine<H: Half> {
    shared: Arc<Shared<H>>,
}

struct Shared<H: Half> {
    requests: mpsc::Sender<Request<H>>,
    /// Closing must not wait and must not fail, hence a list beside the channel. It holds at most
    /// one entry a session.
    closed: Mutex<Vec<SessionNumber>>,
    next_key: AtomicU64,
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
    /// Starts a thread that computes on `threads` threads with itself, loads a half there, and waits
    /// for it.
    ///
    /// # Errors
    /// Those of `load`, and `Stopped` when the thread cannot be started.
    pub async fn start<E: Send + 'static>(
        name: &str,
        threads: usize,
        load: impl FnOnce() -> Result<H, E> + Send + 'static,
    ) -> Result<Self, StartError<E>> {
        let (requests, receiver) = mpsc::channel(WAITING_REQUESTS);
        let shared = Arc::new(Shared {
            requests,
            closed: Mutex::default(),
            next_key: AtomicU64::new(0),
        });
        let (loaded, wait) = oneshot::channel();
        let thread_shared = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _computing = ComputeThread::begin(threads);
                match load() {
                    Ok(half) => {
                        let _ = loaded.send(Ok(()));
                        EngineLoop::new(half).run(receiver, &thread_shared);
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

    /// Opens a session.
    ///
    /// # Errors
    /// Those of [`Half::open`], and `Stopped`.
    pub async fn open(&self, open: H::Open) -> Result<EngineSession<H>, EngineError> {
        let key = SessionNumber(self.shared.next_key.fetch_add(1, Ordering::Relaxed));
        let session = EngineSession {
            engine: self.clone(),
            key,
        };
        let (reply, wait) = oneshot::channel();
        self.send(Request::Open(open, key, reply)).await?;
        wait.await.map_err(|_| EngineError::Stopped)??;
        Ok(session)
    }

    async fn send(&self, request: Request<H>) -> Result<(), EngineError> {
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
}

impl<H: Half> Drop for EngineSession<H> {
    fn drop(&mut self) {
        let shared = &self.engine.shared;
        shared
            .closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.key);
        // When the channel is full the thread is awake, and looks at the list after each step.
        let _ = shared.requests.try_send(Request::Wake);
    }
}

/// The thread's own side.
struct EngineLoop<H: Half> {
    half: H,
    sessions: HashMap<SessionNumber, H::Session>,
    scheduler: Scheduler<Job<H>>,
}

impl<H: Half> EngineLoop<H> {
    fn new(half: H) -> Self {
        Self {
            half,
            sessions: HashMap::new(),
            scheduler: Scheduler::new(),
        }
    }

    fn run(
        mut self,
        mut requests: mpsc::Receiver<Request<H>>,
        shared: &std::sync::Weak<Shared<H>>,
    ) {
        loop {
            while let Ok(request) = requests.try_recv() {
                self.accept(request);
            }
            if let Some(shared) = shared.upgrade() {
                self.close(&shared);
            }
            if let Some((key, job)) = self.scheduler.pop(absorb) {
                self.step(key, job);
                continue;
            }
            match requests.blocking_recv() {
                Some(request) => self.accept(request),
                None => return,
            }
        }
    }

    fn accept(&mut self, request: Request<H>) {
        match request {
            Request::Open(open, key, reply) => {
                let half = &mut self.half;
                let opened = guarded(|| half.open(open)).map(|session| {
                    self.sessions.insert(key, session);
                });
                // A requester that is gone drops its session, which closes it.
                let _ = reply.send(opened);
            }
            Request::Step(key, priority, job) => self.scheduler.push(key, priority, job),
            Request::Wake => {}
        }
    }

    fn close(&mut self, shared: &Shared<H>) {
        let closed =
            std::mem::take(&mut *shared.closed.lock().unwrap_or_else(PoisonError::into_inner));
        for key in closed {
            self.scheduler.remove(key);
            self.sessions.remove(&key);
        }
    }

    fn step(&mut self, key: SessionNumber, mut job: Job<H>) {
        let part_begun = Instant::now();
        let start = *job.begun.get_or_insert(part_begun);
        let result = match self.sessions.get_mut(&key) {
            None => Err(EngineError::SessionGone),
            Some(session) => {
                let half = &mut self.half;
                guarded(|| half.advance(session, &mut job.step))
            }
        };
        job.compute += part_begun.elapsed();
        if let Err(EngineError::Panicked(message)) = &result {
            tracing::error!(message, "a step panicked; its session is lost");
            self.sessions.remove(&key);
        }
        match result {
            Ok(None) => self.scheduler.resume(key, job),
            Ok(Some(output)) => answer(job.replies, Ok(output), (start, job.compute)),
            Err(error) => answer(job.replies, Err(error), (start, job.compute)),
        }
    }
}

fn absorb<H: Half>(job: &mut Job<H>, next: Job<H>) -> Option<Job<H>> {
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

fn guarded<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "panic without a message".to_owned());
        Err(EngineError::Panicked(message))
    })
}

#[cfg(test)]
mod tests;
