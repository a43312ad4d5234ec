//! Measures what a prompt costs whose beginning an earlier one had: the time to its first token and the bytes that
//! go up, against those of the first one. Sessions of both kinds take turns, and medians are reported.
#![allow(clippy::print_stdout, reason = "the table is its result")]

use anyhow::Result;
use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;
use tandem_tests::client::{Client, ids_request};
use tandem_tests::link::{LinkProfile, Rate, ShapedLink};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Server, ServerOptions};
use tandem_tests::statistics::median;

/// What prompts that begin alike cost.
#[derive(Debug, Parser)]
struct Arguments {
    /// The model; the default one unless given
    #[arg(long)]
    model: Option<PathBuf>,
    /// Layers on the edge
    #[arg(long, default_value_t = 10)]
    split: u32,
    /// How rows are written
    #[arg(long, default_value = "high")]
    codec: String,
    /// Tokens that prompts have in common
    #[arg(long, default_value_t = 1000)]
    common_tokens: u32,
    /// Tokens of each prompt behind them
    #[arg(long, default_value_t = 16)]
    own_tokens: u32,
    /// Measurements of each kind, in turn
    #[arg(long, default_value_t = 5)]
    repeats: u32,
}

/// Milliseconds there and back, and megabits a second; `None` for loopback.
const LINKS: [Option<(u64, u64)>; 3] = [None, Some((20, 10)), Some((80, 10))];

/// What an answer has cost up to its first token.
#[derive(Debug, Clone, Copy)]
struct Cost {
    seconds: f64,
    up: f64,
    reused: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = arguments.model.clone().unwrap_or_else(default_model);
    let cloud = Server::cloud(&model, ServerOptions::default()).await?;
    let link = ShapedLink::start(cloud.address(), LinkProfile::unshaped())?;
    // No session is kept for another turn of its conversation: what is reused is what prompts have in common.
    let options = ServerOptions::default()
        .args(["--codec", &arguments.codec])
        .config("sessions: {idle_ttl: 0s}");
    let url = format!("http://{}", link.address());
    let edge = Server::edge(&model, &url, arguments.split, options).await?;
    let client = Client::connect(&edge.url()).await?;
    println!(
        "{:<16} {:>12} {:>12} {:>8} {:>12} {:>12} {:>8} {:>8}",
        "link", "first s", "second s", "ratio", "first bytes", "second", "ratio", "reused"
    );
    let mut beginning = 0;
    for shape in LINKS {
        let name = match shape {
            None => "loopback".to_owned(),
            Some((round_trip, rate)) => {
                let profile =
                    LinkProfile::new(Duration::from_millis(round_trip), Some(Rate::mbit(rate)));
                link.set_profile(profile);
                format!("{round_trip} ms, {rate} Mbit")
            }
        };
        let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
        // The first time the link's rate is learnt.
        for repeat in 0..=arguments.repeats {
            beginning += 1;
            let first = ask(&client, &arguments, beginning, 1).await?;
            let second = ask(&client, &arguments, beginning, 2).await?;
            if repeat > 0 {
                firsts.push(first);
                seconds.push(second);
            }
        }
        let of = |costs: &[Cost], what: fn(&Cost) -> f64| median(costs.iter().map(what));
        let (first, second) = (of(&firsts, |c| c.seconds), of(&seconds, |c| c.seconds));
        let (first_up, second_up) = (of(&firsts, |c| c.up), of(&seconds, |c| c.up));
        println!(
            "{name:<16} {first:>12.3} {second:>12.3} {:>8.3} {first_up:>12.0} {second_up:>12.0} {:>8.3} {:>8.0}",
            second / first,
            second_up / first_up,
            of(&seconds, |c| c.reused),
        );
    }
    Ok(())
}

/// One token behind a beginning and an end of its own.
async fn ask(client: &Client, arguments: &Arguments, beginning: u32, own: u32) -> Result<Cost> {
    let id = |at: u32, of: u32| 20 + (at * 131 + of * 977 + at * of % 83) % 40_000;
    let common = (0..arguments.common_tokens).map(|at| id(at, beginning));
    let own = (0..arguments.own_tokens).map(|at| id(at, 10_000 * own + beginning));
    let prompt: Vec<u32> = common.chain(own).collect();
    let answer = client.generate(ids_request(&prompt, 1)).await?;
    let timings = answer.finished.timings.unwrap_or_default();
    Ok(Cost {
        seconds: timings.ttft_seconds,
        up: answer.wire().up_bytes as f64,
        reused: f64::from(answer.started.reused_tokens),
    })
}
