//! The binary tandem-eval.

use clap::Parser as _;
use serde::Serialize;
use std::fmt::Display;
use std::io::Write as _;
use tandem_eval::cli::{Cli, Command};
use tandem_eval::{bench, calibrate, compare, generations, perplexity, task};
use tandem_model_source::{ProgressTo, locate};

fn main() -> anyhow::Result<()> {
    let mut cli = Cli::parse();
    #[cfg(feature = "torch")]
    tandem_program::environment::reexec_with_openmp_settings()?;
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
    let model = cli.command.model_mut();
    model.model = locate(&model.model, None, ProgressTo::Terminal)?.directory;
    match cli.command {
        Command::Perplexity(args) => print(&perplexity::perplexity(&args)?, args.json),
        Command::Compare(args) => print(&compare::compare(&args)?, args.json),
        Command::Generations(args) => print(&generations::generations(&args)?, args.json),
        Command::Task(args) => print(&task::task(&args)?, args.json),
        Command::Calibrate(args) => print(&calibrate::calibrate(&args)?, args.json),
        Command::Bench(args) if !args.rows.is_empty() => {
            print(&bench::bench_rows(&args)?, args.json)
        }
        Command::Bench(args) => print(&bench::bench(&args)?, args.json),
    }
}

/// Results are printed once, whole, and a closed pipe is an error like any other.
fn print(report: &(impl Serialize + Display), json: bool) -> anyhow::Result<()> {
    let text = if json {
        serde_json::to_string_pretty(report)?
    } else {
        report.to_string()
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
