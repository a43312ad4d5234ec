//! What drafts are worth: the same requests with and without, alternating, through links of several round trips and rates.
//! Every text with drafts is compared with the one without.
#![allow(clippy::print_stdout, reason = "the table is its result")]

mod predict;
mod workloads;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use predict::{Predicted, Predictions};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tandem_proto::v1;
use tandem_tests::client::{Answer, Client};
use tandem_tests::link::{LinkProfile, Rate, ShapedLink};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Server, ServerOptions};
use tandem_tests::statistics::median;
use workloads::Workload;

/// Drafts on and off, by workload and link.
#[derive(Debug, Parser)]
struct Arguments {
    /// The model; the default one unless given
    #[arg(long)]
    model: Option<PathBuf>,
    /// Layers on the edge
    #[arg(long, default_value_t = 10)]
    split: u32,
    /// Types of the weights, on both sides
    #[arg(long, default_value = "int8")]
    weights: String,
    /// How rows are written
    #[arg(long, default_value = "high")]
    codec: String,
    /// A smaller model that drafts
    #[arg(long)]
    draft_model: Option<PathBuf>,
    /// Types of its weights
    #[arg(long, default_value = "auto")]
    draft_weights: String,
    /// What is asked
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "chat,summarise,rewrite,code-edit,random"
    )]
    workloads: Vec<Workload>,
    /// MT-bench's question.jsonl: the questions of `chat`
    #[arg(long)]
    questions: Option<PathBuf>,
    /// Plain text with paragraphs in lines: what is summarised and rewritten
    #[arg(long)]
    text: Option<PathBuf>,
    /// Round trips, in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "20,80,150")]
    round_trips_ms: Vec<u64>,
    /// Rates of the way up
    #[arg(long, value_delimiter = ',', default_value = "10Mbit")]
    rates: Vec<Rate>,
    /// Requests of a workload
    #[arg(long, default_value_t = 6)]
    requests: usize,
    /// The most tokens of an answer
    #[arg(long, default_value_t = 128)]
    tokens: u32,
    /// Draws at this temperature, with a seed; 0 for the most likely token
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// The most drafts on their way
    #[arg(long, default_value_t = 24)]
    max: usize,
    /// The most drafts in a message
    #[arg(long, default_value_t = 8)]
    message: usize,
    /// Also say what plans predict: each row's edges begin anew, and a plan is made behind it
    #[arg(long)]
    predict: bool,
    /// Where to write the JSON document
    #[arg(long)]
    out: Option<PathBuf>,
}

/// One workload through one link.
#[derive(Debug, Serialize)]
struct Row {
    workload: String,
    round_trip_ms: u64,
    rate: String,
    /// Medians of the requests, in milliseconds a token.
    without_ms: f64,
    with_ms: f64,
    /// The median of the requests' ratios.
    faster: f64,
    /// The least of them.
    least: f64,
    /// Tokens a round trip, of all requests.
    tokens_a_round_trip: f64,
    /// Of the drafts that were sent.
    accepted: f64,
    /// Rows sent a token.
    rows_a_token: f64,
    requests: usize,
    /// Texts with drafts that are not those without.
    different: usize,
    /// What a plan says.
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted: Option<Predicted>,
}

/// All results.
#[derive(Debug, Serialize)]
struct Document {
    model: String,
    split: u32,
    weights: String,
    codec: String,
    temperature: f32,
    rows: Vec<Row>,
}

/// The two edges behind one link.
struct Edges {
    /// Without drafts, and with.
    clients: [Client; 2],
    servers: [Server; 2],
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = arguments.model.clone().unwrap_or_else(default_model);
    let options = ServerOptions::default().args(["--weights", &arguments.weights]);
    let cloud = Server::cloud(&model, options).await?;
    let link = ShapedLink::start(cloud.address(), LinkProfile::unshaped())?;
    let url = format!("http://{}", link.address());
    let predictions = Predictions::new()?;
    let mut kept = None;
    let mut rows = Vec::new();
    for &workload in &arguments.workloads {
        let requests = workload.requests(&arguments)?;
        for &rate in &arguments.rates {
            for &round_trip_ms in &arguments.round_trips_ms {
                eprintln!("{workload}, {round_trip_ms} ms, {rate}");
                let round_trip = Duration::from_millis(round_trip_ms);
                link.set_profile(LinkProfile::new(round_trip, Some(rate)));
                // By another user each time: nobody is to know the answer from the row before.
                let user = rows.len().to_string();
                let edges = match kept.take() {
                    Some(edges) => edges,
                    None => edges(&arguments, &model, (&url, &predictions)).await?,
                };
                let pairs = ask(&edges, &requests, &user).await?;
                let predicted = if arguments.predict {
                    let prompts = pairs.iter().map(|[_, with]| with.finished.prompt_tokens);
                    let prompt = median(prompts.map(f64::from)) as usize;
                    let Edges { clients, servers } = edges;
                    drop(clients);
                    let asked = (&arguments, model.as_path(), &*url);
                    Some(predictions.of(asked, servers, prompt).await?)
                } else {
                    kept = Some(edges);
                    None
                };
                let setting = (workload, round_trip_ms, rate);
                rows.push(row(setting, &pairs, predicted)?);
            }
        }
    }
    let document = Document {
        model: model.display().to_string(),
        split: arguments.split,
        weights: arguments.weights.clone(),
        codec: arguments.codec.clone(),
        temperature: arguments.temperature,
        rows,
    };
    print(&document);
    if let Some(out) = &arguments.out {
        std::fs::write(out, serde_json::to_vec_pretty(&document)?)?;
    }
    let different: usize = document.rows.iter().map(|row| row.different).sum();
    ensure!(different == 0, "{different} texts are others with drafts");
    Ok(())
}

