//! Measures the pair: against the same model unsplit in the same engine, and through links.
//!
//! Unsplit and split runs and links alternate and medians are reported, because machines are shared
//! and noisy. `scripts/bench` builds what this needs and calls it.
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
use tandem_proto::v1;
use tandem_tests::client::{Answer, Client, ids_request};
use tandem_tests::link::{LinkProfile, Rate, ShapedLink};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Binary, Server, ServerOptions};
use tandem_tests::statistics::median;

/// Milliseconds there and back, and megabits a second.
const LINKS: [(u64, u64); 2] = [(20, 10), (80, 10)];

/// The pair against the unsplit model, and through links.
#[derive(Debug, Parser)]
struct Arguments {
    /// The model; the default one unless given
    #[arg(long)]
    model: Option<PathBuf>,
    /// Layers on the edge
    #[arg(long, default_value_t = 10)]
    split: u32,
    /// How rows are written
    #[arg(long, default_value = "f32")]
    codec: String,
    /// Measurements of each kind, alternating
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Tokens of a prompt
    #[arg(long, default_value_t = 256)]
    prompt_tokens: u32,
    /// Tokens generated
    #[arg(long, default_value_t = 64)]
    decode_tokens: u32,
    /// Where to write the JSON document
    #[arg(long)]
    out: Option<PathBuf>,
}

/// All results.
#[derive(Debug, Serialize)]
struct Document {
    model: String,
    split: u32,
    codec: String,
    repeats: usize,
    prompt_tokens: u32,
    decode_tokens: u32,
    unsplit: Row,
    links: Vec<Row>,
    split_to_unsplit_decode: f64,
    bystander: Bystander,
    edge_memory: EdgeMemory,
}

/// Medians of one setting.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    round_trip_ms: f64,
    rate_mbit: Option<f64>,
    decode_ms_per_token: f64,
    prefill_ms: f64,
    up_bytes_per_token: f64,
    down_bytes_per_token: f64,
}

/// A session that decodes while another uploads a long prompt on a slow link.
#[derive(Debug, Serialize)]
struct Bystander {
    worst_inter_token_ms: f64,
    tokens_meanwhile: usize,
}

/// An edge of 10 layers after a prompt of 1,024 tokens.
#[derive(Debug, Serialize)]
struct EdgeMemory {
    peak_mib: f64,
    layers_and_kv_mib: f64,
}

struct Sample {
    decode_ms: f64,
    prefill_ms: f64,
    up: f64,
    down: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = arguments.model.clone().unwrap_or_else(default_model);
    let cloud = Server::cloud(&model, ServerOptions::default()).await?;
    // What a row costs: one a token.
    let options = ServerOptions::default().args(["--codec", &arguments.codec, "--drafts", "0"]);
    let direct = Server::edge(&model, &cloud.url(), arguments.split, options.clone()).await?;
    let link = ShapedLink::start(cloud.address(), LinkProfile::unshaped())?;
    let far_url = format!("http://{}", link.address());
    let far = Server::edge(&model, &far_url, arguments.split, options).await?;
    let near_client = Client::connect(&direct.url()).await?;
    let far_client = Client::connect(&far.url()).await?;

    let mut prompts = Prompts(0);
    measure(&near_client, &arguments, &mut prompts).await?;
    let (mut unsplit, mut loopback) = (Vec::new(), Vec::new());
    let mut far_samples = LINKS.map(|_| Vec::new());
    for repeat in 1..=arguments.repeats {
        eprintln!("{repeat} of {}", arguments.repeats);
        unsplit.push(measure_unsplit(&arguments, &model)?);
        loopback.push(measure(&near_client, &arguments, &mut prompts).await?);
        for ((round_trip, rate), samples) in LINKS.into_iter().zip(&mut far_samples) {
            let round_trip = Duration::from_millis(round_trip);
            link.set_profile(LinkProfile::new(round_trip, Some(Rate::mbit(rate))));
            // The link's rate is learnt from a prompt of its own.
            let prompt = prompts.next(arguments.prompt_tokens);
            far_client.greedy(&prompt, 1).await?;
            samples.push(measure(&far_client, &arguments, &mut prompts).await?);
        }
    }
    let near = row("loopback", None, &loopback);
    let mut links = Vec::new();
    for ((round_trip, rate), samples) in LINKS.into_iter().zip(&far_samples) {
        let name = format!("{round_trip} ms, {rate} Mbit/s");
        links.push(row(&name, Some((round_trip, rate)), samples));
    }
    links.insert(0, near);
    let unsplit = row("unsplit", None, &unsplit);

