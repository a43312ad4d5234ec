//! How far an import or a download is.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal as _, stderr};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Lines come at most so often.
const EVERY: Duration = Duration::from_secs(2);

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressTo {
    /// On stderr: a bar on a terminal, lines elsewhere. For commands.
    Terminal,
    /// Lines in the log. For servers.
    Log,
}

/// Shows the progress of one model.
#[derive(Debug)]
pub(crate) struct Reporter {
    report: ProgressTo,
    what: String,
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl Reporter {
    pub(crate) fn new(report: ProgressTo, what: String) -> Self {
        Self {
            report,
            what,
            bar: None,
            last_line: None,
        }
    }

    pub(crate) fn import(&mut self, progress: tandem_gguf::Progress) -> ControlFlow<()> {
        match progress {
            tandem_gguf::Progress::Waiting => self.line("another process is importing it; waiting"),
            tandem_gguf::Progress::Writing { done, total } => self.bytes(done, total),
        }
        ControlFlow::Continue(())
    }

    pub(crate) fn fetch(&mut self, progress: &tandem_hub::Progress<'_>) {
        match progress {
            tandem_hub::Progress::Downloading { done, total, .. } => self.bytes(*done, *total),
            tandem_hub::Progress::Waiting { file } => {
                self.line(&format!("another process is fetching {file}; waiting"));
            }
            tandem_hub::Progress::Retrying { problem, pause } => {
                self.say(&format!(
                    "{problem}; trying again in {} s",
                    pause.as_secs_f64()
                ));
            }
        }
    }

    fn bytes(&mut self, done: u64, total: u64) {
        if self.report == ProgressTo::Terminal && stderr().is_terminal() {
            let what = &self.what;
            let bar = self.bar.get_or_insert_with(|| {
                let template = "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} ({eta} left)";
                let style = ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(total)
                    .with_style(style)
                    .with_message(what.clone())
            });
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        self.line(&format!("{} of {} MiB", done >> 20, total >> 20));
    }

    /// A line, unless one was written just now.
    fn line(&mut self, text: &str) {
        if self.last_line.is_none_or(|last| last.elapsed() >= EVERY) {
            self.last_line = Some(Instant::now());
            self.say(text);
        }
    }

    fn say(&self, text: &str) {
        match self.report {
            ProgressTo::Log => tracing::info!("{}: {text}", self.what),
            ProgressTo::Terminal => eprintln!("{}: {text}", self.what),
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
