//! What is asked for on the command line.

use crate::faults::Kind;
use clap::Parser;
use clap::builder::ArgPredicate;
use std::path::PathBuf;
use std::time::Duration;

/// Breaks clouds, links and edges under answers, and says whether the answers are the same
///
/// Two clouds, each behind a link, and edges that know both are started on loopback. Every request is first answered
/// alone; then clients ask while faults happen, and every answer is compared with the one made alone. The exit status is
/// 1 if an answer failed or differs, a server panicked or something was left behind.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Arguments {
    /// Kinds of faults, each tried by itself on servers of its own; a mix is of all but one unless they are given
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "kill,term,stop,cut,hole,flip,slow,edge,one",
        default_value_if(
            "seconds",
            ArgPredicate::IsPresent,
            "kill,term,stop,cut,hole,flip,slow,edge"
        )
    )]
    pub(crate) faults: Vec<Kind>,
    /// Faults of each kind
    #[arg(long, default_value_t = 10)]
    pub(crate) times: usize,
    /// Mix the kinds for so many seconds instead
    #[arg(long, conflicts_with = "times")]
    pub(crate) seconds: Option<u64>,
    /// Seconds from one fault of a mix to the next
    #[arg(long, default_value_t = 3.0, requires = "seconds")]
    pub(crate) every: f64,
    /// Seconds between two faults of a mix that end a process, at least
    #[arg(long, default_value_t = 0.0, requires = "seconds")]
    pub(crate) kills_apart: f64,
    /// The model that the servers load; the default model unless given
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// Types of the weights, on both sides
    #[arg(long, default_value = "int8")]
    pub(crate) weights: String,
    /// How hidden rows are written
    #[arg(long, default_value = "high")]
    pub(crate) codec: String,
    /// Layers on the edge
    #[arg(long, default_value_t = 10)]
    pub(crate) split: u32,
    /// Clients that ask again as soon as they are answered
    #[arg(long, default_value_t = 6)]
    pub(crate) clients: usize,
    /// Edges that the clients share; at least two where an edge is killed
    #[arg(long, default_value_t = 1)]
    pub(crate) edges: usize,
    /// Different requests
    #[arg(long, default_value_t = 24)]
    pub(crate) requests: usize,
    /// Seconds without a fault after each
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rest: f64,
    /// The longest stop or hole, in seconds
    #[arg(long, default_value_t = 8.0)]
    pub(crate) longest: f64,
    /// Seconds without a word after which an answer counts as stuck
    #[arg(long, default_value_t = 120)]
    pub(crate) bound: u64,
    /// Of the random numbers
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where the servers' logs are kept; without it, in a temporary folder where something went wrong
    #[arg(long, value_name = "FOLDER")]
    pub(crate) logs: Option<PathBuf>,
    /// One JSON document instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long faults go on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// So many.
    Times(usize),
    /// For so long, one after so long.
    Time {
        whole: Duration,
        every: Duration,
        /// Between two that end a process.
        kills_apart: Duration,
    },
}

/// One row of the table: servers of its own, and faults under clients.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    pub(crate) name: String,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) until: Until,
    pub(crate) clouds: usize,
    pub(crate) edges: usize,
    pub(crate) tls: bool,
    pub(crate) rest: Duration,
}

impl Arguments {
    /// One for each kind, or one of all of them.
    pub(crate) fn trials(&self) -> Vec<Trial> {
        let trial = |name: String, kinds: Vec<Kind>, until| Trial {
            name,
            until,
            clouds: if kinds.contains(&Kind::One) { 1 } else { 2 },
            edges: if kinds.contains(&Kind::Edge) {
                self.edges.max(2)
            } else {
                self.edges.max(1)
            },
            tls: kinds.contains(&Kind::Flip),
            rest: Duration::from_secs_f64(self.rest.max(0.0)),
            kinds,
        };
        match self.seconds {
            Some(seconds) => {
                let until = Until::Time {
                    whole: Duration::from_secs(seconds),
                    every: Duration::from_secs_f64(self.every.max(0.0)),
                    kills_apart: Duration::from_secs_f64(self.kills_apart.max(0.0)),
                };
                vec![trial("mixed".to_owned(), self.faults.clone(), until)]
            }
            None => (self.faults.iter())
                .map(|kind| trial(kind.to_string(), vec![*kind], Until::Times(self.times)))
                .collect(),
        }
    }

    /// When an answer counts as stuck.
    pub(crate) fn bound(&self) -> Duration {
        Duration::from_secs(self.bound)
    }
}
