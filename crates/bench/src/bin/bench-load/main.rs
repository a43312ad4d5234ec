//! Loads a pair, or a cloud alone, and says how many tokens a second clients get, how long they wait, and what fails.
//!
//! Each level of clients has its own row, and each peer of a level where there are several.
#![allow(clippy::print_stdout, reason = "the table is its result")]

mod arguments;
mod asking;
mod figures;
mod hostile;
mod recording;

use anyhow::{Context as _, Result};
use arguments::Arguments;
use asking::{Held, Question, Source};
use clap::Parser as _;
use figures::{Row, Seen, table};
use hostile::{Hostile, Way};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use recording::{Player, Recorder, Recording};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Server, ServerOptions};
use tandem_text::Tokenizer;
use tokio::task::JoinSet;

const WARM_UP: Duration = Duration::from_secs(2);

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);

/// Before somebody who was refused asks again.
const REFUSED: Duration = Duration::from_millis(100);

/// Ids of prompts that nobody wrote.
const COMMON: std::ops::Range<u32> = 1000..21_000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arc::new(Arguments::parse());
    let loaded = Loaded::start(&arguments).await?;
    let mut rows = Vec::new();
    for (level, way) in arguments.levels() {
        let hostile = way.map(|way| loaded.hostile(way)).transpose()?;
        let mut of_level = run_level(&arguments, &loaded, &level).await?;
        for row in &mut of_level {
            row.hostile = way;
            row.hostile_acts = hostile.as_ref().map(Hostile::acts);
            row.cloud_mib = loaded.cloud_memory()?;
        }
        rows.extend(of_level);
    }
    if let Some((recorder, file)) = loaded.recorder.as_ref().zip(arguments.record.as_ref()) {
        let sessions = recorder.save(file)?;
        eprintln!("{sessions} sessions are in {}", file.display());
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        table(&rows);
    }
    Ok(())
}

/// What is loaded, and all that was started for it.
struct Loaded {
    model: PathBuf,
    url: String,
    cloud_alone: bool,
    /// What the edge sends, where it is recorded.
    recorder: Option<Recorder>,
    /// What is sent again.
    player: Option<Player>,
    /// Files of the peers' tokens; an empty name without any.
    tokens: Vec<PathBuf>,
    /// The token of the hostile one.
    token_of_hostile: String,
    prompts: Arc<Vec<Vec<u32>>>,
    /// Those that were started, the cloud last.
    servers: Vec<Server>,
    _folder: tempfile::TempDir,
}