    eprintln!("a bystander on 1 Mbit/s");
    drop((far_client, far, link));
    let bystander = bystander(&model, &cloud, &arguments, &mut prompts).await?;
    eprintln!("memory of an edge");
    let edge_memory = edge_memory(&model, &cloud).await?;
    let document = Document {
        model: model
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        split: arguments.split,
        codec: arguments.codec.clone(),
        repeats: arguments.repeats,
        prompt_tokens: arguments.prompt_tokens,
        decode_tokens: arguments.decode_tokens,
        split_to_unsplit_decode: links[0].decode_ms_per_token / unsplit.decode_ms_per_token,
        unsplit,
        links,
        bystander,
        edge_memory,
    };
    print(&document);
    if let Some(out) = &arguments.out {
        std::fs::write(out, serde_json::to_vec_pretty(&document)?)?;
    }
    Ok(())
}

/// Prompts that share no beginning, so that none is reused.
struct Prompts(u32);

impl Prompts {
    fn next(&mut self, tokens: u32) -> Vec<u32> {
        self.0 += 1;
        let seed = self.0;
        (0..tokens)
            .map(|i| (i * 7919 + seed * 104_729) % 49_000)
            .collect()
    }
}

async fn measure(client: &Client, arguments: &Arguments, prompts: &mut Prompts) -> Result<Sample> {
    let prompt = prompts.next(arguments.prompt_tokens);
    let answer = client.greedy(&prompt, arguments.decode_tokens + 1).await?;
    let timings = answer.finished.timings.context("timings")?;
    // One token alone: what the prompt cost is not part of what a token costs.
    let one = client
        .greedy(&prompts.next(arguments.prompt_tokens), 1)
        .await?;
    let tokens = f64::from(arguments.decode_tokens);
    let share = |of: fn(&v1::WireUsage) -> u64| {
        (of(&answer.wire()) as f64 - of(&one.wire()) as f64) / tokens
    };
    Ok(Sample {
        decode_ms: 1e3 * timings.decode_seconds / tokens,
        prefill_ms: 1e3 * timings.ttft_seconds,
        up: share(|w| w.up_bytes),
        down: share(|w| w.down_bytes),
    })
}

/// The same model in one process and one engine, without text and network.
fn measure_unsplit(arguments: &Arguments, model: &std::path::Path) -> Result<Sample> {
    let output = std::process::Command::new(Binary::Eval.path())
        .args([
            "bench",
            "--json",
            "--repeats",
            "1",
            "--chunk",
            "64",
            "--model",
        ])
        .arg(model)
        .args(["--prompt-tokens", &arguments.prompt_tokens.to_string()])
        .args(["--decode-tokens", &arguments.decode_tokens.to_string()])
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let median = |name: &str| {
        report["unsplit"][name]["median"]
            .as_f64()
            .context("a median")
    };
    Ok(Sample {
        decode_ms: median("decode_ms")?,
        prefill_ms: median("prefill_ms")?,
        up: 0.0,
        down: 0.0,
    })
}

fn row(name: &str, link: Option<(u64, u64)>, samples: &[Sample]) -> Row {
    let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
    let round_trip = link.map_or(0.0, |(ms, _)| ms as f64);
    Row {
        name: name.to_owned(),
        round_trip_ms: round_trip,
        rate_mbit: link.map(|(_, mbit)| mbit as f64),
        decode_ms_per_token: of(|s| s.decode_ms),
        prefill_ms: of(|s| s.prefill_ms),
        up_bytes_per_token: of(|s| s.up),
        down_bytes_per_token: of(|s| s.down),
    }
}

