//! How an answer comes, in one line of figures.

use std::collections::VecDeque;
use std::time::Duration;
use tandem_proto::v1;
use tandem_proto::v1::chat_response::Event;

/// What tokens take is of so many seconds.
const WINDOW: f64 = 2.0;

/// Between two figures.
const GAP: &str = "  ";

/// What is known of an answer so far.
#[derive(Debug)]
pub(super) struct Figures {
    /// Values of a hidden row.
    hidden: u32,
    started: Option<v1::Started>,
    tokens: usize,
    /// The steps of the window, each with when its tokens came.
    recent: VecDeque<(f64, v1::Step)>,
    /// The last step, which says how things stand.
    last: Option<v1::Step>,
    up_bytes: u64,
    drafts: v1::DraftUsage,
    first_token: Option<f64>,
}

impl Figures {
    /// Of an answer that is asked for, by a model whose rows have so many values.
    pub(super) fn new(hidden: u32) -> Self {
        Self {
            hidden,
            started: None,
            tokens: 0,
            recent: VecDeque::new(),
            last: None,
            up_bytes: 0,
            drafts: v1::DraftUsage::default(),
            first_token: None,
        }
    }

    /// Takes note of an event that came so long after the question.
    pub(super) fn add(&mut self, event: &Event, after: Duration) {
        let now = after.as_secs_f64();
        match event {
            Event::Started(started) => self.started = Some(*started),
            Event::Delta(delta) => {
                self.tokens += delta.token_ids.len();
                if self.tokens > 0 {
                    self.first_token.get_or_insert(now);
                }
            }
            Event::Step(step) => {
                // The first one is the prompt's.
                if self.last.is_some() {
                    self.recent.push_back((now, step.clone()));
                }
                let drafts = step.drafts.unwrap_or_default();
                self.drafts.sent += drafts.sent;
                self.drafts.accepted += drafts.accepted;
                self.up_bytes += step.up_bytes;
                self.last = Some(step.clone());
            }
            Event::Finished(_) => {}
        }
    }

    /// The line, in at most so many columns: what does not fit is left out from the right.
    pub(super) fn line(&mut self, after: Duration, columns: usize) -> String {
        let now = after.as_secs_f64();
        while self.recent.front().is_some_and(|(at, _)| now - at > WINDOW) {
            self.recent.pop_front();
        }
        let mut line = String::new();
        for figure in self.figures(now) {
            let gap = if line.is_empty() { "" } else { GAP };
            if line.len() + gap.len() + figure.len() > columns {
                break;
            }
            line += gap;
            line += &figure;
        }
        line
    }

    fn figures(&self, now: f64) -> Vec<String> {
        let Some(first_token) = self.first_token else {
            let mut figures = vec![format!("{now:.1} s")];
            if let Some(started) = self.started {
                figures.push(match started.reused_tokens {
                    0 => format!("prompt of {} tokens", started.prompt_tokens),
                    reused => format!("prompt of {} tokens, {reused} known", started.prompt_tokens),
                });
            }
            return figures;
        };
        let mut figures = vec![format!("{} tokens", self.tokens)];
        let recent = Recent::of(self.recent.iter().map(|(_, step)| step));
        match recent {
            Some(recent) => {
                figures.push(format!("{:.1}/s", recent.tokens / recent.seconds));
                figures.push(format!(
                    "edge {:.1} link {:.1} queue {:.1} cloud {:.1} ms",
                    recent.milliseconds(recent.edge),
                    recent.milliseconds(recent.link),
                    recent.milliseconds(recent.queue),
                    recent.milliseconds(recent.cloud)
                ));
            }
            None if self.tokens > 1 && now > first_token => {
                let rate = (self.tokens - 1) as f64 / (now - first_token);
                figures.push(format!("{rate:.1}/s"));
            }
            None => {}
        }
        let Some(last) = &self.last else {
            return figures;
        };
        if last.replays > 0 {
            figures.push(format!("{} replays", last.replays));
        }
        let values = |rows: f64| rows * f64::from(self.hidden);
        match recent.filter(|recent| values(recent.rows) > 0.0) {
            Some(recent) => {
                let bits = 8.0 * recent.frame_bytes / values(recent.rows);
                figures.push(format!("{} {bits:.1} bits", last.codec));
            }
            None if !last.codec.is_empty() => figures.push(last.codec.clone()),
            None => {}
        }
        figures.push(format!("{} up", bytes(self.up_bytes as f64)));
        if self.drafts.sent > 0 {
            let v1::DraftUsage { sent, accepted } = self.drafts;
            figures.push(format!("drafts {accepted} of {sent}"));
        }
        if let Some(round_trip) = last.round_trip_seconds {
            figures.push(format!("round trip {:.0} ms", 1e3 * round_trip));
        }
        if let Some(rate) = last.up_bytes_per_second {
            figures.push(format!("{}/s", bytes(rate)));
        }
        figures
    }
}

