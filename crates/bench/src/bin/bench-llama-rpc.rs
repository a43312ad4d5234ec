//! Measures the pair against llama.cpp's RPC back end: the same model at the same split, both on this
//! machine's loopback, in turn.
//!
//! llama.cpp is built by hand, with its RPC back end:
//!
//! ```text
//! cmake -S llama.cpp -B build -DGGML_RPC=ON -DCMAKE_BUILD_TYPE=Release
//! cmake --build build --target llama-bench ggml-rpc-server
//! bench-llama-rpc --llama build/bin --gguf SmolLM2-135M-Instruct.Q4_1.gguf
//! ```
//!
//! It is given the same number of threads, and its layers behind the split and the head are those of the RPC
//! server, as the pair's are the cloud's. llama-bench generates from nothing, the pair behind 8 tokens.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the table is its result, and half a result is none"
)]

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde::Serialize;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tandem_tests::client::Client;
use tandem_tests::paths::default_model;
use tandem_tests::port::ReservedPort;
use tandem_tests::process::{Server, ServerOptions};
use tandem_tests::statistics::median;

/// The pair against llama.cpp's RPC back end.
#[derive(Debug, Parser)]
struct Arguments {
    /// A folder with llama.cpp's llama-bench and ggml-rpc-server (rpc-server, where it is older), built with GGML_RPC
    #[arg(long)]
    llama: PathBuf,
    /// The model for llama.cpp
    #[arg(long)]
    gguf: PathBuf,
    /// The same model for the pair; the default one unless given
    #[arg(long)]
    model: Option<PathBuf>,
    /// Layers of the edge, and of llama.cpp's own process
    #[arg(long, default_value_t = 10)]
    split: u32,
    /// Threads of each process
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Turns
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Tokens generated
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Types of weights, edge and cloud: pairs to measure
    #[arg(long, default_values = ["int4/int4", "int4/int8", "f32/f32"])]
    pair: Vec<String>,
    /// How the pair's rows are written
    #[arg(long, default_value = "bf16")]
    codec: String,
    /// Where to write the JSON document
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Tokens a second of something, in each turn.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    tokens_per_second: Vec<f64>,
}

