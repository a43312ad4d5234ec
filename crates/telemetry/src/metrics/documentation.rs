//! The table of metrics in the documentation.

use super::{Kind, Metric};

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentedMetric {
    /// As in `/metrics`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The names of its labels, in the catalogue's order.
    pub labels: Vec<String>,
    /// The same sentence as in `# HELP`.
    pub help: String,
}

const HEADER: [&str; 4] = ["name", "type", "labels", "help"];

impl Kind {
    /// The name of the kind in `# TYPE` and in the documentation.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl From<&Metric> for DocumentedMetric {
    fn from(metric: &Metric) -> Self {
        Self {
            name: metric.name.to_owned(),
            kind: metric.kind.name().to_owned(),
            labels: metric
                .labels
                .iter()
                .map(|label| label.name.to_owned())
                .collect(),
            help: metric.help.to_owned(),
        }
    }
}

/// The rows of every table in a Markdown text whose header is `| name | type | labels | help |`, in
/// their order. Backquotes around names do not count, and `–` stands for no labels. A page with
/// both servers' tables is told apart by the names' prefixes.
pub fn documented_metrics(markdown: &str) -> Vec<DocumentedMetric> {
    let mut in_table = false;
    let mut metrics = Vec::new();
    for line in markdown.lines() {
        let cells = cells(line);
        if cells == HEADER {
            in_table = true;
            continue;
        }
        let [name, kind, labels, help] = cells.as_slice() else {
            in_table = false;
            continue;
        };
        let is_rule = !name.is_empty() && name.chars().all(|c| matches!(c, '-' | ':'));
        if !in_table || is_rule {
            continue;
        }
        let labels = labels
            .split(',')
            .map(bare)
            .filter(|label| !matches!(*label, "" | "-" | "–"));
        metrics.push(DocumentedMetric {
            name: bare(name).to_owned(),
            kind: (*kind).to_owned(),
            labels: labels.map(str::to_owned).collect(),
            help: (*help).to_owned(),
        });
    }
    metrics
}

/// The table that documents a catalogue, as [`documented_metrics`] reads it.
pub fn markdown_table(catalogue: &[Metric]) -> String {
    let mut table = format!("| {} |\n| --- | --- | --- | --- |\n", HEADER.join(" | "));
    for metric in catalogue {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{}`", label.name))
            .collect();
        let labels = if labels.is_empty() {
            "–".to_owned()
        } else {
            labels.join(", ")
        };
        let (name, kind, help) = (metric.name, metric.kind.name(), metric.help);
        table += &format!("| `{name}` | {kind} | {labels} | {help} |\n");
    }
    table
}

/// The cells of a table's row; none for any other line.
fn cells(line: &str) -> Vec<&str> {
    let inner = line
        .trim()
        .strip_prefix('|')
        .and_then(|line| line.strip_suffix('|'));
    inner.map_or_else(Vec::new, |inner| inner.split('|').map(str::trim).collect())
}

fn bare(name: &str) -> &str {
    name.trim().trim_matches('`')
}
