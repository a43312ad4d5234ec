//! Reading a server's `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(5);

/// One scrape: every sample by its name and labels as the page writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// What the server at `address` says now.
    pub async fn scrape(address: SocketAddr) -> Result<Self> {
        let page = timeout(DEADLINE, get(address, "/metrics"))
            .await
            .with_context(|| format!("no metrics from {address} within {DEADLINE:?}"))?
            .with_context(|| format!("no metrics from {address}"))?;
        Self::parse(&page)
    }

    /// Reads Prometheus' text format without timestamps.
    fn parse(page: &str) -> Result<Self> {
        let samples = page
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let sample = line.rsplit_once(' ').and_then(|(series, value)| {
                    // Rust reads `+Inf` and `NaN` as Prometheus writes them.
                    Some((series.trim_end().to_owned(), value.parse().ok()?))
                });
                sample.with_context(|| format!("not a sample: {line}"))
            })
            .collect::<Result<_>>()?;
        Ok(Self(samples))
    }

    /// The sample written exactly so: `name` or `name{label="value",…}`.
    pub fn get(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    /// All samples of this name, whatever their labels.
    pub fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        self.0.iter().filter_map(move |(series, &value)| {
            let labels = series.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((series.as_str(), value))
        })
    }

    /// Their sum: 0 if there is none, as a counter is before its first event.
    pub fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|(_, value)| value).sum()
    }

    /// The sum of those that carry all of these labels.
    pub fn sum_with(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        self.series(name)
            .filter(|(series, _)| {
                let labels = series[name.len()..].trim_matches(['{', '}']);
                wanted.iter().all(|wanted| {
                    labels.match_indices(wanted.as_str()).any(|(at, found)| {
                        let (before, after) = (&labels[..at], &labels[at + found.len()..]);
                        (before.is_empty() || before.ends_with(','))
                            && (after.is_empty() || after.starts_with(','))
                    })
                })
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// Every sample.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0
            .iter()
            .map(|(series, &value)| (series.as_str(), value))
    }
}

/// The body of a plain page. HTTP/1.0, so that its end is the connection's.
async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let (head, body) = response
        .split_once("\r\n\r\n")
        .context("an answer without an end of its head")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("GET {path}: {status}");
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP tandem_cloud_wire_bytes_total Bytes.
# TYPE tandem_cloud_wire_bytes_total counter
tandem_cloud_wire_bytes_total{direction=\"up\",kind=\"rows\"} 1200
tandem_cloud_wire_bytes_total{direction=\"down\",kind=\"tokens\"} 34
tandem_cloud_sessions 2

tandem_cloud_sessions_peak 5
tandem_cloud_step_seconds_bucket{le=\"+Inf\"} 7
tandem_cloud_odd{path=\"/a b},x\"} NaN
";

    #[test]
    fn a_page_reads_as_written() {
        let metrics = Metrics::parse(PAGE).unwrap();
        let total = "tandem_cloud_wire_bytes_total";
        assert_eq!(metrics.sum(total), 1234.0);
        assert_eq!(metrics.sum_with(total, &[("kind", "rows")]), 1200.0);
        let down = [("kind", "tokens"), ("direction", "down")];
        assert_eq!(metrics.sum_with(total, &down), 34.0);
        assert_eq!(metrics.sum_with(total, &[("nd", "rows")]), 0.0);
        assert_eq!(metrics.sum("tandem_cloud_sessions"), 2.0);
        assert_eq!(
            metrics.get("tandem_cloud_step_seconds_bucket{le=\"+Inf\"}"),
            Some(7.0)
        );
        assert!(
            metrics
                .get("tandem_cloud_odd{path=\"/a b},x\"}")
                .unwrap()
                .is_nan()
        );
        assert_eq!(metrics.sum("absent"), 0.0);
        assert_eq!(metrics.iter().count(), 6);
        assert!(Metrics::parse("<html>").is_err());
    }
}
