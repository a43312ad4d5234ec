//! What the machine did besides what is measured.

use anyhow::{Context as _, Result};

/// Ticks of all processors since the machine's start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processors {
    all: u64,
    /// Those in which something ran, or another machine on the same hardware did.
    busy: u64,
    /// Of them, those of the measured processes.
    own: u64,
}

impl Processors {
    /// Reads what there was until now, for processes with these ids.
    pub(crate) fn now(own: &[u32]) -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let (all, busy) = totals(&stat).context("/proc/stat")?;
        let mut ticks = 0;
        for id in own {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
            ticks += of_process(&stat).with_context(|| format!("/proc/{id}/stat"))?;
        }
        Ok(Self {
            all,
            busy,
            own: ticks,
        })
    }

    /// The share of all processors that others took since then.
    pub(crate) fn others_since(self, then: Self) -> f64 {
        let all = self.all.saturating_sub(then.all).max(1);
        let busy = self.busy.saturating_sub(then.busy);
        let own = self.own.saturating_sub(then.own);
        busy.saturating_sub(own) as f64 / all as f64
    }
}

/// Of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn totals(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    let all: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((all, all - idle))
}

/// Of `/proc/ID/stat`: utime and stime, the 14th and 15th; the 2nd is a name in brackets.
fn of_process(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}