/// One session decodes; another uploads 1,000 tokens on 1 Mbit/s.
async fn bystander(
    model: &std::path::Path,
    cloud: &Server,
    arguments: &Arguments,
    prompts: &mut Prompts,
) -> Result<Bystander> {
    let profile = LinkProfile::new(Duration::from_millis(20), Some(Rate::mbit(1)));
    let link = ShapedLink::start(cloud.address(), profile)?;
    let url = format!("http://{}", link.address());
    // What a row costs: one a token.
    let options = ServerOptions::default().args(["--codec", &arguments.codec, "--drafts", "0"]);
    let edge = Server::edge(model, &url, arguments.split, options).await?;
    let client = Client::connect(&edge.url()).await?;
    // The link's rate is learnt from a prompt of its own.
    client.greedy(&prompts.next(64), 1).await?;
    let mut decoding = client.clone();
    let request = ids_request(&prompts.next(16), 2000);
    let mut stream = decoding.raw().generate(request).await?.into_inner();
    for _ in 0..8 {
        stream.message().await?;
    }
    let other = client.clone();
    let long = prompts.next(1000);
    let upload = tokio::spawn(async move { other.greedy(&long, 1).await });
    let (mut worst, mut last, mut tokens) = (Duration::ZERO, Instant::now(), 0);
    while !upload.is_finished() {
        stream.message().await?.context("the answer goes on")?;
        worst = worst.max(last.elapsed());
        last = Instant::now();
        tokens += 1;
    }
    upload.await??;
    Ok(Bystander {
        worst_inter_token_ms: 1e3 * worst.as_secs_f64(),
        tokens_meanwhile: tokens,
    })
}

async fn edge_memory(model: &std::path::Path, cloud: &Server) -> Result<EdgeMemory> {
    const MIB: f64 = 1024.0 * 1024.0;
    let edge = Server::edge(model, &cloud.url(), 10, ServerOptions::default()).await?;
    let client = Client::connect(&edge.url()).await?;
    let answer: Answer = client.greedy(&(0..1024).collect::<Vec<u32>>(), 8).await?;
    anyhow::ensure!(answer.ids.len() == 8);
    let text = std::fs::read(model.join("config.json"))?;
    let config: serde_json::Value = serde_json::from_slice(&text)?;
    let size = |key: &str| config[key].as_f64().context("a size");
    let (hidden, inner) = (size("hidden_size")?, size("intermediate_size")?);
    let heads = size("num_attention_heads")?;
    let kv = size("num_key_value_heads")? * hidden / heads;
    let layer = 2.0 * hidden * hidden + 2.0 * kv * hidden + 3.0 * hidden * inner + 2.0 * hidden;
    let layers_and_kv = 10.0 * 4.0 * (layer + 2.0 * 1032.0 * kv) / MIB;
    Ok(EdgeMemory {
        peak_mib: edge.memory()?.peak as f64 / MIB,
        layers_and_kv_mib: layers_and_kv,
    })
}

fn print(document: &Document) {
    println!(
        "{}, {} layers on the edge, codec {}, prompt of {}, {} tokens decoded, medians of {}\n",
        document.model,
        document.split,
        document.codec,
        document.prompt_tokens,
        document.decode_tokens,
        document.repeats
    );
    println!("| | ms a token | first token, ms | bytes up a token | down |");
    println!("| --- | --- | --- | --- | --- |");
    for row in std::iter::once(&document.unsplit).chain(&document.links) {
        println!(
            "| {} | {:.1} | {:.0} | {:.0} | {:.0} |",
            row.name,
            row.decode_ms_per_token,
            row.prefill_ms,
            row.up_bytes_per_token,
            row.down_bytes_per_token
        );
    }
    println!(
        "\nSplit on loopback ÷ unsplit, time a token: {:.2}",
        document.split_to_unsplit_decode
    );
    let b = &document.bystander;
    println!(
        "While another session uploads 1,000 tokens through 1 Mbit/s: {:.0} ms between tokens at \
         worst, {} tokens",
        b.worst_inter_token_ms, b.tokens_meanwhile
    );
    let m = &document.edge_memory;
    println!(
        "Peak memory of an edge with 10 layers and a prompt of 1,024: {:.0} MiB (layers and KV \
         {:.0})",
        m.peak_mib, m.layers_and_kv_mib
    );
}
