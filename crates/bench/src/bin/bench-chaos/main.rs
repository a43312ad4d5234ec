//! Breaks clouds, links and edges under answers, and says whether the answers are the same as those made alone.
//!
//! A [`trial`] has servers of its own (a [`fleet`]), [`clients`] that ask a fixed list of [`requests`], and [`faults`] of
//! one kind or several. Each answer gets a [`verdict`], each trial a row of the [`report`].
#![allow(clippy::print_stdout, reason = "the table is its result")]

mod arguments;
mod asking;
mod clients;
mod faults;
mod fleet;
mod report;
mod requests;
mod trial;
mod trust;
mod verdict;

use anyhow::{Result, ensure};
use arguments::Arguments;
use clap::Parser as _;
use faults::Kind;
use report::table;
use std::process::ExitCode;
use std::sync::Arc;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mixes_one = arguments.seconds.is_some() && arguments.faults.contains(&Kind::One);
    ensure!(
        !mixes_one,
        "--faults one has a single cloud and cannot be mixed with others"
    );
    ensure!(
        arguments.requests > 0 && arguments.clients > 0,
        "there must be requests and clients"
    );
    let requests = Arc::new(requests::list(arguments.requests));
    eprintln!("{} requests, each alone", requests.len());
    let alone = trial::alone(&arguments, &requests).await?;
    let mut rows = Vec::new();
    for (trial, seed) in arguments.trials().iter().zip(arguments.seed..) {
        let row = trial::run(&arguments, trial, &requests, &alone, seed).await?;
        row.tell();
        rows.push(row);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        table(&rows);
    }
    Ok(if rows.iter().all(report::Row::is_good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
