//! Loads a pair with clients that ask again as soon as they are answered, and says how many tokens a second
//! they get and how long they wait.
//!
//! Starts a pair on loopback, or asks an edge that runs. Each level of clients has its own row.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the table is its result, and half a result is none"
)]

use anyhow::{Context as _, Result};
use clap::Parser;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tandem_proto::v1::generate_response::Event;
use tandem_tests::client::{Client, ids_request};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Server, ServerOptions};
use tokio::task::JoinSet;

/// Clients in a closed loop.
#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// An edge that runs; a pair is started unless given
    #[arg(long)]
    edge: Option<String>,
    /// The model of a pair that is started; the default one unless given
    #[arg(long)]
    model: Option<PathBuf>,
    /// Layers on that edge
    #[arg(long, default_value_t = 0)]
    split: u32,
    /// Types of both sides' weights
    #[arg(long, default_value = "f32")]
    weights: String,
    /// Clients at once, one level after the other
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    clients: Vec<usize>,
    /// Tokens of a prompt
    #[arg(long, default_value_t = 64)]
    prompt_tokens: u32,
    /// Tokens of an answer
    #[arg(long, default_value_t = 64)]
    tokens: u32,
    /// Seconds that are measured a level, behind two that are not
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Tokens of a prompt that another client sends while the others are answered; 0 for none
    #[arg(long, default_value_t = 0)]
    long_prompt: u32,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
}

/// What a level of clients got.
#[derive(Debug, Serialize)]
struct Row {
    clients: usize,
    tokens_per_second: f64,
    first_token_p50_ms: f64,
    first_token_p95_ms: f64,
    inter_token_p50_ms: f64,
    inter_token_p99_ms: f64,
    answers: usize,
    failures: usize,
    /// From the long prompt to its first token, where there was one.
    long_prompt_seconds: Option<f64>,
}

/// What one client saw, by the clock of the level.
#[derive(Debug, Default)]
struct Seen {
    first: Vec<(Instant, Duration)>,
    between: Vec<(Instant, Duration)>,
    answers: usize,
    failures: usize,
}

const WARM_UP: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (pair, url) = match &arguments.edge {
        Some(url) => (None, url.clone()),
        None => {
            let pair = start(&arguments).await?;
            let url = pair.1.url();
            (Some(pair), url)
        }
    };
    let mut rows = Vec::new();
    for &clients in &arguments.clients {
        rows.push(level(&arguments, &url, clients).await?);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        table(&rows);
    }
    // Their owner's end is theirs.
    drop(pair);
    Ok(())
}

async fn start(arguments: &Arguments) -> Result<(Server, Server)> {
    let model = arguments.model.clone().unwrap_or_else(default_model);
    let most = arguments.clients.iter().max().copied().unwrap_or(1) + 1;
    let sessions = most.to_string();
    let context = (arguments.prompt_tokens + arguments.tokens).max(arguments.long_prompt) + 64;
    let options = || {
        ServerOptions::default().args([
            "--weights",
            &arguments.weights,
            "--max-sessions",
            &sessions,
            "--context",
            &context.to_string(),
        ])
    };
    let cloud = Server::cloud(&model, options().args(["--kv-memory", "8GiB"])).await?;
    let edge = Server::edge(&model, &cloud.url(), arguments.split, options()).await?;
    Ok((cloud, edge))
}

async fn level(arguments: &Arguments, url: &str, clients: usize) -> Result<Row> {
    let began = Instant::now();
    let end = began + WARM_UP + Duration::from_secs(arguments.seconds);
    let mut running = JoinSet::new();
    for number in 0..clients {
        let client = Client::connect(url).await?;
        let arguments = arguments.clone();
        running.spawn(ask_until(end, client, number as u32, arguments));
    }
    let long = match arguments.long_prompt {
        0 => None,
        tokens => {
            let mut client = Client::connect(url).await?;
            tokio::time::sleep_until((began + 2 * WARM_UP).into()).await;
            let asked = Instant::now();
            let mut stream = client
                .raw()
                .generate(ids_request(&prompt(99_991, tokens), 1))
                .await?
                .into_inner();
            while stream.message().await?.is_some() {}
            Some(asked.elapsed().as_secs_f64())
        }
    };
    let mut all = Seen::default();
    while let Some(seen) = running.join_next().await {
        let seen = seen.context("a client")?;
        all.first.extend(seen.first);
        all.between.extend(seen.between);
        all.answers += seen.answers;
        all.failures += seen.failures;
    }
    let measured = |list: &[(Instant, Duration)]| {
        let window = began + WARM_UP..end;
        let inside = list.iter().filter(|(at, _)| window.contains(at));
        let mut times: Vec<f64> = inside.map(|(_, took)| 1e3 * took.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    let (first, between) = (measured(&all.first), measured(&all.between));
    Ok(Row {
        clients,
        tokens_per_second: (first.len() + between.len()) as f64 / arguments.seconds as f64,
        first_token_p50_ms: quantile(&first, 0.5),
        first_token_p95_ms: quantile(&first, 0.95),
        inter_token_p50_ms: quantile(&between, 0.5),
        inter_token_p99_ms: quantile(&between, 0.99),
        answers: all.answers,
        failures: all.failures,
        long_prompt_seconds: long,
    })
}

async fn ask_until(end: Instant, mut client: Client, number: u32, arguments: Arguments) -> Seen {
    let mut seen = Seen::default();
    let mut round = 0;
    while Instant::now() < end {
        // No two prompts begin alike, so none goes on with what is kept.
        let prompt = prompt(1000 * number + round, arguments.prompt_tokens);
        round += 1;
        let asked = Instant::now();
        let Ok(stream) = client
            .raw()
            .generate(ids_request(&prompt, arguments.tokens))
            .await
        else {
            seen.failures += 1;
            continue;
        };
        let mut stream = stream.into_inner();
        let mut last = None;
        loop {
            match stream.message().await {
                Ok(Some(response)) => {
                    if let Some(Event::Delta(_)) = response.event {
                        let now = Instant::now();
                        match last.replace(now) {
                            None => seen.first.push((now, now - asked)),
                            Some(before) => seen.between.push((now, now - before)),
                        }
                    }
                }
                Ok(None) => break seen.answers += 1,
                Err(_) => break seen.failures += 1,
            }
        }
    }
    seen
}

/// Ids of common tokens, other ones for each number.
fn prompt(number: u32, tokens: u32) -> Vec<u32> {
    (0..tokens)
        .map(|at| 1000 + (number.wrapping_mul(7919) + at.wrapping_mul(104_729)) % 20_000)
        .collect()
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        length => sorted[((length - 1) as f64 * share).round() as usize],
    }
}

fn table(rows: &[Row]) {
    println!(
        "| clients | tokens/s | first token p50, p95, ms | inter-token p50, p99, ms | answers | failures | long prompt, s |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        println!(
            "| {} | {:.1} | {:.0}, {:.0} | {:.1}, {:.1} | {} | {} | {} |",
            row.clients,
            row.tokens_per_second,
            row.first_token_p50_ms,
            row.first_token_p95_ms,
            row.inter_token_p50_ms,
            row.inter_token_p99_ms,
            row.answers,
            row.failures,
            row.long_prompt_seconds
                .map_or("".to_owned(), |s| format!("{s:.2}")),
        );
    }
}
