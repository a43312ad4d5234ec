//! `tandem-eval task`: benchmarks of multiple choice, and LAMBADA, through the engine that serves.
//!
//! [`item`] reads a data set's file, whose lines `formats` turns into contexts and choices;
//! `encode` makes tokens of them, `likelihood` runs them through the [`Pipeline`], and what it finds
//! for an item is an [`outcome`], written to a [`log`] as it comes. `accuracy` counts outcomes, and
//! compares them with another run's, item by item; [`report`] prints it.

mod accuracy;
mod encode;
mod formats;
pub mod item;
mod likelihood;
pub mod log;
pub mod name;
pub mod outcome;
pub mod report;
pub mod settings;

pub use accuracy::PairedDifference;

use crate::cli::TaskArgs;
use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::precision::Sides;
use encode::{EncodedChoice, encode};
use item::Item;
use log::ItemLog;
use outcome::Outcome;
use report::{Comparison, Report};
use settings::Settings;
use std::time::Instant;
use tandem_model::ComputeThread;
use tandem_program::progress::Progress;
use tandem_text::Tokenizer;

/// Lines that progress takes where there is no terminal.
const PROGRESS_LINES: usize = 20;

/// Scores a task on this thread.
///
/// # Errors
/// When model, data or logs cannot be read or do not belong together, or the model fails.
pub fn task(args: &TaskArgs) -> Result<Report> {
    let limit = args.limit.map(std::num::NonZeroUsize::get);
    let items = item::read(args.task, &args.data, args.labels.as_deref(), limit)?;
    let sides = Sides::open(&args.model, &args.precision)?;
    let settings = Settings::new(args, &sides);
    let reference = match &args.reference {
        None => None,
        Some(path) => Some((path, log::read(path, &settings, &items)?)),
    };
    let (mut log, mut outcomes) = match &args.log {
        None => (None, Vec::new()),
        Some(path) => {
            let (log, outcomes) = ItemLog::open(path, &settings, &items)?;
            (Some(log), outcomes)
        }
    };

    let start = Instant::now();
    let resumed = outcomes.len();
    if resumed < items.len() {
        run(args, &sides, &items, &mut outcomes, log.as_mut())?;
    }
    let mut report = Report::new(args.data.clone(), settings, &outcomes);
    report.resumed = resumed;
    report.seconds = start.elapsed().as_secs_f64();
    report.reference =
        reference.map(|(path, other)| Comparison::new(&outcomes, path.clone(), other));
    Ok(report)
}

/// Scores the items behind those that there are outcomes of.
fn run(
    args: &TaskArgs,
    sides: &Sides,
    items: &[Item],
    outcomes: &mut Vec<Outcome>,
    mut log: Option<&mut ItemLog>,
) -> Result<()> {
    let tokenizer = Tokenizer::load(&args.model.model)?;
    let positions = sides.model.config.max_positions;
    let encoded = encode(items, &tokenizer, positions)?;
    let rows = encoded.iter().flatten().map(EncodedChoice::rows);
    let context = rows.max().unwrap_or(1);
    let _computing = ComputeThread::begin(args.model.threads());
    let mut pipeline = Pipeline::load(sides, &args.cut, context)?;

    let done = outcomes.len();
    let mut progress = Progress::new("item", items.len() - done, PROGRESS_LINES);
    let mut right = outcomes.iter().filter(|o| o.is_right()).count();
    for (number, (item, choices)) in items.iter().zip(&encoded).enumerate().skip(done) {
        let before = pipeline.wire();
        let likelihoods = likelihood::score(&mut pipeline, number, choices)?;
        let wire = pipeline.wire().since(before);
        let outcome = Outcome::new(number, item, &likelihoods, wire);
        if let Some(log) = &mut log {
            log.append(&outcome)?;
        }
        right += usize::from(outcome.is_right());
        outcomes.push(outcome);
        progress.advance(&format!(
            "accuracy {:.4}",
            right as f64 / outcomes.len() as f64
        ));
    }
    Ok(())
}
