//! Clients that ask again as soon as they are answered.

use crate::asking::{Answer, Asker, StopsReading};
use crate::fleet::{Fleet, Life};
use anyhow::{Context as _, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tandem_proto::v1::GenerateRequest;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Before somebody asks again whose answer failed.
const FAILED: Duration = Duration::from_millis(200);

/// One answer, and what it answers.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Which request.
    pub(crate) request: usize,
    pub(crate) answer: Answer,
    /// Whether its edge was killed under it.
    pub(crate) with_edge: bool,
    /// Whether its client stopped reading.
    pub(crate) slow: bool,
}

/// Where clients ask, and what.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    edges: Vec<(String, watch::Receiver<Life>)>,
    requests: Arc<Vec<GenerateRequest>>,
    count: usize,
    bound: Duration,
    /// How many answers were asked for.
    asked: Arc<AtomicUsize>,
}

/// Clients that ask until they are told to stop.
#[derive(Debug)]
pub(crate) struct Asking {
    stop: watch::Sender<bool>,
    running: JoinSet<Result<Vec<Outcome>>>,
}

impl Clients {
    /// So many of a fleet's edges.
    pub(crate) fn of(
        fleet: &Fleet,
        requests: &Arc<Vec<GenerateRequest>>,
        count: usize,
        bound: Duration,
    ) -> Self {
        let edges = fleet.edges.iter();
        Self {
            edges: edges
                .map(|edge| (edge.server.url(), edge.life.subscribe()))
                .collect(),
            requests: Arc::clone(requests),
            count,
            bound,
            asked: Arc::default(),
        }
    }

    /// Asks each request once.
    pub(crate) async fn ask_each(&self) -> Result<Vec<Outcome>> {
        let last = self.asked.load(Ordering::Relaxed) + self.requests.len();
        self.begin(last).end(false).await
    }

    /// Asks one request after the other, without end.
    pub(crate) fn ask_on(&self) -> Asking {
        self.begin(usize::MAX)
    }

    fn begin(&self, last: usize) -> Asking {
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        for client in 0..self.count {
            running.spawn(self.clone().ask_until(client, last, stopped.clone()));
        }
        Asking { stop, running }
    }

    async fn ask_until(
        self,
        client: usize,
        last: usize,
        stopped: watch::Receiver<bool>,
    ) -> Result<Vec<Outcome>> {
        let (url, life) = &self.edges[client % self.edges.len()];
        let asker = Asker::new(url)?;
        let mut outcomes = Vec::new();
        while !*stopped.borrow() {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            if number >= last {
                break;
            }
            let asked = self.ask(&asker, life.clone(), number, None);
            let Some(outcome) = asked.await else { break };
            if outcome.answer.failure.is_some() {
                sleep(FAILED).await;
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Asks an edge, and does not read for a while.
    pub(crate) async fn ask_slowly(
        &self,
        edge: usize,
        behind_tokens: usize,
        time: Duration,
    ) -> Result<Outcome> {
        let (url, life) = &self.edges[edge];
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let stops = StopsReading {
            behind_tokens,
            time,
        };
        let asker = Asker::with_small_window(url)?;
        let asked = self.ask(&asker, life.clone(), number, Some(stops));
        asked.await.context("an edge is gone")
    }

    /// `None` where the edge does not come back.
    async fn ask(
        &self,
        asker: &Asker,
        mut life: watch::Receiver<Life>,
        number: usize,
        stops: Option<StopsReading>,
    ) -> Option<Outcome> {
        let up = timeout(self.bound, life.wait_for(|life| life.up)).await;
        let before = up.ok()?.ok()?.kills;
        let request = number % self.requests.len();
        let mut asked = self.requests[request].clone();
        // Every third one may go on with what is left of an earlier answer.
        if !number.is_multiple_of(3) {
            asked.cache_salt = number.to_string();
        }
        let answer = asker.ask(asked, self.bound, stops).await;
        Some(Outcome {
            request,
            answer,
            with_edge: life.borrow().kills != before,
            slow: stops.is_some(),
        })
    }
}

impl Asking {
    /// Lets the answers under way end; with `stop`, no other one begins. Returns all of them.
    pub(crate) async fn end(mut self, stop: bool) -> Result<Vec<Outcome>> {
        if stop {
            self.stop.send_replace(true);
        }
        let mut outcomes = Vec::new();
        while let Some(ended) = self.running.join_next().await {
            outcomes.extend(ended.context("a client")??);
        }
        Ok(outcomes)
    }
}
