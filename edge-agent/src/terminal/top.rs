//! `edge-agent top`: what a running edge is doing, from its metrics.

mod page;
mod reading;
mod screen;
mod view;

use super::device::{Keyboard, Kind};
use crate::cli::TopArgs;
use page::Page;
use reading::Reading;
use screen::Screen;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use view::lines;

/// How soon metrics are read again at most.
const SOONEST: Duration = Duration::from_millis(100);

/// Runs the command until somebody ends it.
///
/// # Errors
/// What answers at the address has no edge's metrics; for one view, the edge cannot be reached.
pub async fn top(args: TopArgs) -> anyhow::Result<()> {
    let every = args.every.get();
    anyhow::ensure!(every >= SOONEST, "--every must be at least 100ms");
    let page = Page::new(&args.address)?;
    if args.once || !Kind::of_stdout().is_terminal() {
        return once(&page, every).await;
    }
    watch(&page, every).await
}

/// Prints one view.
async fn once(page: &Page, every: Duration) -> anyhow::Result<()> {
    let (before, began) = (page.read().await?, Instant::now());
    tokio::time::sleep(every).await;
    let now = page.read().await?;
    let mut out = io::stdout().lock();
    for line in lines(page.address(), &now, &before, began.elapsed()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Draws a view again and again.
async fn watch(page: &Page, every: Duration) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let _keyboard = Keyboard::key_by_key();
    let mut keys = keys()?;
    let mut screen = Screen::new(io::stdout())?;
    let mut shown = Shown::new(page.address());
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let look = async {
            ticks.tick().await;
            page.read().await
        };
        tokio::select! {
            read = look => {
                shown.update(read)?;
                screen.draw(&shown.lines())?;
            }
            Some(key) = keys.recv() => match key {
                b'q' | b'Q' => break,
                _ => {}
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
        }
    }
    Ok(())
}

/// What is pressed, where there are keys.
fn keys() -> io::Result<mpsc::Receiver<u8>> {
    let (pressed, keys) = mpsc::channel(8);
    if io::stdin().is_terminal() {
        let thread = std::thread::Builder::new().name("keys".to_owned());
        thread.spawn(move || {
            for key in io::stdin().lock().bytes().map_while(Result::ok) {
                if pressed.blocking_send(key).is_err() {
                    break;
                }
            }
        })?;
    }
    Ok(keys)
}

/// What the screen shows.
struct Shown<'a> {
    address: &'a str,
    /// The last reading, and when it was.
    last: Option<(Reading, Instant)>,
    figures: Vec<String>,
    /// Why there is no newer one.
    problem: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(address: &'a str) -> Self {
        Self {
            address,
            last: None,
            figures: Vec::new(),
            problem: None,
        }
    }

    /// Takes a new reading. An edge that has gone may come again.
    fn update(&mut self, read: Result<Reading, page::PageError>) -> anyhow::Result<()> {
        match read {
            Ok(reading) => {
                let now = Instant::now();
                let (before, since) = self.last.take().unwrap_or((reading.clone(), now));
                let between = now.duration_since(since);
                self.figures = lines(self.address, &reading, &before, between);
                self.last = Some((reading, now));
                self.problem = None;
            }
            Err(error @ page::PageError::NoEdge { .. }) => return Err(error.into()),
            Err(error) => {
                self.problem = Some(format!("{error}; trying again"));
                // Figures of the time in between would be of no use.
                self.last = None;
            }
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let problem = self.problem.iter().cloned();
        let figures = self.figures.iter().cloned();
        let mut lines: Vec<String> = problem.chain(figures).collect();
        lines.extend([String::new(), "q leaves".to_owned()]);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_edge_is_said_and_waited_for() {
        let mut shown = Shown::new("edge:9500");
        let reading = || {
            Ok(Reading::parse(
                "tandem_edge_build_info{version=\"1.2.3\"} 1\n",
            ))
        };
        let lost = || page::PageError::Unreachable {
            address: "edge:9500".to_owned(),
            reason: "Connection refused".to_owned(),
        };
        shown.update(Err(lost())).unwrap();
        let said = "edge:9500 cannot be reached: Connection refused; trying again";
        assert_eq!(shown.lines(), [said, "", "q leaves"]);
        shown.update(reading()).unwrap();
        assert!(shown.lines()[0].contains("1.2.3"), "{:?}", shown.lines());
        shown.update(Err(lost())).unwrap();
        assert_eq!(shown.lines()[0], said);
        assert!(shown.lines()[1].contains("1.2.3"), "{:?}", shown.lines());
        shown.update(reading()).unwrap();
        assert!(shown.lines()[0].contains("1.2.3"), "{:?}", shown.lines());
        let other = page::PageError::NoEdge {
            address: "edge:9500".to_owned(),
            what: "",
        };
        shown.update(Err(other)).unwrap_err();
    }
}