/// What is measured.
enum Subject {
    /// llama.cpp, with or without its server.
    Llama { server: Option<String> },
    /// The pair, by its edge.
    Pair {
        client: Client,
        _servers: Box<[Server; 2]>,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let remote = remote_layers(&arguments)?;
    let rpc = RpcServer::start(&arguments)?;
    let mut subjects = vec![
        (
            "llama.cpp, unsplit".to_owned(),
            Subject::Llama { server: None },
        ),
        (
            "llama.cpp, RPC".to_owned(),
            Subject::Llama {
                server: Some(rpc.address.clone()),
            },
        ),
    ];
    for types in &arguments.pair {
        subjects.push((format!("pair, {types}"), pair(&arguments, types).await?));
    }
    let mut rows: Vec<Row> = subjects
        .iter()
        .map(|(name, _)| Row {
            name: name.clone(),
            tokens_per_second: Vec::new(),
        })
        .collect();
    let mut prompts = 0;
    // The first turn warms up.
    for turn in 0..=arguments.repeats {
        for ((name, subject), row) in subjects.iter().zip(&mut rows) {
            let rate = match subject {
                Subject::Llama { server } => llama(&arguments, remote, server.as_deref())?,
                Subject::Pair { client, .. } => {
                    prompts += 1;
                    decode(client, prompts, arguments.tokens).await?
                }
            };
            eprintln!(
                "{turn} of {}: {name}: {rate:.1} tokens/s",
                arguments.repeats
            );
            if turn > 0 {
                row.tokens_per_second.push(rate);
            }
        }
        if let Some(out) = &arguments.out {
            std::fs::write(out, serde_json::to_vec_pretty(&rows)?)?;
        }
    }
    print(&arguments, &rows);
    Ok(())
}

/// Layers behind the split, and the head, which llama.cpp counts as one.
fn remote_layers(arguments: &Arguments) -> Result<u32> {
    let model = arguments.model.clone().unwrap_or_else(default_model);
    let config = std::fs::read(model.join("config.json"))?;
    let config: serde_json::Value = serde_json::from_slice(&config)?;
    let layers = config["num_hidden_layers"]
        .as_u64()
        .context("num_hidden_layers")?;
    let layers = u32::try_from(layers)?;
    ensure!(arguments.split < layers, "the model has {layers} layers");
    Ok(layers - arguments.split + 1)
}

async fn pair(arguments: &Arguments, types: &str) -> Result<Subject> {
    let (edge, cloud) = types.split_once('/').context("types are EDGE/CLOUD")?;
    let model = arguments.model.clone().unwrap_or_else(default_model);
    let threads = arguments.threads.to_string();
    let options = |weights: &str| {
        ServerOptions::default().args(["--threads", &threads, "--weights", weights])
    };
    let cloud = Server::cloud(&model, options(cloud)).await?;
    // A token is a row on both sides.
    let options = options(edge).args(["--codec", &arguments.codec, "--drafts", "0"]);
    let edge = Server::edge(&model, &cloud.url(), arguments.split, options).await?;
    Ok(Subject::Pair {
        client: Client::connect(&edge.url()).await?,
        _servers: Box::new([edge, cloud]),
    })
}

/// Tokens a second behind a prompt that no session has seen.
async fn decode(client: &Client, seed: u32, tokens: u32) -> Result<f64> {
    let prompt: Vec<u32> = (0..8)
        .map(|i| (i * 7919 + seed * 104_729) % 49_000)
        .collect();
    let answer = client.greedy(&prompt, tokens + 1).await?;
    ensure!(
        answer.ids.len() == tokens as usize + 1,
        "{} tokens",
        answer.ids.len()
    );
    let timings = answer.finished.timings.context("timings")?;
    Ok(f64::from(tokens) / timings.decode_seconds)
}

fn llama(arguments: &Arguments, remote: u32, server: Option<&str>) -> Result<f64> {
    let mut command = Command::new(arguments.llama.join("llama-bench"));
    command.arg("-m").arg(&arguments.gguf);
    command.args(["-p", "0", "-n", &arguments.tokens.to_string()]);
    command.args([
        "-t",
        &arguments.threads.to_string(),
        "-r",
        "1",
        "-o",
        "json",
    ]);
    if let Some(address) = server {
        command.args(["--rpc", address, "-ngl", &remote.to_string()]);
    }
    let output = command
        .stderr(Stdio::piped())
        .output()
        .context("llama-bench")?;
    ensure!(
        output.status.success(),
        "llama-bench: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    report[0]["avg_ts"]
        .as_f64()
        .context("llama-bench says no avg_ts")
}

/// llama.cpp's server, until it is dropped.
struct RpcServer {
    process: Child,
    address: String,
}

impl RpcServer {
    fn start(arguments: &Arguments) -> Result<Self> {
        // Free when it is given back: the server does not share a port.
        let address = ReservedPort::new()?.address();
        let names = ["ggml-rpc-server", "rpc-server"].map(|name| arguments.llama.join(name));
        let [newer, older] = &names;
        let program = if newer.exists() { newer } else { older };
        let process = Command::new(program)
            .args([
                "-H",
                &address.ip().to_string(),
                "-p",
                &address.port().to_string(),
            ])
            .args(["-t", &arguments.threads.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let server = Self {
            process,
            address: address.to_string(),
        };
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            ensure!(
                began.elapsed() < Duration::from_secs(10),
                "{} does not listen",
                program.display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Medians, and the median of each turn's ratios, so that what the machine does in a turn is in neither.
fn print(arguments: &Arguments, rows: &[Row]) {
    println!(
        "{} layers in front, {} threads a process, rows in {}, {} tokens, medians of {} turns (least to greatest)\n",
        arguments.split, arguments.threads, arguments.codec, arguments.tokens, arguments.repeats
    );
    println!("| | tokens/s | ÷ llama.cpp RPC | ÷ llama.cpp unsplit |");
    println!("| --- | --- | --- | --- |");
    let against = |row: &Row, other: &Row| {
        let turns = row.tokens_per_second.iter().zip(&other.tokens_per_second);
        median(turns.map(|(one, other)| one / other))
    };
    for row in rows {
        let mut sorted = row.tokens_per_second.clone();
        sorted.sort_by(f64::total_cmp);
        println!(
            "| {} | {:.1} ({:.1} to {:.1}) | {:.2} | {:.2} |",
            row.name,
            median(sorted.clone()),
            sorted.first().unwrap(),
            sorted.last().unwrap(),
            against(row, &rows[1]),
            against(row, &rows[0])
        );
    }
}
