//! What an edge did between two readings of its metrics, in lines for people.

use super::super::figures::bytes;
use super::reading::Reading;
use std::time::Duration;

/// The lines about the edge at this address, of the time between two readings.
pub(super) fn lines(
    address: &str,
    now: &Reading,
    before: &Reading,
    between: Duration,
) -> Vec<String> {
    let view = View {
        now,
        before,
        seconds: between.as_secs_f64(),
    };
    let rows = [
        ("answers", view.answers()),
        ("tokens", view.tokens()),
        ("latency", view.latency()),
        ("a token", view.token()),
        ("link", view.link()),
        ("drafts", view.drafts()),
        ("clouds", view.clouds()),
        ("lost", view.lost()),
        ("memory", view.memory()),
    ];
    let mut lines = vec![view.title(address), view.deployment(), String::new()];
    lines.extend(rows.map(|(name, figures)| format!("{name:<9}{}", figures.join("   "))));
    lines
}

/// What there is to see.
struct View<'a> {
    now: &'a Reading,
    before: &'a Reading,
    seconds: f64,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl View<'_> {
    fn title(&self, address: &str) -> String {
        let version = self.label("build_info", "version");
        let model = self.label("deployment_info", "model");
        format!("{model}   edge-agent {version} at {address}")
    }

    fn deployment(&self) -> String {
        let of = |label| self.label("deployment_info", label);
        format!(
            "split {}, weights {}, keys and values {}, codec {}",
            of("split"),
            of("weights"),
            of("kv"),
            of("codec")
        )
    }

    fn answers(&self) -> Vec<String> {
        let running = self.value("sessions", &[("state", "running")]);
        let idle = self.value("sessions", &[("state", "idle")]);
        let mut figures = vec![format!("{running:.0} under way, {idle:.0} kept")];
        let ended = self.value("request_success_total", &[]);
        figures.push(format!("{ended:.0} done"));
        let failed = self.value("failures_total", &[]);
        let by_code = self.counted("failures_total", "code");
        figures.push(match failed {
            0.0 => "0 failed".to_owned(),
            failed => format!("{failed:.0} failed: {by_code}"),
        });
        figures
    }

    fn tokens(&self) -> Vec<String> {
        [
            ("generation_tokens_total", "out"),
            ("prompt_tokens_total", "in"),
            ("reused_tokens_total", "of them known"),
        ]
        .map(|(name, what)| format!("{}/s {what}", self.rate(name, &[]).map_or_else(none, one)))
        .to_vec()
    }

    fn latency(&self) -> Vec<String> {
        [
            ("time_to_first_token_seconds", "first token"),
            ("inter_token_latency_seconds", "between tokens"),
        ]
        .map(|(name, what)| {
            let at = |share| self.quantile(name, share).map_or_else(none, milliseconds);
            format!("{what} p50 {}, p99 {}", at(0.5), at(0.99))
        })
        .to_vec()
    }

    /// Where the time of a token behind the first goes. The cloud's share is what the others leave.
    fn token(&self) -> Vec<String> {
        let decode: Labels<'_> = &[("phase", "decode")];
        let tokens = self.grown("inter_token_latency_seconds_count", &[]);
        if tokens <= 0.0 {
            return vec![none()];
        }
        let of_token = |name, labels| self.grown(name, labels) / tokens;
        let whole = of_token("inter_token_latency_seconds_sum", &[]);
        let edge = of_token("step_seconds_sum", decode);
        // The link's time of prompts is counted with it.
        let link = of_token("link_seconds_sum", &[]).min((whole - edge).max(0.0));
        let rest = (whole - edge - link).max(0.0);
        vec![format!(
            "{}: edge {}, link {}, cloud and the rest {}",
            milliseconds(whole),
            milliseconds(edge),
            milliseconds(link),
            milliseconds(rest)
        )]
    }

    fn link(&self) -> Vec<String> {
        let rate = |direction| {
            let rate = self.rate("wire_bytes_total", &[("direction", direction)]);
            format!("{}/s {direction}", rate.map_or_else(none, bytes))
        };
        let mut figures = vec![rate("up"), rate("down")];
        let frames = self.grown("bits_per_value_count", &[]);
        let bits = self.grown("bits_per_value_sum", &[]) / frames;
        let bits = Some(bits).filter(|_| frames > 0.0);
        figures.push(format!("{} bits a value", bits.map_or_else(none, one)));
        let switches = self.value("codec_switches_total", &[]);
        figures.push(format!("{switches:.0} changes of codec"));
        let carries = self.value("link_rate_bytes_per_second", &[]);
        if carries > 0.0 {
            figures.push(format!("carries {}/s", bytes(carries)));
        }
        let round_trip = self.value("link_round_trip_seconds", &[]);
        if round_trip > 0.0 {
            figures.push(format!("round trip {}", milliseconds(round_trip)));
        }
        figures
    }

    fn drafts(&self) -> Vec<String> {
        let grown = |what| self.grown("drafts_total", &[("what", what)]);
        let (sent, accepted) = (grown("sent"), grown("accepted"));
        let sent_rate = self.rate("drafts_total", &[("what", "sent")]);
        let mut figures = vec![format!("{}/s sent", sent_rate.map_or_else(none, one))];
        if sent > 0.0 {
            figures.push(format!("{:.0}% of them right", 100.0 * accepted / sent));
        }
        let messages = self.grown("round_trip_tokens_count", &[]);
        if messages > 0.0 {
            let tokens = self.grown("round_trip_tokens_sum", &[]) / messages;
            figures.push(format!("{tokens:.1} tokens a round trip"));
        }
        figures
    }

    fn clouds(&self) -> Vec<String> {
        let of = |state| self.value("clouds", &[("state", state)]);
        vec![format!(
            "{:.0} serve this edge, {:.0} do not fit, {:.0} away",
            of("fits"),
            of("misfit"),
            of("away")
        )]
    }

    fn lost(&self) -> Vec<String> {
        let replays = self.value("replays_total", &[]);
        let by_cause = self.counted("replays_total", "cause");
        let replays = match replays {
            0.0 => "0 replays".to_owned(),
            replays => format!("{replays:.0} replays: {by_cause}"),
        };
        let resumes = self.value("resumes_total", &[]);
        vec![replays, format!("{resumes:.0} sessions taken up again")]
    }

    fn memory(&self) -> Vec<String> {
        vec![
            format!("{} of weights", bytes(self.value("weight_bytes", &[]))),
            format!("{} of beginnings", bytes(self.value("prefix_bytes", &[]))),
        ]
    }

    fn label(&self, name: &str, label: &str) -> &str {
        let found = self.now.label(&full(name), label);
        found.filter(|value| !value.is_empty()).unwrap_or("?")
    }

    fn value(&self, name: &str, labels: Labels<'_>) -> f64 {
        self.now.sum(&full(name), labels)
    }

    /// How many of each, of those that there are any of.
    fn counted(&self, name: &str, label: &str) -> String {
        let name = full(name);
        let counts = self.now.by_label(&name, label).into_iter();
        let counts = counts.filter(|&(_, count)| count > 0.0);
        let counts: Vec<String> = counts
            .map(|(what, count)| format!("{count:.0} {what}"))
            .collect();
        counts.join(", ")
    }

    /// By how much a counter grew. One that is smaller than before began anew.
    fn grown(&self, name: &str, labels: Labels<'_>) -> f64 {
        let name = full(name);
        grown(self.now.sum(&name, labels), self.before.sum(&name, labels))
    }

    /// The same by the second, where there is a time in between.
    fn rate(&self, name: &str, labels: Labels<'_>) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.grown(name, labels) / self.seconds)
    }

    /// The value that this share of a histogram's new values is at most, if there are any: between two bounds, as
    /// Prometheus reckons it.
    fn quantile(&self, name: &str, share: f64) -> Option<f64> {
        let name = full(name);
        let before = self.before.buckets(&name);
        let counted_before = |bound: f64| {
            let found = before.iter().find(|&&(other, _)| other == bound);
            found.map_or(0.0, |&(_, count)| count)
        };
        let now = self.now.buckets(&name);
        let began_anew = now
            .iter()
            .any(|&(bound, count)| count < counted_before(bound));
        let buckets: Vec<(f64, f64)> = now
            .into_iter()
            .map(|(bound, count)| {
                let before = if began_anew {
                    0.0
                } else {
                    counted_before(bound)
                };
                (bound, count - before)
            })
            .collect();
        let &(_, all) = buckets.last()?;
        if all <= 0.0 {
            return None;
        }
        let wanted = share * all;
        let mut below = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= wanted {
                if bound.is_infinite() {
                    return Some(below.0);
                }
                let within = (wanted - below.1) / (count - below.1).max(f64::MIN_POSITIVE);
                return Some(below.0 + (bound - below.0) * within);
            }
            below = (bound, count);
        }
        None
    }
}

fn full(name: &str) -> String {
    format!("tandem_edge_{name}")
}

fn grown(now: f64, before: f64) -> f64 {
    if now < before { now } else { now - before }
}

fn none() -> String {
    "-".to_owned()
}

fn one(value: f64) -> String {
    format!("{value:.1}")
}

fn milliseconds(seconds: f64) -> String {
    let milliseconds = 1e3 * seconds;
    let digits = usize::from(milliseconds < 99.95);
    format!("{milliseconds:.digits$} ms")
}

#[cfg(test)]
mod tests;