impl Loaded {
    async fn start(arguments: &Arguments) -> Result<Self> {
        let model = arguments.model.clone().unwrap_or_else(default_model);
        let folder = tempfile::tempdir()?;
        let mut tokens = vec![PathBuf::new()];
        let token_of_hostile = format!("hostile-{:032x}", rand::random::<u128>());
        let mut accepted = String::new();
        if !arguments.clients_of.is_empty() {
            tokens.clear();
            for peer in 0..arguments.clients_of.len() {
                let token = format!("{peer}-{:032x}", rand::random::<u128>());
                let file = folder.path().join(format!("peer-{peer}"));
                std::fs::write(&file, &token)?;
                accepted += &format!("peer-{peer}: {token}\n");
                tokens.push(file);
            }
            accepted += &format!("hostile: {token_of_hostile}\n");
        }
        let all = folder.path().join("tokens");
        std::fs::write(&all, &accepted)?;
        let mut servers = Vec::new();
        let mut recorder = None;
        let recording = arguments.recorded.as_deref().map(Recording::load);
        let recording = recording.transpose()?;
        let url = match arguments.edge.as_ref().or(arguments.cloud.as_ref()) {
            Some(url) => url.clone(),
            None => {
                let sessions = arguments.sessions().to_string();
                let context = match &recording {
                    Some(recording) => recording.context().to_string(),
                    None => arguments.context().to_string(),
                };
                let options = || {
                    ServerOptions::default()
                        .args(["--weights", &arguments.weights])
                        .args(["--max-sessions", &sessions, "--context", &context])
                };
                let mut of_cloud = options().args(["--kv-memory", &arguments.kv_memory]);
                if !accepted.is_empty() {
                    of_cloud = of_cloud.arg("--auth-tokens").arg(&all);
                }
                let cloud = Server::cloud(&model, of_cloud).await?;
                let mut url = cloud.url();
                servers.push(cloud);
                if arguments.record.is_some() {
                    let (before, address) = Recorder::before(&url).await?;
                    (recorder, url) = (Some(before), address);
                }
                if !arguments.is_cloud_alone() {
                    let edge = Server::edge(&model, &url, arguments.split, options()).await?;
                    url = edge.url();
                    servers.insert(0, edge);
                }
                url
            }
        };
        let mut prompts = Vec::new();
        if let Some(file) = &arguments.prompts {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let tokenizer = Tokenizer::load(&model)?;
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                prompts.push(tokenizer.encode(line, true)?);
            }
        }
        let player = match recording {
            Some(recording) => Some(Player::of(recording, &url).await?),
            None => None,
        };
        Ok(Self {
            model,
            url,
            cloud_alone: arguments.is_cloud_alone(),
            recorder,
            player,
            tokens,
            token_of_hostile,
            prompts: Arc::new(prompts),
            servers,
            _folder: folder,
        })
    }

    /// Sets the hostile peer to work on the cloud that was started.
    fn hostile(&self, way: Way) -> Result<Hostile> {
        let cloud = self.servers.last().context("no cloud was started")?;
        Hostile::begin(way, &cloud.url(), cloud.address(), &self.token_of_hostile)
    }

    /// What the cloud that was started takes now, in MiB.
    fn cloud_memory(&self) -> Result<Option<u64>> {
        let cloud = self.servers.last().map(Server::memory).transpose()?;
        Ok(cloud.map(|memory| memory.resident >> 20))
    }

    /// The source of a peer's answers.
    async fn source(&self, peer: usize) -> Result<Source> {
        if let Some(player) = &self.player {
            Ok(Source::Recorded(player.clone()))
        } else if self.cloud_alone {
            let none = PathBuf::new();
            let token = self.tokens.get(peer).unwrap_or(&none);
            Source::cloud(&self.url, &self.model, token).await
        } else {
            Source::edge(&self.url).await
        }
    }
}

/// Runs clients of each peer for a while.
async fn run_level(
    arguments: &Arc<Arguments>,
    loaded: &Loaded,
    level: &[usize],
) -> Result<Vec<Row>> {
    let began = Instant::now();
    let window = began + WARM_UP..began + WARM_UP + Duration::from_secs(arguments.seconds);
    let count = Arc::new(AtomicUsize::new(0));
    let mut running: JoinSet<(usize, Seen)> = JoinSet::new();
    let mut seed = arguments.seed;
    for (peer, &clients) in level.iter().enumerate() {
        let source = loaded.source(peer).await?;
        let runners = if arguments.rate.is_some() { 1 } else { clients };
        for _ in 0..runners {
            seed += 1;
            // Each client of an edge has a connection of its own.
            let source = match &source {
                Source::Edge(_) => loaded.source(peer).await?,
                cloud => cloud.clone(),
            };
            let client = ClientOf {
                source,
                arguments: Arc::clone(arguments),
                prompts: Arc::clone(&loaded.prompts),
                random: SmallRng::seed_from_u64(seed),
                count: Arc::clone(&count),
            };
            let end = window.end;
            let rate = arguments.rate;
            running.spawn(async move {
                let seen = match rate {
                    Some(rate) => client.arrive_until(end, rate).await,
                    None => client.ask_until(end).await,
                };
                (peer, seen)
            });
        }
    }
    let told = tokio::spawn(tell(level.iter().sum(), Arc::clone(&count)));
    let long = match arguments.long_prompt {
        0 => None,
        tokens => Some(long_prompt(loaded, tokens, began + 2 * WARM_UP).await?),
    };
    let mut seen: Vec<Seen> = level.iter().map(|_| Seen::default()).collect();
    while let Some(ended) = running.join_next().await {
        let (peer, of_client) = ended.context("a client")?;
        seen[peer].add(of_client);
    }
    told.abort();
    if !arguments.hostile.is_empty() {
        // What each of the honest ones got is the same question: one row.
        let mut all = Seen::default();
        seen.into_iter().for_each(|of_peer| all.add(of_peer));
        return Ok(vec![all.row(level.iter().sum(), &window)]);
    }
    let several = level.len() > 1;
    let rows = level.iter().zip(&seen).enumerate();
    Ok(rows
        .map(|(peer, (&clients, seen))| Row {
            peer: several.then_some(peer),
            long_prompt_seconds: long,
            ..seen.row(clients, &window)
        })
        .collect())
}

