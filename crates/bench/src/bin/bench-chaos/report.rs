//! What came of the answers, as rows of a table.

use crate::asking::Answer;
use crate::clients::Outcome;
use crate::faults::Kind;
use crate::fleet::Resident;
use crate::verdict::{Verdict, difference};
use serde::Serialize;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use tandem_tests::statistics::median;

/// The answers of a trial, beside those made alone.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Judged {
    pub(crate) answers: usize,
    /// Those that went on in another session, or tried to.
    pub(crate) disturbed: usize,
    pub(crate) finished: usize,
    pub(crate) failed: usize,
    /// Those that never began, and may be asked for again.
    pub(crate) refused: usize,
    pub(crate) lost_with_edge: usize,
    pub(crate) changed: usize,
    /// Those that are not known to be what one session would have made.
    pub(crate) inexact: usize,
    pub(crate) tokens_lost: usize,
    pub(crate) tokens_repeated: usize,
    /// Time beyond that of the same request under the same clients without a fault, of those that were disturbed.
    pub(crate) added_s: Span,
    /// The longest pause between two tokens, of those that were disturbed.
    pub(crate) pause_s: Span,
    /// The longest pause of any, but of clients that stopped reading.
    pub(crate) longest_pause_s: f64,
    pub(crate) longest_answer_s: f64,
    pub(crate) failures: Vec<String>,
    pub(crate) refusals: Vec<String>,
    pub(crate) differences: Vec<String>,
}

/// Of some values; NaN of none.
#[derive(Debug, Serialize)]
pub(crate) struct Span {
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Default for Span {
    fn default() -> Self {
        Self::of(&[])
    }
}

impl Span {
    fn of(values: &[f64]) -> Self {
        Self {
            median: median(values.iter().copied()),
            max: values.iter().copied().fold(f64::NAN, f64::max),
        }
    }

    fn cell(&self) -> String {
        if self.max.is_nan() {
            String::new()
        } else {
            format!("{:.1}, {:.1}", self.median, self.max)
        }
    }
}

impl Judged {
    /// Compares answers with those made alone, and their times with those of calm clients.
    pub(crate) fn of(outcomes: &[Outcome], calm: &[Outcome], alone: &[Answer]) -> Self {
        let usual: HashMap<usize, Duration> = calm
            .iter()
            .map(|outcome| (outcome.request, outcome.answer.took))
            .collect();
        let mut judged = Self {
            answers: outcomes.len(),
            ..Self::default()
        };
        let (mut added, mut pauses) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            let (answer, expected) = (&outcome.answer, &alone[outcome.request]);
            judged.count(outcome, expected);
            if !outcome.slow {
                judged.longest_pause_s = judged
                    .longest_pause_s
                    .max(answer.longest_pause.as_secs_f64());
            }
            judged.longest_answer_s = judged.longest_answer_s.max(answer.took.as_secs_f64());
            if answer
                .finished
                .as_ref()
                .is_some_and(|finished| finished.replays > 0)
            {
                judged.disturbed += 1;
                pauses.push(answer.longest_pause.as_secs_f64());
                if let Some(usual) = usual.get(&outcome.request) {
                    added.push(answer.took.as_secs_f64() - usual.as_secs_f64());
                }
            }
        }
        judged.added_s = Span::of(&added);
        judged.pause_s = Span::of(&pauses);
        judged
    }

    fn count(&mut self, outcome: &Outcome, alone: &Answer) {
        let answer = &outcome.answer;
        let about = |what: String| {
            let tokens = answer.ids.len();
            let took = answer.took.as_secs_f64();
            format!(
                "request {}, {tokens} tokens in {took:.1} s: {what}",
                outcome.request
            )
        };
        match Verdict::of(answer, alone, outcome.with_edge) {
            Verdict::Same => {}
            Verdict::Changed => {
                self.changed += 1;
                self.differences.push(about(difference(answer, alone)));
            }
            Verdict::Failed => {
                self.failed += 1;
                self.failures
                    .push(about(answer.failure.clone().unwrap_or_default()));
            }
            Verdict::Refused => {
                self.refused += 1;
                self.refusals
                    .push(about(answer.failure.clone().unwrap_or_default()));
            }
            Verdict::LostWithEdge => self.lost_with_edge += 1,
        }
        if let Some(finished) = &answer.finished {
            self.finished += 1;
            self.inexact += usize::from(!finished.exact);
            self.tokens_lost += alone.ids.len().saturating_sub(answer.ids.len());
            self.tokens_repeated += answer.ids.len().saturating_sub(alone.ids.len());
        }
    }