async fn edges(
    arguments: &Arguments,
    model: &Path,
    (url, predictions): (&str, &Predictions),
) -> Result<Edges> {
    let edge = |max: usize| {
        let drafts = format!(
            "drafts: {{max: {max}, message: {}}}\nplan: {{cache: {}}}",
            arguments.message,
            predictions.folder().display()
        );
        let mut options = ServerOptions::default()
            .args(["--weights", &arguments.weights])
            .args(["--codec", &arguments.codec])
            .config(drafts.as_str());
        if let Some(small) = &arguments.draft_model {
            options = options
                .arg("--draft-model")
                .arg(small)
                .args(["--draft-weights", &arguments.draft_weights]);
        }
        Server::edge(model, url, arguments.split, options)
    };
    let servers = [edge(0).await?, edge(arguments.max).await?];
    let [without, with] = &servers;
    let clients = [
        Client::connect(&without.url()).await?,
        Client::connect(&with.url()).await?,
    ];
    Ok(Edges { clients, servers })
}

/// The answers to each request, without drafts and with, in turns of which one is first.
async fn ask(edges: &Edges, requests: &[v1::ChatRequest], user: &str) -> Result<Vec<[Answer; 2]>> {
    let mut pairs = Vec::new();
    for (number, request) in requests.iter().enumerate() {
        let request = v1::ChatRequest {
            cache_salt: user.to_owned(),
            ..request.clone()
        };
        let mut answers = [Answer::default(), Answer::default()];
        for turn in 0..2 {
            let at = (number + turn) % 2;
            answers[at] = edges.clients[at].chat(request.clone()).await?;
        }
        pairs.push(answers);
    }
    Ok(pairs)
}

/// Milliseconds a token behind the first.
fn token_ms(answer: &Answer) -> f64 {
    let seconds = answer.finished.timings.unwrap_or_default().decode_seconds;
    1e3 * seconds / (answer.ids.len().max(2) - 1) as f64
}

fn row(
    (workload, round_trip_ms, rate): (Workload, u64, Rate),
    pairs: &[[Answer; 2]],
    predicted: Option<Predicted>,
) -> Result<Row> {
    let ratios = || {
        pairs
            .iter()
            .map(|[without, with]| token_ms(without) / token_ms(with))
    };
    let drafts = |[_, with]: &[Answer; 2]| with.finished.drafts.unwrap_or_default();
    let sent: u64 = pairs.iter().map(|pair| drafts(pair).sent).sum();
    let accepted: u64 = pairs.iter().map(|pair| drafts(pair).accepted).sum();
    let tokens: usize = pairs.iter().map(|[_, with]| with.ids.len() - 1).sum();
    let rows = tokens as u64 - accepted + sent;
    let least = ratios().min_by(f64::total_cmp);
    Ok(Row {
        workload: workload.to_string(),
        round_trip_ms,
        rate: rate.to_string(),
        without_ms: median(pairs.iter().map(|[without, _]| token_ms(without))),
        with_ms: median(pairs.iter().map(|[_, with]| token_ms(with))),
        faster: median(ratios()),
        least: least.context("requests")?,
        tokens_a_round_trip: tokens as f64 / (tokens as u64 - accepted).max(1) as f64,
        accepted: accepted as f64 / sent.max(1) as f64,
        rows_a_token: rows as f64 / tokens.max(1) as f64,
        requests: pairs.len(),
        different: pairs
            .iter()
            .filter(|[without, with]| without.ids != with.ids || without.text() != with.text())
            .count(),
        predicted,
    })
}

fn print(document: &Document) {
    let predicts = document.rows.iter().any(|row| row.predicted.is_some());
    let (names, lines) = if predicts {
        (
            " predicted without, with | tokens a round trip |",
            " --- | --- |",
        )
    } else {
        ("", "")
    };
    println!(
        "| what | round trip, ms | rate | without, ms a token | with | faster: median, least | tokens a round trip | drafts \
         accepted | rows a token | texts, different |{names}"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |{lines}");
    for row in &document.rows {
        let predicted = row.predicted.as_ref().map(Predicted::columns);
        println!(
            "| {} | {} | {} | {:.1} | {:.1} | {:.2}, {:.2} | {:.2} | {:.2} | {:.2} | {}, {} |{}",
            row.workload,
            row.round_trip_ms,
            row.rate,
            row.without_ms,
            row.with_ms,
            row.faster,
            row.least,
            row.tokens_a_round_trip,
            row.accepted,
            row.rows_a_token,
            row.requests,
            row.different,
            predicted.unwrap_or_default()
        );
    }
}
