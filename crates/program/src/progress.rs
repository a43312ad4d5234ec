//! How far a long step is: a bar on a terminal, plain lines elsewhere, always on stderr.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal as _, Write as _, stderr};

const TEMPLATE: &str = "{prefix} [{bar:30}] {pos}/{len} {msg} ({eta} left)";

/// Shows the progress of one long step.
#[derive(Debug)]
pub struct Progress {
    name: &'static str,
    total: usize,
    done: usize,
    /// Lines are written at every such step, so that there are few.
    every: usize,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A step named `name` of `total` parts. Where there is no terminal, about `lines` lines are
    /// written.
    pub fn new(name: &'static str, total: usize, lines: usize) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(TEMPLATE)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total as u64)
                .with_style(style)
                .with_prefix(name)
        });
        Self {
            name,
            total,
            done: 0,
            every: total.div_ceil(lines.max(1)).max(1),
            bar,
        }
    }

    /// One more part is done. `message` says what it gave.
    pub fn advance(&mut self, message: &str) {
        self.done += 1;
        match &self.bar {
            Some(bar) => {
                bar.set_message(message.to_owned());
                bar.inc(1);
            }
            None if self.done.is_multiple_of(self.every) || self.done == self.total => {
                let (name, done, total) = (self.name, self.done, self.total);
                // Whoever read stderr may have gone: the step goes on.
                let _ = writeln!(stderr(), "{name} {done}/{total} {message}");
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
