//! The servers of a trial: clouds, each behind a link, and edges that know all of them.

use crate::arguments::Arguments;
use crate::trust::Trust;
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};
use tandem_tests::link::{LinkProfile, ShapedLink};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Metrics, Server, ServerOptions};
use tokio::sync::watch;
use tokio::time::sleep;

/// How long edges may take to work with a cloud again that serves.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);

/// How long a cloud may take to free what belonged to a connection that was reset: the lease, and some more.
pub(crate) const FREE_WITHIN: Duration = Duration::from_secs(20);

/// How long a fault waits for an answer to break.
const BUSY_WITHIN: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(20);

/// Ended in the order of the fields: edges before clouds.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) edges: Vec<Edge>,
    pub(crate) clouds: Vec<Cloud>,
    _trust: Option<Trust>,
}

/// A cloud, and what lies before it.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) link: ShapedLink,
    pub(crate) server: Server,
}

/// An edge, and what its clients have to know of it.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) server: Server,
    pub(crate) life: watch::Sender<Life>,
}

/// Whether an edge serves, and how often it has been killed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) up: bool,
    pub(crate) kills: usize,
}

/// Resident memory in MiB.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Resident {
    pub(crate) clouds: f64,
    pub(crate) edges: f64,
}

impl Fleet {
    /// Starts so many, and waits until every edge works with every cloud.
    pub(crate) async fn start(
        arguments: &Arguments,
        clouds: usize,
        edges: usize,
        tls: bool,
    ) -> Result<Self> {
        let model = arguments.model.clone().unwrap_or_else(default_model);
        let trust = tls.then(Trust::new).transpose()?;
        let options = || ServerOptions::default().args(["--weights", &arguments.weights]);
        let mut fleet = Self {
            edges: Vec::new(),
            clouds: Vec::new(),
            _trust: None,
        };
        for _ in 0..clouds {
            let flags = trust.iter().flat_map(Trust::flags_of_cloud);
            let server = Server::cloud(&model, options().args(flags)).await?;
            let link = ShapedLink::start(server.address(), LinkProfile::unshaped());
            let link = link.context("the link before a cloud")?;
            fleet.clouds.push(Cloud { link, server });
        }
        let scheme = if tls { "https" } else { "http" };
        let urls: Vec<String> = (fleet.clouds.iter())
            .map(|cloud| format!("{scheme}://{}", cloud.link.address()))
            .collect();
        // Finished conversations are kept besides the answers under way.
        let sessions = (2 * arguments.clients + 2).to_string();
        for _ in 0..edges {
            let flags = trust.iter().flat_map(Trust::flags_of_edge);
            let options = options()
                .args(["--codec", &arguments.codec, "--max-sessions", &sessions])
                .args(flags);
            let server = Server::edge(&model, &urls.join(","), arguments.split, options).await?;
            let life = watch::Sender::new(Life { up: true, kills: 0 });
            fleet.edges.push(Edge { server, life });
        }
        fleet._trust = trust;
        fleet.wait_whole().await?;
        Ok(fleet)
    }

    /// Waits until every edge works with every cloud.
    pub(crate) async fn wait_whole(&self) -> Result<()> {
        let all = self.clouds.len() as f64;
        for edge in &self.edges {
            let whole = |m: &Metrics| m.sum_with("tandem_edge_clouds", &[("state", "fits")]) == all;
            let waited = edge.server.wait_metrics(WHOLE_WITHIN, whole).await;
            waited.context("an edge does not work with a cloud again")?;
        }
        Ok(())
    }

    /// Waits until an answer runs in a cloud, or for a while.
    pub(crate) async fn wait_busy(&self, cloud: usize) {
        let runs = |m: &Metrics| running(m, "tandem_cloud_sessions") > 0.0;
        // A fault without an answer under it is one all the same.
        let _ = self.clouds[cloud]
            .server
            .wait_metrics(BUSY_WITHIN, runs)
            .await;
    }

