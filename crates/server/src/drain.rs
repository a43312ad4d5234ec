//! The end of a server: it stops taking work, finishes what it has, and closes within a deadline.
//!
//! ```text
//! serving ──SIGTERM, SIGINT──► draining ──no work left, or the deadline──► closing
//!                              health says NOT_SERVING                     listeners close,
//!                              new work gets UNAVAILABLE                   what still runs ends
//! ```
//!
//! The listener stays open while draining, so that a client gets a status and not a refused
//! connection. A second signal ends the process at once.

use std::io;
use std::process;
use std::sync::Arc;
use std::time::Duration;
use tandem_shape::Reason;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{info, warn};

use crate::health::Health;

/// How long connections may outlast the work of a drained server: what keeps one open then is no work.
const LAST_CONNECTIONS: Duration = Duration::from_millis(500);

/// The owner of a server's end. Keep it until the process ends: the second signal is its work too.
#[derive(Debug)]
pub struct Drain {
    signal: DrainSignal,
    deadline: Duration,
    /// Listens for signals; ends with its owner.
    _signals: Option<AbortOnDropHandle<()>>,
}

/// What the rest of a server knows of its end.
#[derive(Debug, Clone)]
pub struct DrainSignal(Arc<State>);

#[derive(Debug)]
struct State {
    draining: CancellationToken,
    closing: CancellationToken,
    work: TaskTracker,
    health: Health,
}

/// Work that a drain waits for; dropped when the work has ended. A copy is for what the same work does besides.
#[derive(Debug, Clone)]
pub struct WorkGuard {
    _counted: TaskTrackerToken,
}

/// New work is refused, because the server is draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server is shutting down and takes no new work")]
pub struct Draining;

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// All work had ended.
    Clean,
    /// The deadline passed first.
    Late {
        /// Pieces of work that were cut off.
        unfinished: usize,
    },
}

impl Drain {
    /// A drain that begins only when [`DrainSignal::begin`] is called. Work gets until `deadline`
    /// after that; `health` says NOT_SERVING from then on.
    pub fn new(deadline: Duration, health: Health) -> Self {
        let signal = DrainSignal(Arc::new(State {
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            work: TaskTracker::new(),
            health,
        }));
        Self {
            signal,
            deadline,
            _signals: None,
        }
    }

    /// The same, and SIGTERM and SIGINT begin it too; a second one of them ends the process with
    /// the exit code that shells give for it (143, 130). Needs a tokio runtime.
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
    pub fn on_signals(deadline: Duration, health: Health) -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let drain = Self::new(deadline, health);
        let task = tokio::spawn(listen(terminate, interrupt, drain.signal.clone()));
        Ok(Self {
            _signals: Some(AbortOnDropHandle::new(task)),
            ..drain
        })
    }

    /// What the rest of the server needs to know of it.
    pub fn signal(&self) -> DrainSignal {
        self.signal.clone()
    }

    /// Waits for something to be loaded; `None` when the drain ends first.
    ///
    /// # Errors
    /// What loading says.
    pub async fn unless_drained<T, E>(
        &self,
        loading: impl Future<Output = Result<T, E>>,
    ) -> Result<Option<T>, E> {
        tokio::select! {
            loaded = loading => loaded.map(Some),
            () = self.signal.closing() => Ok(None),
            _ = self.finished() => Ok(None),
        }
    }

    /// As [`Drain::finished`], and half a second more for connections to close.
    pub async fn connections_closed(&self) {
        let _ = self.finished().await;
        tokio::time::sleep(LAST_CONNECTIONS).await;
    }

    /// Waits for the drain to begin, and then until all work has ended or the deadline has passed;
    /// then everything that waits for [`DrainSignal::closing`] goes on.
    pub async fn finished(&self) -> Drained {
        let state = &self.signal.0;
        state.draining.cancelled().await;
        info!(work = state.work.len(), deadline = ?self.deadline, "draining");
        let drained = match tokio::time::timeout(self.deadline, state.work.wait()).await {
            Ok(()) => Drained::Clean,
            Err(_) => Drained::Late {
                unfinished: state.work.len(),
            },
        };
        match drained {
            Drained::Clean => info!("drained"),
            Drained::Late { unfinished } => warn!(unfinished, "the drain's deadline has passed"),
        }
        state.closing.cancel();
        drained
    }
}

impl DrainSignal {
    /// Begins the drain; nothing happens if it has begun.
    pub fn begin(&self) {
        self.0.health.drain();
        self.0.draining.cancel();
        self.0.work.close();
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Waits until the drain begins.
    pub async fn draining(&self) {
        self.0.draining.cancelled().await;
    }

    /// Waits until what still runs must end and listeners close. The future stands alone, as
    /// `serve_with_incoming_shutdown` wants it.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.closing.clone().cancelled_owned()
    }

    /// Counts a piece of work in, which the drain waits for until the guard is dropped.
    ///
    /// # Errors
    /// The drain has begun.
    pub fn work(&self) -> Result<WorkGuard, Draining> {
        // Counted first, asked second: a drain that begins in between waits for it or refuses it.
        let guard = WorkGuard {
            _counted: self.0.work.token(),
        };
        if self.is_draining() {
            Err(Draining)
        } else {
            Ok(guard)
        }
    }

