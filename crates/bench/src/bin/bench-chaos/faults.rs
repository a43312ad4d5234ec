//! What goes wrong, and that it is over again.

use crate::clients::{Clients, Outcome};
use crate::fleet::{Fleet, Life};
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use rand::RngExt as _;
use rand::rngs::SmallRng;
use serde::Serialize;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};
use tandem_tests::link::{Cut, Direction};
use tokio::time::sleep;

/// How long a cloud may take to end after SIGTERM: its drain's deadline and some more.
const ENDS_WITHIN: Duration = Duration::from_secs(40);

/// How long a link may be without a byte to flip.
const FLIPS_WITHIN: Duration = Duration::from_secs(10);

/// How long a link that is cut refuses connections.
const CUT: f64 = 5.0;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// SIGKILL of a cloud, and its start a moment later
    Kill,
    /// SIGTERM of a cloud, and its start when it has ended
    Term,
    /// SIGSTOP of a cloud for some seconds
    Stop,
    /// All connections of a link reset; every other time it also refuses new ones for 5 s
    Cut,
    /// A link that swallows everything for some seconds, then goes on or resets
    Hole,
    /// A bit flipped on a link with TLS
    Flip,
    /// A client that stops reading for some seconds
    Slow,
    /// SIGKILL of an edge, and its start when the clouds have freed what it had
    Edge,
    /// SIGKILL of the only cloud, and its start a moment later
    One,
}

impl Kind {
    /// Whether a process ends.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::Kill | Self::Term | Self::Edge | Self::One)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.write_str(name.as_ref().map_or("", |name| name.get_name()))
    }
}

/// What makes faults.
#[derive(Debug)]
pub(crate) struct Faults<'a> {
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) clients: &'a Clients,
    pub(crate) random: SmallRng,
    /// The longest stop or hole, in seconds.
    pub(crate) longest: f64,
    /// Answers to clients that stopped reading.
    pub(crate) slow: Vec<Outcome>,
    /// The longest that clouds took to free what an edge had that was killed.
    pub(crate) freed_within: Duration,
}

impl Faults<'_> {
    /// Makes one at a random moment of an answer; returns, when all is as before, how long it took to be so.
    pub(crate) async fn make(&mut self, kind: Kind) -> Result<Duration> {
        let cloud = self.random.random_range(0..self.fleet.clouds.len());
        self.fleet.wait_busy(cloud).await;
        sleep(self.seconds(0.0..=1.0)).await;
        let began = Instant::now();
        match kind {
            Kind::Kill | Kind::One => self.kill(cloud).await,
            Kind::Term => self.terminate(cloud).await,
            Kind::Stop => self.stop(cloud).await,
            Kind::Cut => self.cut(cloud).await,
            Kind::Hole => self.hole(cloud).await,
            Kind::Flip => self.flip(cloud).await,
            Kind::Slow => self.read_slowly().await,
            Kind::Edge => self.kill_an_edge().await,
        }
        .with_context(|| format!("{kind}, cloud {cloud}"))?;
        self.fleet.wait_whole().await?;
        Ok(began.elapsed())
    }

    async fn kill(&mut self, cloud: usize) -> Result<()> {
        self.fleet.clouds[cloud].server.kill();
        sleep(self.seconds(0.0..=1.0)).await;
        self.fleet.clouds[cloud].server.restart().await
    }

    async fn terminate(&mut self, cloud: usize) -> Result<()> {
        let server = &mut self.fleet.clouds[cloud].server;
        server.terminate()?;
        let status = server.wait(ENDS_WITHIN).await?;
        ensure!(status.success(), "it ended with {status} after SIGTERM");
        server.restart().await
    }

    async fn stop(&mut self, cloud: usize) -> Result<()> {
        let time = self.seconds(1.0..=self.longest);
        let server = &mut self.fleet.clouds[cloud].server;
        server.signal("STOP")?;
        sleep(time).await;
        server.signal("CONT")
    }

    async fn cut(&mut self, cloud: usize) -> Result<()> {
        let refuses = self.random.random_bool(0.5);
        let time = Duration::from_secs_f64(CUT.min(self.longest));
        let link = &self.fleet.clouds[cloud].link;
        if refuses {
            link.cut(Cut::Reset);
            sleep(time).await;
            link.restore().context("the link does not come back")?;
        } else {
            link.drop_connections(Cut::Reset);
        }
        Ok(())
    }

    async fn hole(&mut self, cloud: usize) -> Result<()> {
        let time = self.seconds(1.0..=self.longest);
        let resets = self.random.random_bool(0.5);
        let link = &self.fleet.clouds[cloud].link;
        link.pause();
        sleep(time).await;
        if resets {
            link.drop_connections(Cut::Reset);
        }
        link.resume();
        Ok(())
    }

    async fn flip(&mut self, cloud: usize) -> Result<()> {
        let direction = Direction::ALL[self.random.random_range(0..2)];
        let behind = self.random.random_range(0..1000);
        let link = &self.fleet.clouds[cloud].link;
        link.flip_byte(direction, behind);
        let began = Instant::now();
        while link.awaits_flip(direction) {
            ensure!(
                began.elapsed() < FLIPS_WITHIN,
                "no byte crossed the link within {FLIPS_WITHIN:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn read_slowly(&mut self) -> Result<()> {
        let (edge, time) = (
            self.random.random_range(0..self.fleet.edges.len()),
            self.seconds(2.0..=self.longest),
        );
        let behind_tokens = self.random.random_range(1..20);
        self.slow
            .push(self.clients.ask_slowly(edge, behind_tokens, time).await?);
        Ok(())
    }

    async fn kill_an_edge(&mut self) -> Result<()> {
        let edge = self.random.random_range(0..self.fleet.edges.len());
        let of_edge = &mut self.fleet.edges[edge];
        // Told first: whose answer fails from here on knows why.
        of_edge.life.send_modify(|life| {
            *life = Life {
                up: false,
                kills: life.kills + 1,
            }
        });
        of_edge.server.kill();
        let freed = self.fleet.wait_free().await?;
        self.freed_within = self.freed_within.max(freed);
        let of_edge = &mut self.fleet.edges[edge];
        of_edge.server.restart().await?;
        of_edge.life.send_modify(|life| life.up = true);
        Ok(())
    }

    fn seconds(&mut self, span: RangeInclusive<f64>) -> Duration {
        let (least, most) = span.into_inner();
        Duration::from_secs_f64(self.random.random_range(least..=most.max(least)))
    }
}
