//! What is asked for on the command line.

use crate::hostile::{self, Way};
use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// Loads a pair, or a cloud alone, and says what clients get
///
/// A pair or a cloud is started on loopback unless one is named. Clients ask again as soon as they are answered, or
/// come at a rate.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Arguments {
    /// An edge that runs
    #[arg(long, conflicts_with = "cloud")]
    pub(crate) edge: Option<String>,
    /// A cloud that runs, loaded by edges of split 0 in this process
    #[arg(long)]
    pub(crate) cloud: Option<String>,
    /// Load the cloud alone: edges of split 0 in this process, which compute nothing
    #[arg(long, conflicts_with = "edge")]
    pub(crate) cloud_alone: bool,
    /// Write what the edge sends to a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["edge", "cloud", "cloud_alone", "clients_of"])]
    pub(crate) record: Option<PathBuf>,
    /// Load the cloud alone with what such a file has: rows of a front that nobody computes. Prompts, tokens and turns
    /// are those of the file
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["edge", "record", "clients_of", "long_prompt", "prompts"]
    )]
    pub(crate) recorded: Option<PathBuf>,
    /// The model that the started servers load; the default model unless given
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// Layers on the edge
    #[arg(long, default_value_t = 0)]
    pub(crate) split: u32,
    /// Types of the weights
    #[arg(long, default_value = "f32")]
    pub(crate) weights: String,
    /// Memory of the cloud for keys and values
    #[arg(long, default_value = "8GiB")]
    pub(crate) kv_memory: String,
    /// Clients at once, one level after the other
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    pub(crate) clients: Vec<usize>,
    /// Clients of each peer instead: one level, each peer with a token of its own, the cloud alone
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["clients", "edge", "cloud"])]
    pub(crate) clients_of: Vec<usize>,
    /// New answers a second of each peer, at random moments (a Poisson process), instead of clients that ask again
    #[arg(long, conflicts_with = "clients", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Tokens of a prompt, such as 64 or 16-512
    #[arg(long, default_value = "64")]
    pub(crate) prompt_tokens: Span,
    /// Prompts, one a line, instead of random tokens; cut to --prompt-tokens
    #[arg(long)]
    pub(crate) prompts: Option<PathBuf>,
    /// Tokens of an answer, such as 64 or 1-128
    #[arg(long, default_value = "64")]
    pub(crate) tokens: Span,
    /// Turns of a conversation, at most
    #[arg(long, default_value_t = 1)]
    pub(crate) turns: u32,
    /// Share of answers that are given up in the middle
    #[arg(long, default_value_t = 0.0)]
    pub(crate) cancel: f64,
    /// Seconds that are measured a level, behind two that are not
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Tokens of a prompt that another client sends while the others are answered; 0 for none
    #[arg(long, default_value_t = 0)]
    pub(crate) long_prompt: u32,
    /// Beside the peers of --clients-of, one that is hostile in each of these ways: a level without it, then one with it
    #[arg(long, value_enum, value_delimiter = ',', requires = "clients_of")]
    pub(crate) hostile: Vec<Way>,
    /// Of the random numbers
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// One JSON document instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

fn rate(text: &str) -> Result<f64> {
    let rate: f64 = text.parse()?;
    ensure!(rate.is_finite() && rate > 0.0, "{text} is not above 0");
    Ok(rate)
}

/// From a number to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) RangeInclusive<u32>);

impl FromStr for Span {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            text.parse::<u32>()
                .with_context(|| format!("{text} is no number"))
        };
        let span = number(least)?..=number(most)?;
        ensure!(
            !span.is_empty() && *span.start() > 0,
            "{text} is no span of numbers above 0"
        );
        Ok(Self(span))
    }
}

impl Arguments {
    /// Clients of each peer, one level after the other, and how another peer is hostile meanwhile.
    pub(crate) fn levels(&self) -> Vec<(Vec<usize>, Option<Way>)> {
        let beside = |way| {
            [
                (self.clients_of.clone(), None),
                (self.clients_of.clone(), Some(way)),
            ]
        };
        if !self.hostile.is_empty() {
            return self.hostile.iter().copied().flat_map(beside).collect();
        }
        let levels = self.levels_of_clients().into_iter();
        levels.map(|level| (level, None)).collect()
    }

    fn levels_of_clients(&self) -> Vec<Vec<usize>> {
        if self.rate.is_some() && self.clients_of.is_empty() {
            vec![vec![1]]
        } else if self.clients_of.is_empty() {
            self.clients.iter().map(|&clients| vec![clients]).collect()
        } else {
            vec![self.clients_of.clone()]
        }
    }

    /// Whether the cloud is loaded without an edge.
    pub(crate) fn is_cloud_alone(&self) -> bool {
        self.cloud_alone
            || self.cloud.is_some()
            || self.recorded.is_some()
            || !self.clients_of.is_empty()
    }

    /// The longest session that may come of it.
    pub(crate) fn context(&self) -> u32 {
        let turn = self.prompt_tokens.0.end() + self.tokens.0.end();
        let context = (self.turns * turn).max(self.long_prompt) + 64;
        if self.hostile.is_empty() {
            context
        } else {
            context.max(hostile::CONTEXT)
        }
    }

    /// Sessions at once, at most.
    pub(crate) fn sessions(&self) -> usize {
        let level = |level: &Vec<usize>| level.iter().sum::<usize>();
        let most = self
            .levels_of_clients()
            .iter()
            .map(level)
            .max()
            .unwrap_or(1);
        match self.rate {
            Some(_) => 4096,
            // As many as there are without a word.
            None if !self.hostile.is_empty() => 1024,
            // One that has ended may be open still when the next one begins.
            None if self.recorded.is_some() => 2 * most,
            None => most + 1,
        }
    }
}
