//! One server process.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tonic::Status;
use tonic_health::pb::health_check_response::ServingStatus;

use super::binaries::{self, Binary};
use super::health;
use super::memory::Memory;
use super::metrics::Metrics;
use super::options::ServerOptions;
use crate::port::ReservedPort;

/// Between two looks at a process or its health.
const POLL: Duration = Duration::from_millis(10);

/// How much of a log an error message or a failed test shows.
const LOG_SHOWN: usize = 16 * 1024;

/// A running `cloud-service` or `edge-agent`. It keeps its two ports for as long as this value
/// lives, across restarts; dropped, the process is killed and reaped, and if the test is
/// panicking its log is printed. (A test that returns `Err` does not panic: unwrap instead.)
#[derive(Debug)]
pub struct Server {
    child: Child,
    program: Program,
    port: ReservedPort,
    metrics_port: ReservedPort,
    /// Holds the config file and the log.
    folder: TempDir,
}

/// What is started, and started again.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// The health name that is to be SERVING besides the whole server's.
    pub(super) service: &'static str,
    /// After `serve`.
    pub(super) arguments: Vec<OsString>,
    pub(super) options: ServerOptions,
}

impl Server {
    /// Starts a cloud with the back layers of `model` and waits until it serves.
    pub async fn cloud(model: &Path, options: ServerOptions) -> Result<Self> {
        Self::spawn_cloud(model, options)?.serving().await
    }

    /// Starts a cloud and does not wait.
    pub fn spawn_cloud(model: &Path, options: ServerOptions) -> Result<Self> {
        Self::spawn(Program {
            path: options.path_of(Binary::CloudService),
            service: "tandem.v1.SplitService",
            arguments: vec!["--model".into(), model.into()],
            options,
        })
    }

    /// Starts an edge with the first `split` layers of `model` and waits until it serves.
    pub async fn edge(
        model: &Path,
        cloud_url: &str,
        split: u32,
        options: ServerOptions,
    ) -> Result<Self> {
        let server = Self::spawn_edge(model, cloud_url, split, options)?;
        server.serving().await
    }

    /// Starts an edge and does not wait.
    pub fn spawn_edge(
        model: &Path,
        cloud_url: &str,
        split: u32,
        options: ServerOptions,
    ) -> Result<Self> {
        let split = split.to_string();
        let mut more: Vec<(&str, &OsStr)> = vec![("--split", split.as_ref())];
        // Most tests compare with what is exact; the others name a preset.
        if !options.arguments.iter().any(|a| a == "--preset") {
            more.push(("--preset", "exact".as_ref()));
        }
        Self::spawn_edge_with(model, cloud_url, &more, options)
    }

    /// Starts an edge that plans its split, and does not wait.
    pub fn spawn_planning_edge(
        model: &Path,
        cloud_url: &str,
        options: ServerOptions,
    ) -> Result<Self> {
        Self::spawn_edge_with(model, cloud_url, &[], options)
    }

    fn spawn_edge_with(
        model: &Path,
        cloud_url: &str,
        more: &[(&str, &OsStr)],
        options: ServerOptions,
    ) -> Result<Self> {
        let both = [
            ("--model", model.as_os_str()),
            ("--cloud", cloud_url.as_ref()),
        ];
        Self::spawn(Program {
            path: options.path_of(Binary::EdgeAgent),
            service: "tandem.v1.GenerationService",
            arguments: both
                .iter()
                .chain(more)
                .flat_map(|(flag, value)| [OsString::from(flag), (*value).to_owned()])
                .collect(),
            options,
        })
    }

    pub(super) fn spawn(program: Program) -> Result<Self> {
        let folder = TempDir::with_prefix("tandem-").context("a folder for a server")?;
        let port = ReservedPort::new().context("a port for a server")?;
        let metrics_port = ReservedPort::new().context("a port for a server")?;
        let child = launch(&program, &folder, &port, &metrics_port)?;
        Ok(Self {
            child,
            program,
            port,
            metrics_port,
            folder,
        })
    }