    /// Waits until clouds have no more sessions than the edges that live; returns how long it took. Without such an
    /// edge, no memory for keys and values may be reserved either.
    pub(crate) async fn wait_free(&mut self) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let (mut of_edges, mut living) = (0.0, 0);
            for edge in &mut self.edges {
                if edge.server.is_running() {
                    living += 1;
                    of_edges += edge.server.metrics().await?.sum("tandem_edge_sessions");
                }
            }
            let (mut of_clouds, mut bytes) = (0.0, 0.0);
            for cloud in &self.clouds {
                let metrics = cloud.server.metrics().await?;
                of_clouds += metrics.sum("tandem_cloud_sessions");
                bytes += metrics.sum("tandem_cloud_kv_bytes");
            }
            if of_clouds <= of_edges && (living > 0 || bytes == 0.0) {
                return Ok(began.elapsed());
            }
            anyhow::ensure!(
                began.elapsed() < FREE_WITHIN,
                "clouds hold {of_clouds} sessions and {bytes} bytes of keys and values {FREE_WITHIN:?} after the last \
                 fault, {living} edges that live hold {of_edges}"
            );
            sleep(POLL).await;
        }
    }

    /// Waits until no answer runs anywhere.
    pub(crate) async fn wait_idle(&self) -> Result<()> {
        let of_edges = self
            .edges
            .iter()
            .map(|edge| (&edge.server, "tandem_edge_sessions"));
        let of_clouds = (self.clouds.iter()).map(|cloud| (&cloud.server, "tandem_cloud_sessions"));
        for (server, name) in of_edges.chain(of_clouds) {
            let waited = server
                .wait_metrics(FREE_WITHIN, |m| running(m, name) == 0.0)
                .await;
            waited.with_context(|| format!("{name}: an answer runs that nobody asked for"))?;
        }
        Ok(())
    }

    /// What all of them hold of the machine's memory.
    pub(crate) fn resident(&self) -> Result<Resident> {
        let mib = |server: &Server| Ok(server.memory()?.resident as f64 / f64::from(1 << 20));
        let clouds: Result<Vec<f64>> = self.clouds.iter().map(|cloud| mib(&cloud.server)).collect();
        let edges: Result<Vec<f64>> = self.edges.iter().map(|edge| mib(&edge.server)).collect();
        Ok(Resident {
            clouds: clouds?.iter().sum(),
            edges: edges?.iter().sum(),
        })
    }

    /// How often answers went on in another session, by what they lost the one before to, as the edges that live count.
    pub(crate) async fn replays(&self) -> Result<Vec<(String, f64)>> {
        const NAME: &str = "tandem_edge_replays_total";
        let mut all = Vec::new();
        for edge in &self.edges {
            let metrics = edge.server.metrics().await?;
            all.extend(metrics.series(NAME).filter_map(|(series, count)| {
                let cause = series.split('"').nth(1)?;
                (count > 0.0).then(|| (cause.to_owned(), count))
            }));
        }
        Ok(all)
    }

    /// Every line of a log that tells of a panic.
    pub(crate) fn panics(&self) -> Vec<String> {
        let panicked = |(name, server): (String, &Server)| {
            let log = server.log();
            let lines = log.lines().filter(|line| line.contains("panicked"));
            lines
                .map(|line| format!("{name}: {line}"))
                .collect::<Vec<_>>()
        };
        self.servers().flat_map(panicked).collect()
    }

    /// Copies every log into a folder.
    pub(crate) fn keep_logs(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for (name, server) in self.servers() {
            std::fs::write(folder.join(format!("{name}.log")), server.log())?;
        }
        Ok(())
    }

    fn servers(&self) -> impl Iterator<Item = (String, &Server)> {
        let clouds = self.clouds.iter().map(|cloud| &cloud.server).enumerate();
        let edges = self.edges.iter().map(|edge| &edge.server).enumerate();
        (clouds.map(|(at, server)| (format!("cloud-{at}"), server)))
            .chain(edges.map(|(at, server)| (format!("edge-{at}"), server)))
    }
}

fn running(metrics: &Metrics, name: &str) -> f64 {
    metrics.sum_with(name, &[("state", "running")])
}