    /// What should not have been, a line each; `may_refuse` where there may be no cloud to begin an answer in.
    pub(crate) fn defects(&self, may_refuse: bool) -> Vec<String> {
        let failures = self
            .failures
            .iter()
            .map(|failure| format!("failed: {failure}"));
        let differences = self
            .differences
            .iter()
            .map(|difference| format!("changed: {difference}"));
        let inexact = (self.inexact > 0)
            .then(|| format!("{} answers are not known to be exact", self.inexact));
        let refusals = self.refusals.iter().filter(|_| !may_refuse);
        let refusals = refusals.map(|refusal| format!("refused: {refusal}"));
        (failures.chain(refusals).chain(differences).chain(inexact)).collect()
    }
}

/// A row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Whether there were times without any cloud, when new answers are refused.
    pub(crate) may_refuse: bool,
    pub(crate) times: Vec<(Kind, usize)>,
    pub(crate) seconds: f64,
    /// From each fault until every edge worked with every cloud again.
    pub(crate) whole_again_s: Vec<f64>,
    /// The longest that clouds took to free what a killed edge had.
    pub(crate) freed_within_s: f64,
    pub(crate) panics: usize,
    pub(crate) memory_at_start: Resident,
    pub(crate) memory_at_end: Resident,
    /// Behind the first fault of each minute.
    pub(crate) memory: Vec<Resident>,
    /// By what answers lost a session to.
    pub(crate) replays: Vec<(String, f64)>,
    /// Faults that were not over in time, what was left behind, and panics.
    pub(crate) defects: Vec<String>,
    pub(crate) logs: Option<PathBuf>,
    pub(crate) judged: Judged,
}

impl Row {
    /// Whether every answer was what it should be, and nothing else was wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.defects.is_empty() && self.judged.defects(self.may_refuse).is_empty()
    }

    /// Tells on stderr what was wrong.
    pub(crate) fn tell(&self) {
        let name = &self.name;
        for defect in self
            .defects
            .iter()
            .chain(&self.judged.defects(self.may_refuse))
        {
            eprintln!("{name}: {defect}");
        }
        if let Some(logs) = &self.logs {
            eprintln!("{name}: logs are in {}", logs.display());
        }
        let causes: Vec<String> = self
            .replays
            .iter()
            .map(|(cause, count)| format!("{count} {cause}"))
            .collect();
        eprintln!(
            "{name}: {:.0} s; sessions lost: {}",
            self.seconds,
            causes.join(", ")
        );
        if !self.memory.is_empty() {
            let minutes = self.memory.iter();
            let minutes: Vec<String> = minutes
                .map(|at| format!("{:.0} + {:.0}", at.clouds, at.edges))
                .collect();
            eprintln!(
                "{name}: MiB of clouds and edges, each minute: {}",
                minutes.join(", ")
            );
        }
        if self.freed_within_s > 0.0 {
            let seconds = self.freed_within_s;
            eprintln!(
                "{name}: clouds had freed what a killed edge had after {seconds:.2} s at most"
            );
        }
    }

    fn line(&self) -> String {
        let (judged, start, end) = (&self.judged, &self.memory_at_start, &self.memory_at_end);
        let times: usize = self.times.iter().map(|(_, count)| count).sum();
        let lost_with_edge = match judged.lost_with_edge {
            0 => String::new(),
            lost => format!(" ({lost} more with their edge)"),
        };
        format!(
            "| `{}` | {times} | {} | {} | {} | {}{lost_with_edge} | {} | {} | {}, {} | {} | {} | {:.1} | {} | {:.0}, {:.0} \
             | {:.0}, {:.0} |",
            self.name,
            judged.answers,
            judged.disturbed,
            judged.finished,
            judged.failed,
            judged.refused,
            judged.changed,
            judged.tokens_lost,
            judged.tokens_repeated,
            judged.added_s.cell(),
            judged.pause_s.cell(),
            judged.longest_pause_s,
            self.panics,
            start.clouds,
            end.clouds,
            start.edges,
            end.edges,
        )
    }
}

/// Prints a table.
pub(crate) fn table(rows: &[Row]) {
    println!(
        "| faults | times | answers | disturbed | finished | failed | refused | texts changed | tokens lost, repeated \
         | added to a disturbed answer, median and max, s | its longest pause, median and max, s \
         | longest pause of any, s | panics | clouds, MiB: start, end | edges, MiB: start, end |"
    );
    println!(
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for row in rows {
        println!("{}", row.line());
    }
}