    /// Pieces of work that have not ended.
    pub fn in_flight(&self) -> usize {
        self.0.work.len()
    }
}

impl From<Draining> for tonic::Status {
    fn from(draining: Draining) -> Self {
        tandem_status::unavailable(Reason::Draining, draining.to_string(), None)
    }
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, drain: DrainSignal) {
    let name = either(&mut terminate, &mut interrupt).await.0;
    info!(
        signal = name,
        "shutting down; a second signal ends the process at once"
    );
    drain.begin();
    let (name, code) = either(&mut terminate, &mut interrupt).await;
    warn!(signal = name, "a second signal: ending at once");
    process::exit(code);
}

/// The name of the next signal and the exit code of a process that it ends.
async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", 128 + 15),
        _ = interrupt.recv() => ("SIGINT", 128 + 2),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use tonic::Code;

    use tandem_config::ByteSize;
    use tandem_transport::connections::ConnectionsConfig;
    use tandem_transport::grpc::{TransportConfig, bind, endpoint, incoming, server_builder};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    /// Set for the child process of a test alone.
    const CHILD: &str = "TANDEM_TEST_DRAIN_CHILD";

    fn drain(deadline: Duration) -> Drain {
        Drain::new(deadline, Health::new(["tandem.v1.Test"]))
    }

    #[tokio::test]
    async fn a_drain_waits_for_work_and_refuses_new_work() {
        let drain = drain(Duration::from_secs(60));
        let signal = drain.signal();
        signal.0.health.set_all_serving();
        let work = signal.work().unwrap();
        assert!(!signal.is_draining());

        let finished = tokio::spawn(async move { drain.finished().await });
        signal.begin();
        signal.draining().await;
        assert!(!signal.0.health.is_ready());
        assert_eq!(signal.work().unwrap_err(), Draining);
        assert_eq!(signal.in_flight(), 1);
        assert!(!finished.is_finished());

        drop(work);
        signal.closing().await;
        assert_eq!(finished.await.unwrap(), Drained::Clean);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_at_its_deadline() {
        let drain = drain(Duration::from_secs(30));
        let signal = drain.signal();
        let _work = (signal.work().unwrap(), signal.work().unwrap());
        signal.begin();
        let began = tokio::time::Instant::now();
        assert_eq!(drain.finished().await, Drained::Late { unfinished: 2 });
        assert!(began.elapsed() >= Duration::from_secs(30));
        signal.closing().await;
    }

    #[test]
    fn refused_work_is_unavailable() {
        let status = tonic::Status::from(Draining);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(tandem_status::reason(&status).as_deref(), Some("DRAINING"));
    }

    /// Not a test of its own: a server that never finishes its work.
    #[test]
    #[ignore = "runs in a child process"]
    fn child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let health = Health::new(["tandem.v1.Test"]);
            let drain = Drain::on_signals(Duration::from_secs(60), health).unwrap();
            let signal = drain.signal();
            let _work = signal.work().unwrap();
            println!("\nserving");
            let draining = async {
                signal.draining().await;
                println!("draining");
            };
            let _ = tokio::join!(drain.finished(), draining);
        });
    }

    #[test]
    fn the_first_signal_drains_and_the_second_ends_the_process() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "drain::tests::child", "--ignored", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id().to_string();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wait_for = |word: &str| lines.any(|line| line.unwrap() == word);
        let send = |signal: &str| Command::new("kill").args([signal, &id]).status().unwrap();

        assert!(wait_for("serving"));
        assert!(send("-TERM").success());
        assert!(wait_for("draining"));
        assert!(child.try_wait().unwrap().is_none());
        assert!(send("-INT").success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }

    #[tokio::test]
    async fn both_ends_talk_until_the_drain_closes_them() {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let health = Health::new(["tandem.v1.Test"]);
        let drain = Drain::new(Duration::from_secs(10), health.clone());
        let server = server_builder(&transport())
            .add_service(health.server())
            .serve_with_incoming_shutdown(incoming(listener), drain.signal().closing());
        let server = tokio::spawn(server);
        health.set_all_serving();

        let endpoint = endpoint(&address, &transport(), Duration::from_secs(10)).unwrap();
        let mut client = HealthClient::new(endpoint.connect().await.unwrap());
        client.check(HealthCheckRequest::default()).await.unwrap();

        drain.signal().begin();
        let answer = client.check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(answer.get_ref().status(), ServingStatus::NotServing);
        assert_eq!(drain.finished().await, Drained::Clean);
        server.await.unwrap().unwrap();
        assert!(client.check(HealthCheckRequest::default()).await.is_err());
    }

    fn transport() -> TransportConfig {
        TransportConfig {
            keepalive_interval: Duration::from_secs(20).into(),
            keepalive_timeout: Duration::from_secs(10).into(),
            max_connection_age: Duration::ZERO.into(),
            stream_window: ByteSize::mib(4),
            connection_window: ByteSize::mib(16),
            max_message: ByteSize::mib(4),
            connections: ConnectionsConfig::default(),
        }
    }
}
