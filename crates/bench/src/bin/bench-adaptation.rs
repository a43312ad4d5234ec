//! Measures what following the link is worth: tokens before and after a link's rate falls within an
//! answer, with and without smaller codecs.
#![allow(clippy::print_stdout, reason = "the table is its result")]

use anyhow::{Context as _, Result};
use clap::Parser;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tandem_proto::v1::{self, generate_response::Event};
use tandem_tests::client::{Client, ids_request};
use tandem_tests::link::{LinkProfile, Rate, ShapedLink};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Server, ServerOptions};
use tandem_tests::statistics::median;

/// Tokens before and after a link's rate falls.
#[derive(Debug, Parser)]
struct Arguments {
    /// The model; the default one unless given
    #[arg(long)]
    model: Option<PathBuf>,
    /// Layers on the edge
    #[arg(long, default_value_t = 10)]
    split: u32,
    /// How rows are written on the fast link
    #[arg(long, default_value = "bf16")]
    codec: String,
    /// The smallest codec on the slow one
    #[arg(long, default_value = "economy")]
    floor: String,
    /// Round trip, in milliseconds
    #[arg(long, default_value_t = 20)]
    round_trip_ms: u64,
    /// The rate before, such as 20Mbit
    #[arg(long, default_value = "20Mbit")]
    before: Rate,
    /// The rate after
    #[arg(long, default_value = "100kbit")]
    after: Rate,
    /// Tokens before the rate falls, and from the tenth token after it on
    #[arg(long, default_value_t = 60)]
    tokens: usize,
    /// Where to write the JSON document
    #[arg(long)]
    out: Option<PathBuf>,
}

/// All results.
#[derive(Debug, Serialize)]
struct Document {
    codec: String,
    floor: String,
    round_trip_ms: u64,
    before: String,
    after: String,
    /// A round trip, edge and cloud, and the floor's bytes at the rate after.
    least_ms: f64,
    runs: Vec<Run>,
}

/// One answer.
#[derive(Debug, Serialize)]
struct Run {
    floor: String,
    /// Medians of the time between tokens.
    before_ms: f64,
    after_ms: f64,
    /// The first ten tokens after the fall.
    first_ten_ms: Vec<f64>,
    /// Edge and cloud, a token.
    compute_ms: f64,
    /// `after_ms` ÷ `least_ms`.
    to_least: f64,
    rows: Vec<(String, u64)>,
    #[serde(skip)]
    smallest_frame: f64,
}

/// Tokens after the fall that are not counted in the median.
const SETTLING: usize = 10;
/// HTTP/2 and gRPC around a row's frame, and the token that answers it.
const AROUND_FRAME: f64 = 85.0;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = arguments.model.clone().unwrap_or_else(default_model);
    let cloud = Server::cloud(&model, ServerOptions::default()).await?;
    let mut runs = Vec::new();
    for floor in ["off", &arguments.floor] {
        eprintln!("floor {floor}");
        runs.push(run(&arguments, &model, &cloud, floor).await?);
    }
    let adapted = runs.last().context("two runs")?;
    let bytes = adapted.smallest_frame + AROUND_FRAME;
    let transmission = 8e3 * bytes / arguments.after.bits_per_second() as f64;
    let least_ms = arguments.round_trip_ms as f64 + adapted.compute_ms + transmission;
    for run in &mut runs {
        run.to_least = run.after_ms / least_ms;
    }
    let document = Document {
        codec: arguments.codec.clone(),
        floor: arguments.floor.clone(),
        round_trip_ms: arguments.round_trip_ms,
        before: arguments.before.to_string(),
        after: arguments.after.to_string(),
        least_ms,
        runs,
    };
    print(&document);
    if let Some(out) = &arguments.out {
        std::fs::write(out, serde_json::to_vec_pretty(&document)?)?;
    }
    Ok(())
}

async fn run(
    arguments: &Arguments,
    model: &std::path::Path,
    cloud: &Server,
    floor: &str,
) -> Result<Run> {
    let round_trip = Duration::from_millis(arguments.round_trip_ms);
    let profile = |rate| LinkProfile::new(round_trip, Some(rate));
    let link = ShapedLink::start(cloud.address(), profile(arguments.before))?;
    let url = format!("http://{}", link.address());
    let options = ServerOptions::default()
        .args(["--codec", &arguments.codec, "--adapt-floor", floor])
        // One row a token.
        .args(["--drafts", "0"]);
    let edge = Server::edge(model, &url, arguments.split, options).await?;
    let mut client = Client::connect(&edge.url()).await?;
    let prompt: Vec<u32> = (0..32).map(|i| (i * 7919) % 49_000).collect();
    client.greedy(&prompt[..8], 4).await?;

    let count = u32::try_from(2 * arguments.tokens + SETTLING)?;
    let request = ids_request(&prompt, count);
    let mut stream = client.raw().generate(request).await?.into_inner();
    let (mut between, mut last) = (Vec::new(), None::<Instant>);
    let finished = loop {
        let response = stream.message().await?.context("the answer goes on")?;
        match response.event {
            Some(Event::Delta(_)) => {
                let now = Instant::now();
                between.extend(last.map(|last| 1e3 * now.duration_since(last).as_secs_f64()));
                last = Some(now);
                if between.len() == arguments.tokens {
                    link.set_profile(profile(arguments.after));
                }
            }
            Some(Event::Finished(finished)) => break finished,
            Some(Event::Started(_) | Event::Step(_)) | None => {}
        }
    };
    let (before, after) = between.split_at(arguments.tokens);
    let (first, settled) = after.split_at(SETTLING);
    let timings = finished.timings.context("timings")?;
    let computed =
        timings.edge_compute_seconds + timings.cloud_compute_seconds + timings.cloud_queue_seconds;
    let codecs = finished.wire.context("wire")?.codecs;
    let smallest = codecs.last().context("rows")?;
    Ok(Run {
        floor: floor.to_owned(),
        before_ms: median(before.to_vec()),
        after_ms: median(settled.to_vec()),
        first_ten_ms: first.to_vec(),
        compute_ms: 1e3 * computed / f64::from(count),
        to_least: 0.0,
        smallest_frame: smallest.frame_bytes as f64 / smallest.rows as f64,
        rows: codecs
            .into_iter()
            .map(|c: v1::CodecUsage| (c.codec, c.rows))
            .collect(),
    })
}

fn print(document: &Document) {
    println!(
        "{} to {} at a round trip of {} ms; the least is {:.0} ms a token\n",
        document.before, document.after, document.round_trip_ms, document.least_ms
    );
    println!("| floor | before, ms | after, ms | to the least | rows |");
    println!("| --- | --- | --- | --- | --- |");
    for run in &document.runs {
        let rows: Vec<String> = run.rows.iter().map(|(c, n)| format!("{n} {c}")).collect();
        println!(
            "| {} | {:.0} | {:.0} | {:.2} | {} |",
            run.floor,
            run.before_ms,
            run.after_ms,
            run.to_least,
            rows.join(", ")
        );
    }
    for run in &document.runs {
        let first: Vec<String> = run
            .first_ten_ms
            .iter()
            .map(|ms| format!("{ms:.0}"))
            .collect();
        println!(
            "\nThe first ten after the fall, floor {}: {} ms",
            run.floor,
            first.join(", ")
        );
    }
}