/// Says how far it is, now and then.
async fn tell(clients: usize, count: Arc<AtomicUsize>) {
    let (mut last, began) = (0, Instant::now());
    loop {
        tokio::time::sleep(PROGRESS).await;
        let now = count.load(Ordering::Relaxed);
        let rate = (now - last) as f64 / PROGRESS.as_secs_f64();
        eprintln!(
            "{clients} clients, {:.0} s: {rate:.0} tokens/s",
            began.elapsed().as_secs_f64()
        );
        last = now;
    }
}

async fn long_prompt(loaded: &Loaded, tokens: u32, at: Instant) -> Result<f64> {
    let source = loaded.source(0).await?;
    tokio::time::sleep_until(at.into()).await;
    let asked = Instant::now();
    let question = Question {
        prompt: (0..tokens)
            .map(|at| COMMON.start + at.wrapping_mul(7919) % 20_000)
            .collect(),
        tokens: 1,
        give_up_behind: None,
    };
    let answered = source.ask(&question, &mut Held::default()).await;
    anyhow::ensure!(answered.failure.is_none(), "the long prompt: {answered:?}");
    Ok(asked.elapsed().as_secs_f64())
}

/// One client.
#[derive(Clone)]
struct ClientOf {
    source: Source,
    arguments: Arc<Arguments>,
    prompts: Arc<Vec<Vec<u32>>>,
    random: SmallRng,
    count: Arc<AtomicUsize>,
}

impl ClientOf {
    /// Holds one conversation behind the other.
    async fn ask_until(mut self, end: Instant) -> Seen {
        let mut seen = Seen::default();
        while Instant::now() < end {
            self.converse(end, &mut seen).await;
        }
        seen
    }

    /// Begins conversations at random moments, `rate` a second.
    async fn arrive_until(mut self, end: Instant, rate: f64) -> Seen {
        let mut running = JoinSet::new();
        let mut next = Instant::now();
        while next < end {
            // The time between two events of a Poisson process is exponential.
            let uniform: f64 = self.random.random_range(f64::MIN_POSITIVE..1.0);
            next += Duration::from_secs_f64(-uniform.ln() / rate);
            tokio::time::sleep_until(next.min(end).into()).await;
            let mut other = Self {
                random: SmallRng::seed_from_u64(self.random.random()),
                ..self.clone()
            };
            running.spawn(async move {
                let mut seen = Seen::default();
                other.converse(end, &mut seen).await;
                seen
            });
        }
        let mut seen = Seen::default();
        while let Some(ended) = running.join_next().await {
            seen.add(ended.unwrap_or_default());
        }
        seen
    }

    async fn converse(&mut self, end: Instant, seen: &mut Seen) {
        let turns = self.random.random_range(1..=self.arguments.turns.max(1));
        let mut held = Held::default();
        let mut said = Vec::new();
        for _ in 0..turns {
            if Instant::now() >= end {
                return;
            }
            said.extend(self.prompt());
            let tokens = self.random.random_range(self.arguments.tokens.0.clone());
            let gives_up = self
                .random
                .random_bool(self.arguments.cancel.clamp(0.0, 1.0));
            let question = Question {
                prompt: said.clone(),
                tokens,
                give_up_behind: gives_up.then(|| self.random.random_range(1..=tokens)),
            };
            let asked = Instant::now();
            let answered = self.source.ask(&question, &mut held).await;
            self.count.fetch_add(answered.ids.len(), Ordering::Relaxed);
            seen.note(asked, &answered);
            if answered.failure.is_some() {
                tokio::time::sleep(REFUSED).await;
                return;
            }
            said.extend(&answered.ids);
        }
    }

    /// No two of random tokens begin alike, so that none goes on with what is kept.
    fn prompt(&mut self) -> Vec<u32> {
        let length = self
            .random
            .random_range(self.arguments.prompt_tokens.0.clone());
        if self.prompts.is_empty() {
            return (0..length)
                .map(|_| self.random.random_range(COMMON))
                .collect();
        }
        let at = self.random.random_range(0..self.prompts.len());
        let prompt = &self.prompts[at];
        prompt[..prompt.len().min(length as usize)].to_vec()
    }
}