    /// Kills what is left of the process and starts it anew: same ports, same arguments, the
    /// log goes on. Waits until it serves.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.child = launch(&self.program, &self.folder, &self.port, &self.metrics_port)?;
        self.wait_serving().await
    }

    /// The same with another configuration.
    pub async fn restart_with(&mut self, config: &str) -> Result<()> {
        self.program.options.config = Some(config.to_owned());
        self.restart().await
    }

    /// Where it serves its clients.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it answers health and metrics.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_port.address()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the log is written, stdout and stderr together.
    pub fn log_file(&self) -> PathBuf {
        log_file(&self.folder)
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until the server says SERVING, of itself and of its service; an error with the end
    /// of its log if it exits first or takes longer than its options allow.
    pub async fn wait_serving(&mut self) -> Result<()> {
        let allowed = self.program.options.deadline;
        let deadline = Instant::now() + allowed;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{}: {status} before it served{}",
                    self.name(),
                    self.log_end()
                );
            }
            let mut answer = self.health("").await;
            if matches!(answer, Ok(ServingStatus::Serving)) {
                answer = self.health(self.program.service).await;
            }
            if matches!(answer, Ok(ServingStatus::Serving)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let name = self.name();
                bail!(
                    "{name} does not serve after {allowed:?}: {answer:?}{}",
                    self.log_end()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn serving(mut self) -> Result<Self> {
        self.wait_serving().await?;
        Ok(self)
    }

    /// What it says of a service now, `""` for all of them; UNAVAILABLE while nobody listens.
    pub async fn health(&self, service: &str) -> Result<ServingStatus, Status> {
        health::check(self.metrics_address(), service).await
    }

    /// Its metrics now.
    pub async fn metrics(&self) -> Result<Metrics> {
        let metrics = Metrics::scrape(self.metrics_address()).await;
        metrics.with_context(|| self.name())
    }

    /// Scrapes until the metrics are as wanted; an error with the last ones after `deadline`.
    pub async fn wait_metrics(
        &self,
        deadline: Duration,
        wanted: impl Fn(&Metrics) -> bool,
    ) -> Result<Metrics> {
        let end = Instant::now() + deadline;
        loop {
            let metrics = self.metrics().await?;
            if wanted(&metrics) {
                return Ok(metrics);
            }
            if Instant::now() >= end {
                let name = self.name();
                bail!("{name}'s metrics are not as wanted after {deadline:?}: {metrics:#?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Its memory now.
    pub fn memory(&self) -> Result<Memory> {
        Memory::of(self.pid()).with_context(|| self.name())
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and gone on return. No effect on a process that has ended.
    pub fn kill(&mut self) {
        // Errors say that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM: asks it to drain and exit.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal("TERM")
    }

    /// Any signal, by its name without SIG: `STOP` and `CONT` freeze and thaw a process.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended: {status}{}", self.name(), self.log_end());
        }
        // The shell's own: std cannot send signals, and not every machine has a kill program.
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name])
            .arg(self.pid().to_string())
            .status()
            .context("running sh")?;
        if !status.success() {
            bail!("kill -s {name}: {status}");
        }
        Ok(())
    }

    /// Waits for the process to end by itself; an error with the end of its log after
    /// `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                let name = self.name();
                bail!("{name} still runs after {deadline:?}{}", self.log_end());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn name(&self) -> String {
        let file = self.program.path.file_name().unwrap_or_default();
        format!("{} (process {})", file.display(), self.pid())
    }

    fn log_end(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        let from = log.len().saturating_sub(LOG_SHOWN);
        let cut = if from == 0 { "" } else { "…" };
        let end = String::from_utf8_lossy(&log[from..]);
        format!("\n--- its log ---\n{cut}{end}\n---------------")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            // Not under a lock of stderr: the test runner captures it.
            eprintln!("{}{}", self.name(), self.log_end());
        }
    }
}

fn log_file(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}

fn launch(
    program: &Program,
    folder: &TempDir,
    port: &ReservedPort,
    metrics_port: &ReservedPort,
) -> Result<Child> {
    let options = &program.options;
    let mut command = Command::new(&program.path);
    command.arg("serve").args(&program.arguments);
    if let Some(yaml) = &options.config {
        let config = folder.path().join("config.yaml");
        fs::write(&config, yaml).context("writing a server's config")?;
        command.arg("--config").arg(config);
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_file(folder))
        .context("opening a server's log")?;
    command
        .args(["--listen", &port.address().to_string()])
        .args(["--metrics-listen", &metrics_port.address().to_string()])
        .args(&options.arguments)
        .envs(
            options
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("a server's log")?)
        .stderr(log);
    binaries::spawn(&mut command).with_context(|| format!("starting {command:?}"))
}
