//! Prometheus' text format, read back.

use std::collections::{BTreeMap, BTreeSet};

/// A metric in a scrape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExposedMetric {
    /// `counter`, `gauge`, `histogram` or `summary`.
    pub kind: String,
    /// The sentence after `# HELP`, empty if there is none.
    pub help: String,
    /// The names of its labels, without a histogram's `le`.
    pub labels: BTreeSet<String>,
    /// Its samples by their full text up to the value: `name{label="value"}`.
    pub samples: BTreeMap<String, String>,
}

/// The metrics in a scrape of `/metrics`, by name. Lines that cannot be read are left out.
pub fn exposed_metrics(text: &str) -> BTreeMap<String, ExposedMetric> {
    let mut metrics: BTreeMap<String, ExposedMetric> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = comment(line, "# HELP ") {
            metrics.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = comment(line, "# TYPE ") {
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((series, value)) =
            line.rsplit_once(' ').filter(|_| !line.starts_with('#'))
        {
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let metric = family(&mut metrics, name);
            metric
                .labels
                .extend(label_names(labels).filter(|label| label != "le"));
            metric.samples.insert(series.to_owned(), value.to_owned());
        }
    }
    metrics
}

/// The metric that a sample belongs to: a histogram's have suffixes.
fn family<'a>(
    metrics: &'a mut BTreeMap<String, ExposedMetric>,
    name: &str,
) -> &'a mut ExposedMetric {
    let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
        let stem = name.strip_suffix(suffix)?;
        let kind = &metrics.get(stem)?.kind;
        matches!(kind.as_str(), "histogram" | "summary").then_some(stem)
    });
    metrics.entry(stem.unwrap_or(name).to_owned()).or_default()
}

fn comment<'a>(line: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(mark)?.split_once(' ')
}

/// The names in `kind="rows",direction="up"}`, whose values may hold anything, quotes escaped.
fn label_names(labels: &str) -> impl Iterator<Item = String> {
    let mut rest = labels;
    std::iter::from_fn(move || {
        let (name, value) = rest.split_once("=\"")?;
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        rest = &value[end + 1..];
        Some(name.trim_matches([',', ' ']).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_read_back() {
        let text = "\
# HELP a_total How many.
# TYPE a_total counter
a_total{kind=\"x\",who=\"a\\\"b,c=\\\"d\"} 3
a_total{kind=\"y\"} 0

# TYPE b_seconds histogram
b_seconds_bucket{le=\"0.1\"} 1
b_seconds_bucket{le=\"+Inf\"} 1
b_seconds_sum 0.05
b_seconds_count 1
# TYPE c_count gauge
c_count 7
";
        let metrics = exposed_metrics(text);
        let names: Vec<&str> = metrics.keys().map(String::as_str).collect();
        assert_eq!(names, ["a_total", "b_seconds", "c_count"]);
        assert_eq!(metrics["a_total"].help, "How many.");
        assert_eq!(metrics["a_total"].kind, "counter");
        assert_eq!(
            metrics["a_total"].labels,
            ["kind", "who"].map(String::from).into()
        );
        assert_eq!(metrics["a_total"].samples["a_total{kind=\"y\"}"], "0");
        assert_eq!(metrics["b_seconds"].samples.len(), 4);
        assert!(metrics["b_seconds"].labels.is_empty());
        assert_eq!(metrics["c_count"].kind, "gauge");
    }

    #[test]
    fn nonsense_is_left_out() {
        assert!(exposed_metrics("").is_empty());
        assert!(exposed_metrics("#\n# HELP\n\n\u{1F980}\n").is_empty());
        let metrics = exposed_metrics("a{b=\"unclosed 1\n");
        assert!(metrics["a"].labels.is_empty());
    }
}