/// What the tokens of the window took.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    tokens: f64,
    seconds: f64,
    edge: f64,
    link: f64,
    queue: f64,
    cloud: f64,
    rows: f64,
    frame_bytes: f64,
}

impl Recent {
    /// The sum of these steps; none where it says nothing of tokens and time.
    fn of<'a>(steps: impl Iterator<Item = &'a v1::Step>) -> Option<Self> {
        let sum = steps.fold(Self::default(), |sum, step| Self {
            tokens: sum.tokens + f64::from(step.tokens),
            seconds: sum.seconds + step.seconds,
            edge: sum.edge + step.edge_compute_seconds + step.encode_seconds,
            link: sum.link + step.link_seconds,
            queue: sum.queue + step.cloud_queue_seconds,
            cloud: sum.cloud + step.cloud_compute_seconds,
            rows: sum.rows + step.rows as f64,
            frame_bytes: sum.frame_bytes + step.frame_bytes as f64,
        });
        (sum.tokens > 0.0 && sum.seconds > 0.0).then_some(sum)
    }

    /// Of a token.
    fn milliseconds(&self, seconds: f64) -> f64 {
        1e3 * seconds / self.tokens
    }
}

/// A number of bytes as people read it.
pub(super) fn bytes(count: f64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut scaled = count;
    for unit in UNITS {
        let is_last = unit == UNITS[UNITS.len() - 1];
        if scaled < 999.5 || is_last {
            let digits = usize::from(unit != UNITS[0] && scaled < 99.95);
            return format!("{scaled:.digits$} {unit}");
        }
        scaled /= 1e3;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(tokens: usize) -> Event {
        Event::Delta(v1::Delta {
            token_ids: vec![1; tokens],
            ..v1::Delta::default()
        })
    }

    fn step(seconds: f64, tokens: u32) -> v1::Step {
        v1::Step {
            tokens,
            seconds,
            edge_compute_seconds: 0.004,
            encode_seconds: 0.001,
            link_seconds: 0.020,
            cloud_queue_seconds: 0.002,
            cloud_compute_seconds: 0.009,
            rows: 1,
            frame_bytes: 360,
            up_bytes: 400,
            codec: "high".to_owned(),
            ..v1::Step::default()
        }
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// An answer with so many tokens, a token in 40 ms behind a prompt of 200 ms.
    fn after_tokens(tokens: usize) -> (Figures, Duration) {
        let mut figures = Figures::new(576);
        let mut now = 0.2;
        for at in 0..tokens {
            let seconds_of = if at == 0 { 0.2 } else { 0.04 };
            figures.add(&Event::Step(step(seconds_of, 1)), seconds(now));
            figures.add(&delta(1), seconds(now));
            now += 0.04;
        }
        (figures, seconds(now - 0.04))
    }

    #[test]
    fn before_the_first_token_it_says_what_is_waited_for() {
        let mut figures = Figures::new(576);
        assert_eq!(figures.line(seconds(0.31), 80), "0.3 s");
        let started = |reused_tokens| {
            Event::Started(v1::Started {
                prompt_tokens: 812,
                reused_tokens,
                context: 4096,
            })
        };
        figures.add(&started(0), seconds(0.3));
        assert_eq!(
            figures.line(seconds(0.4), 80),
            "0.4 s  prompt of 812 tokens"
        );
        figures.add(&started(640), seconds(0.3));
        assert_eq!(
            figures.line(seconds(0.4), 80),
            "0.4 s  prompt of 812 tokens, 640 known"
        );
    }

    #[test]
    fn tokens_say_where_their_time_goes() {
        let (mut figures, now) = after_tokens(45);
        assert_eq!(
            figures.line(now, 200),
            "45 tokens  25.0/s  edge 5.0 link 20.0 queue 2.0 cloud 9.0 ms  high 5.0 bits  18.0 kB up"
        );
        let (mut first, now) = after_tokens(1);
        assert_eq!(first.line(now, 200), "1 tokens  high  400 B up");
    }

    #[test]
    fn figures_are_those_of_the_last_seconds() {
        let (mut figures, now) = after_tokens(20);
        let mut slow = step(0.4, 1);
        slow.link_seconds = 0.38;
        for at in 1..=5 {
            figures.add(
                &Event::Step(slow.clone()),
                now + seconds(0.4 * f64::from(at)),
            );
            figures.add(&delta(1), now + seconds(0.4 * f64::from(at)));
        }
        let line = figures.line(now + seconds(2.2), 200);
        assert!(
            line.contains("25 tokens  2.5/s  edge 5.0 link 380.0"),
            "{line}"
        );
        // Nothing has come for long: the whole answer's rate, which falls.
        let line = figures.line(now + seconds(20.0), 200);
        assert!(line.starts_with("25 tokens  1.2/s  high  "), "{line}");
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_there_when_it_is() {
        let (mut figures, now) = after_tokens(3);
        figures.add(
            &Event::Step(v1::Step {
                drafts: Some(v1::DraftUsage {
                    sent: 8,
                    accepted: 3,
                }),
                replays: 1,
                round_trip_seconds: Some(0.0404),
                up_bytes_per_second: Some(1.25e6),
                ..step(0.04, 4)
            }),
            now,
        );
        let line = figures.line(now, 200);
        assert!(line.contains("ms  1 replays  high"), "{line}");
        assert!(
            line.ends_with("drafts 3 of 8  round trip 40 ms  1.2 MB/s"),
            "{line}"
        );
    }

    #[test]
    fn an_edge_that_tells_no_steps_still_has_a_rate() {
        let mut figures = Figures::new(0);
        for at in 0..11 {
            figures.add(&delta(1), seconds(1.0 + 0.1 * f64::from(at)));
        }
        assert_eq!(figures.line(seconds(2.0), 80), "11 tokens  10.0/s");
    }

    #[test]
    fn a_narrow_line_leaves_out_what_does_not_fit() {
        let (mut figures, now) = after_tokens(45);
        let whole = figures.line(now, 200);
        for columns in 0..120 {
            let line = figures.line(now, columns);
            assert!(line.len() <= columns && whole.starts_with(&line), "{line}");
        }
        assert_eq!(figures.line(now, 20), "45 tokens  25.0/s");
    }

    #[test]
    fn bytes_read_well() {
        let read: Vec<String> = [0.0, 999.0, 1000.0, 99_900.0, 100_000.0, 12.3e6, 4.56e12]
            .map(bytes)
            .to_vec();
        let expected = [
            "0 B", "999 B", "1.0 kB", "99.9 kB", "100 kB", "12.3 MB", "4560 GB",
        ];
        assert_eq!(read, expected);
    }
}
