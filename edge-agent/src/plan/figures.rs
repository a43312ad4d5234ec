//! Figures as a person reads them: a number and its unit.

use tandem_planner::Constraint;

/// A duration, in milliseconds below a second.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.01 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.2} ms", s * 1e3),
    }
}

/// A size in memory.
pub fn bytes(bytes: f64) -> String {
    let gib = bytes / (1u64 << 30) as f64;
    match gib {
        gib if gib >= 10.0 => format!("{gib:.0} GiB"),
        gib if gib >= 1.0 => format!("{gib:.1} GiB"),
        gib => format!("{:.0} MiB", gib * 1024.0),
    }
}

/// A link's rate; infinite where sending took no time beyond the round trip.
pub fn rate(bytes_per_second: f64) -> String {
    match bytes_per_second * 8e-6 {
        mbit if mbit.is_infinite() => "too high to measure".to_owned(),
        mbit if mbit >= 10.0 => format!("{mbit:.0} Mbit/s"),
        mbit => format!("{mbit:.2} Mbit/s"),
    }
}

/// A divergence in nats: `≤` marks an upper bound.
pub fn divergence(kl: f64, is_bound: bool) -> String {
    let sign = if is_bound { "≤" } else { "" };
    match kl {
        0.0 => format!("{sign}0"),
        kl => format!("{sign}{kl:.1e}"),
    }
}

/// The same in a sentence.
pub fn divergence_in_words(kl: f64, is_bound: bool) -> String {
    if is_bound {
        format!("at most {} (bound)", divergence(kl, false))
    } else {
        divergence(kl, false)
    }
}

/// A limit's name.
pub fn limit_name(constraint: Constraint) -> &'static str {
    match constraint {
        Constraint::Memory => "memory",
        Constraint::TokenDeadline => "time of a token",
        Constraint::FirstToken => "time to the first token",
        Constraint::Context => "length of a session",
        Constraint::Quality => "KL divergence",
    }
}

/// A value that a limit is about.
pub fn limit_value(constraint: Constraint, value: f64) -> String {
    match constraint {
        Constraint::Memory => bytes(value),
        Constraint::TokenDeadline | Constraint::FirstToken => time(value),
        Constraint::Context => format!("{value:.0} tokens"),
        Constraint::Quality => divergence(value, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units_and_bounds_their_sign() {
        assert_eq!(time(0.0043), "4.30 ms");
        assert_eq!(time(0.1318), "131.8 ms");
        assert_eq!(time(13.52), "13.5 s");
        assert_eq!(bytes(322_961_408.0), "308 MiB");
        assert_eq!(bytes(6.02 * (1u64 << 30) as f64), "6.0 GiB");
        assert_eq!(rate(125_000.0), "1.00 Mbit/s");
        assert_eq!(rate(f64::INFINITY), "too high to measure");
        assert_eq!(divergence(0.0234, true), "≤2.3e-2");
        assert_eq!(divergence_in_words(0.0234, true), "at most 2.3e-2 (bound)");
        assert_eq!(divergence_in_words(0.0, false), "0");
    }
}
