//! Plans a grid of links and memory limits, measures what was planned and many other ways to deploy the
//! pair on the same links, and says how good the plans and their predictions were.
//!
//! Measurements are written as they are made, and not made again: an interrupted run goes on.
//! `scripts/bench-plan` builds what this needs and calls it.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the tables are its result, and half a result is none"
)]

mod candidates;
mod grid;
mod measure;
mod processors;
mod verdict;

use anyhow::Result;
use candidates::{Settings, listed};
use clap::Parser;
use grid::{LINKS, Scenario};
use measure::{Bench, Log};
use std::path::PathBuf;
use tandem_tests::paths::default_model;

/// Plans against measurements.
#[derive(Debug, Parser)]
struct Arguments {
    /// The model, with codec profiles and sensitivity beside it; the default one unless given
    #[arg(long)]
    model: Option<PathBuf>,
    /// Text that prompts are taken from
    #[arg(long)]
    text: PathBuf,
    /// Where measurements, problems and the verdict are written
    #[arg(long)]
    out: PathBuf,
    /// What plans are to be best at
    #[arg(long, default_value = "cloud-seconds")]
    objective: String,
    /// Measure only so many of the listed candidates
    #[arg(long)]
    most: Option<usize>,
    /// How often what may be the best, and what plans are held against, is measured on a link
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Judge what was measured, and measure nothing
    #[arg(long)]
    judge: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = arguments.model.clone().unwrap_or_else(default_model);
    std::fs::create_dir_all(&arguments.out)?;
    let mut log = Log::open(&arguments.out.join("measured.jsonl"))?;
    let scenarios_file = arguments
        .out
        .join(format!("scenarios-{}.json", arguments.objective));
    let mut scenarios: Vec<Scenario> = match std::fs::read(&scenarios_file) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => Vec::new(),
    };
    if !arguments.judge {
        let mut bench = Bench::start(&model, &arguments.text).await?;
        for link in LINKS {
            if !scenarios.iter().any(|s| s.link == link) {
                let planned = grid::plan_link(
                    &bench,
                    link,
                    &arguments.objective,
                    &scenarios,
                    &arguments.out,
                )?;
                scenarios.extend(planned);
                std::fs::write(&scenarios_file, serde_json::to_vec_pretty(&scenarios)?)?;
            }
            let here: Vec<&Scenario> = scenarios.iter().filter(|s| s.link == link).collect();
            let mut all: Vec<Settings> = listed();
            all.truncate(arguments.most.unwrap_or(usize::MAX));
            for settings in here.iter().flat_map(|s| s.contenders()) {
                if !all.contains(&settings) {
                    all.push(settings);
                }
            }
            bench.measure(&all, link, 1, &mut log).await?;
            let finalists = verdict::finalists(&here, &log);
            bench
                .measure(&finalists, link, arguments.rounds, &mut log)
                .await?;
        }
    }
    let verdict = verdict::judge(&scenarios, &log);
    let file = arguments
        .out
        .join(format!("verdict-{}.json", arguments.objective));
    std::fs::write(file, serde_json::to_vec_pretty(&verdict)?)?;
    println!("{verdict}");
    Ok(())
}
