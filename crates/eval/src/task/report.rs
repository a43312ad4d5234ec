//! What `task` prints.

use crate::pipeline::Wire;
use crate::task::accuracy::{Accuracy, PairedDifference};
use crate::task::name::TaskName;
use crate::task::outcome::Outcome;
use crate::task::settings::Settings;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// What `task --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The task.
    pub task: TaskName,
    /// The file of its items.
    pub data: PathBuf,
    /// Items scored.
    pub items: usize,
    /// The share of items whose right choice is the likeliest (LAMBADA: whose last word is what a
    /// greedy answer begins with).
    pub accuracy: f64,
    /// Its standard error.
    pub accuracy_standard_error: f64,
    /// Its 95% confidence interval (Wilson 1927).
    pub accuracy_interval: [f64; 2],
    /// The share of items whose right choice is the likeliest by the character. The same as
    /// `accuracy` where all choices are equally long (WinoGrande) or there is but one (LAMBADA).
    pub accuracy_normalised: f64,
    /// Its standard error.
    pub accuracy_normalised_standard_error: f64,
    /// Its 95% confidence interval (Wilson 1927).
    pub accuracy_normalised_interval: [f64; 2],
    /// LAMBADA: the perplexity of the last word; null for other tasks.
    pub perplexity: Option<f64>,
    /// Bits a value of the rows, frame headers included; null when none were encoded.
    pub bits_per_value: Option<f64>,
    /// What the figures depend on, beside the items.
    pub settings: Settings,
    /// Of the items, those whose figures were taken from the log of a run that was stopped.
    pub resumed: usize,
    /// Seconds the others took, with loading the model.
    pub seconds: f64,
    /// Another run on the same items; null where none was named.
    pub reference: Option<Comparison>,
}

/// How far a run is from another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The other run's log.
    pub log: PathBuf,
    /// The other run's settings.
    pub settings: Settings,
    /// Of the accuracies.
    pub accuracy: PairedDifference,
    /// Of the normalised accuracies.
    pub accuracy_normalised: PairedDifference,
}

impl Comparison {
    pub(crate) fn new(
        outcomes: &[Outcome],
        log: PathBuf,
        (settings, others): (Settings, Vec<Outcome>),
    ) -> Self {
        let of = |right: fn(&Outcome) -> bool| {
            let pairs = outcomes.iter().zip(&others);
            PairedDifference::of(pairs.map(|(own, other)| (right(own), right(other))))
        };
        Self {
            accuracy: of(Outcome::is_right),
            accuracy_normalised: of(Outcome::is_right_normalised),
            log,
            settings,
        }
    }
}

impl Report {
    /// The figures of outcomes, without a comparison, as of a run that took no time.
    pub(crate) fn new(data: PathBuf, settings: Settings, outcomes: &[Outcome]) -> Self {
        let accuracy = Accuracy::of(outcomes.iter().map(Outcome::is_right));
        let normalised = Accuracy::of(outcomes.iter().map(Outcome::is_right_normalised));
        let mut wire = Wire::default();
        for outcome in outcomes {
            wire += outcome.wire;
        }
        let perplexity = || {
            let logs = outcomes.iter().flat_map(|o| &o.log_likelihoods);
            (-logs.sum::<f64>() / outcomes.len() as f64).exp()
        };
        Self {
            task: settings.task,
            data,
            items: outcomes.len(),
            accuracy: accuracy.share,
            accuracy_standard_error: accuracy.standard_error,
            accuracy_interval: accuracy.interval,
            accuracy_normalised: normalised.share,
            accuracy_normalised_standard_error: normalised.standard_error,
            accuracy_normalised_interval: normalised.interval,
            perplexity: (settings.task == TaskName::Lambada).then(perplexity),
            bits_per_value: wire.bits_per_value(),
            settings,
            resumed: 0,
            seconds: 0.0,
            reference: None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} items", self.settings, self.items)?;
        if let Some(bits) = self.bits_per_value {
            write!(f, ", {bits:.3} bits a value")?;
        }
        if let Some(perplexity) = self.perplexity {
            write!(f, ", perplexity of the last word {perplexity:.3}")?;
        }
        writeln!(f, ", {:.1} s", self.seconds)?;
        if self.resumed > 0 {
            writeln!(f, "{} of the items are from the log", self.resumed)?;
        }
        write!(
            f,
            "\n| | accuracy | standard error | 95% interval |\n| --- | --- | --- | --- |"
        )?;
        for (name, share, error, [low, high]) in [
            (
                "likeliest",
                self.accuracy,
                self.accuracy_standard_error,
                self.accuracy_interval,
            ),
            (
                "likeliest by the character",
                self.accuracy_normalised,
                self.accuracy_normalised_standard_error,
                self.accuracy_normalised_interval,
            ),
        ] {
            let [share, error, low, high] = [share, error, low, high].map(|part| 100.0 * part);
            write!(
                f,
                "\n| {name} | {share:.2}% | {error:.2}% | {low:.2} to {high:.2}% |"
            )?;
        }
        let Some(reference) = &self.reference else {
            return Ok(());
        };
        write!(
            f,
            "\n\nAgainst {}:\n\n| | reference | difference, points | 95% interval | gained | lost |\n\
             | --- | --- | --- | --- | --- | --- |",
            reference.settings
        )?;
        for (name, paired) in [
            ("likeliest", reference.accuracy),
            ("likeliest by the character", reference.accuracy_normalised),
        ] {
            let [low, high] = paired.interval;
            write!(
                f,
                "\n| {name} | {:.2}% | {:+.2} | {:+.2} to {:+.2} | {} | {} |",
                100.0 * paired.reference,
                100.0 * paired.difference,
                100.0 * low,
                100.0 * high,
                paired.gained,
                paired.lost
            )?;
        }
        Ok(())
    }
}
