//! How long a prompt takes: edge, link and cloud work on its parts at the same time.
//!
//! The edge computes chunk after chunk. A chunk's rows leave in frames, one behind the other on the
//! link. The cloud runs what has arrived and waits, up to a number of rows at once. Each of the three
//! begins a part when it has finished the one before and the part is there:
//!
//! ```text
//! edge   [chunk 1][chunk 2][chunk 3]
//! link            [f][f]   [f][f]   [f][f]
//! cloud               [1]     [2..3]    [4..6, head]
//! ```
//!
//! Where edge and cloud are one machine with fewer processors than both have threads, what runs at the
//! same time is slower by [`Problem::contention`](crate::Problem::contention), so the two are played
//! through side by side.

use crate::estimate::{MESSAGE_OVERHEAD, Parts};
use crate::link::Link;
use std::collections::VecDeque;

/// Token ids of a prompt that one message carries where no layer runs on the edge.
const IDS_A_MESSAGE: usize = 128;

/// What a prompt takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FirstToken {
    /// Seconds from the prompt to its first token.
    pub(crate) seconds: f64,
    /// Of them, those that the cloud computed, as it would tell itself.
    pub(crate) cloud_seconds: f64,
}

pub(crate) fn first_token(parts: &Parts<'_>, link: Link) -> FirstToken {
    let mut edge = Edge::new(parts, link);
    let mut cloud = Cloud::new(parts);
    let mut now = 0.0;
    loop {
        let both = edge.left.is_some() && matches!(cloud.state, State::Computing { .. });
        let slow = if both { parts.problem.contention } else { 1.0 };
        let edge_ends = edge.left.map(|left| now + slow * left);
        let cloud_acts = cloud.acts_at(now, slow, edge.arrivals.front());
        let next = match (edge_ends, cloud_acts) {
            (Some(edge), Some(cloud)) => edge.min(cloud),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => break,
        };
        if !next.is_finite() {
            // Figures that make no sense make no first token either.
            now = f64::INFINITY;
            break;
        }
        edge.work((next - now) / slow);
        cloud.work(next - now, slow);
        now = next;
        // What is sent now may be there now: the edge first.
        if edge_ends == Some(now) {
            edge.send(now);
        }
        if cloud_acts == Some(now) {
            cloud.act(now, &mut edge);
        }
    }
    FirstToken {
        seconds: now + link.round_trip / 2.0 + MESSAGE_OVERHEAD / link.down,
        cloud_seconds: cloud.busy,
    }
}

/// A frame: its rows, and when it reaches the cloud.
struct Arrival {
    rows: usize,
    at: f64,
}

/// The edge and its way up.
struct Edge<'a> {
    parts: &'a Parts<'a>,
    link: Link,
    /// Rows computed at once, and of one frame.
    chunk: usize,
    frame: usize,
    row_bytes: f64,
    /// Rows that were computed, and those that are being computed.
    position: usize,
    rows: usize,
    /// Seconds that these would take alone; `None` when all are done.
    left: Option<f64>,
    /// When the link is free.
    link_free: f64,
    arrivals: VecDeque<Arrival>,
}

impl<'a> Edge<'a> {
    fn new(parts: &'a Parts<'a>, link: Link) -> Self {
        let workload = &parts.problem.workload;
        let row_bytes = parts.row_bytes(false);
        let (chunk, frame) = match parts.split {
            0 => (IDS_A_MESSAGE, IDS_A_MESSAGE),
            _ => {
                let chunk = workload.chunk_rows.max(1);
                let frame = (workload.frame_bytes as f64 / row_bytes) as usize;
                (chunk, frame.clamp(1, chunk))
            }
        };
        let mut edge = Self {
            parts,
            link,
            chunk,
            frame,
            row_bytes,
            position: 0,
            rows: 0,
            left: None,
            link_free: 0.0,
            arrivals: VecDeque::new(),
        };
        edge.begin();
        edge
    }

    fn begin(&mut self) {
        let prompt = self.parts.problem.workload.prompt_tokens;
        self.rows = self.chunk.min(prompt - self.position);
        let takes = || self.parts.edge_seconds(self.rows, self.position);
        self.left = (self.rows > 0).then(takes);
    }

    fn work(&mut self, seconds: f64) {
        self.left = self.left.map(|left| (left - seconds).max(0.0));
    }

    /// Sends what was computed, frame by frame, and begins the next chunk.
    fn send(&mut self, now: f64) {
        let mut left = self.rows;
        while left > 0 {
            let rows = left.min(self.frame);
            left -= rows;
            let bytes = rows as f64 * self.row_bytes + MESSAGE_OVERHEAD;
            self.link_free = self.link_free.max(now) + bytes / self.link.up;
            self.arrivals.push_back(Arrival {
                rows,
                at: self.link_free + self.link.round_trip / 2.0,
            });
        }
        self.position += self.rows;
        self.begin();
    }
}

/// The cloud.
struct Cloud<'a> {
    parts: &'a Parts<'a>,
    state: State,
    position: usize,
    busy: f64,
}

enum State {
    /// Until a frame is there.
    Waiting,
    /// Until other sessions' steps are done.
    Queued { until: f64 },
    /// For so many seconds, were it alone.
    Computing { left: f64 },
}

impl<'a> Cloud<'a> {
    fn new(parts: &'a Parts<'a>) -> Self {
        Self {
            parts,
            state: State::Waiting,
            position: 0,
            busy: 0.0,
        }
    }

    /// When it does something by itself.
    fn acts_at(&self, now: f64, slow: f64, first: Option<&Arrival>) -> Option<f64> {
        match self.state {
            State::Waiting => first.map(|first| first.at.max(now)),
            State::Queued { until } => Some(until),
            State::Computing { left } => Some(now + slow * left),
        }
    }

    fn work(&mut self, seconds: f64, slow: f64) {
        if let State::Computing { left } = &mut self.state {
            *left = (*left - seconds / slow).max(0.0);
            self.busy += seconds;
        }
    }

    fn act(&mut self, now: f64, edge: &mut Edge<'_>) {
        self.state = match self.state {
            State::Waiting => State::Queued {
                until: now + self.parts.problem.cloud.queue_seconds,
            },
            State::Queued { .. } => State::Computing {
                left: self.take(now, edge),
            },
            State::Computing { .. } => State::Waiting,
        };
    }

    /// Takes what is there, and says how long it computes.
    fn take(&mut self, now: f64, edge: &mut Edge<'_>) -> f64 {
        let most = self.parts.problem.cloud.merged_rows;
        let mut rows = 0;
        while let Some(next) = edge.arrivals.front() {
            if rows > 0 && (next.at > now || rows + next.rows > most) {
                break;
            }
            rows += next.rows;
            edge.arrivals.pop_front();
        }
        let last = edge.left.is_none() && edge.arrivals.is_empty();
        let takes = self.parts.cloud_seconds(rows, self.position, last);
        self.position += rows;
        takes
    }
}
