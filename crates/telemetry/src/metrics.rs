//! Metrics: a declarative catalogue, from which everything else follows.
//!
//! A server keeps one constant list of [`Metric`]s. [`install`] gives the recorder each one's
//! buckets and help text and registers every series whose labels are known, so that a dashboard
//! sees zeros and not gaps; [`problems`] checks the list against the naming rules; and
//! [`documented_metrics`] and [`exposed_metrics`] read the documentation's table and a scrape of
//! `/metrics`, so that a test can hold all three equal.
//!
//! Label values are part of the list, because a label whose values nobody can list grows without
//! bound.

mod buckets;
mod documentation;
mod exposition;

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label as KeyLabel, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};
use tokio_util::task::AbortOnDropHandle;

pub use buckets::{
    CODEC_SECONDS, COUNTS, E2E_LATENCY_SECONDS, INTER_TOKEN_SECONDS, TIME_TO_FIRST_TOKEN_SECONDS,
};
pub use documentation::{DocumentedMetric, documented_metrics, markdown_table};
pub use exposition::{ExposedMetric, exposed_metrics};
pub use metrics::Unit;
pub use metrics_exporter_prometheus::PrometheusHandle;

/// A metric as it appears in `/metrics` and in the documentation.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// `tandem_cloud_wire_bytes_total`.
    pub name: &'static str,
    /// What it counts in, and how.
    pub kind: Kind,
    /// The unit of its values, a base unit. The name ends in it.
    pub unit: Unit,
    /// Its labels, in the order in which values are given to [`Metric::counter`] and its siblings.
    pub labels: &'static [Label],
    /// One sentence for `# HELP` and the documentation; no `|`.
    pub help: &'static str,
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, with the upper bounds of its buckets in ascending order.
    Histogram(&'static [f64]),
}

/// A label and all the values that it takes.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// `direction`.
    pub name: &'static str,
    /// `up`, `down`; empty where they are known only at run time, as a model's name is. Such a
    /// metric appears in `/metrics` with its first value.
    pub values: &'static [&'static str],
}

impl Metric {
    /// The counter with these label values, in the order of [`Metric::labels`]. Keep it where it is
    /// used often: finding it costs a hash and a lock.
    pub fn counter(&self, values: &[&'static str]) -> Counter {
        metrics::with_recorder(|recorder| self.register_counter(recorder, values))
    }

    /// The gauge with these label values, in the order of [`Metric::labels`].
    pub fn gauge(&self, values: &[&'static str]) -> Gauge {
        metrics::with_recorder(|recorder| self.register_gauge(recorder, values))
    }

    /// The gauge with label values that are known only at run time, in the order of [`Metric::labels`]:
    /// for what a server says of itself once.
    pub fn named_gauge<'a>(&self, values: impl IntoIterator<Item = &'a String>) -> Gauge {
        let labels = self.labels.iter().zip(values);
        let labels: Vec<KeyLabel> = labels
            .map(|(label, value)| KeyLabel::new(label.name, value.clone()))
            .collect();
        let key = Key::from_parts(self.name, labels);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    /// The histogram with these label values, in the order of [`Metric::labels`].
    pub fn histogram(&self, values: &[&'static str]) -> Histogram {
        metrics::with_recorder(|recorder| self.register_histogram(recorder, values))
    }

    fn register_counter(&self, recorder: &dyn Recorder, values: &[&'static str]) -> Counter {
        recorder.register_counter(&self.key(values), &METADATA)
    }

    fn register_gauge(&self, recorder: &dyn Recorder, values: &[&'static str]) -> Gauge {
        recorder.register_gauge(&self.key(values), &METADATA)
    }

    fn register_histogram(&self, recorder: &dyn Recorder, values: &[&'static str]) -> Histogram {
        recorder.register_histogram(&self.key(values), &METADATA)
    }

    fn key(&self, values: &[&'static str]) -> Key {
        let labels = self.labels.iter().zip(values);
        let labels: Vec<KeyLabel> = labels
            .map(|(label, value)| KeyLabel::from_static_parts(label.name, value))
            .collect();
        Key::from_parts(self.name, labels)
    }

    /// Every combination of label values; none where a label's values are not known.
    fn series(&self) -> Vec<Vec<&'static str>> {
        self.labels.iter().fold(vec![Vec::new()], |series, label| {
            let with_value = |value: &'static str| {
                series
                    .iter()
                    .map(move |values| [values.as_slice(), &[value]].concat())
            };
            label
                .values
                .iter()
                .flat_map(|value| with_value(value))
                .collect()
        })
    }
}

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// Metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The buckets of a histogram are unusable.
    #[error("the buckets of `{name}`: {source}")]
    Buckets {
        /// The metric.
        name: &'static str,
        /// What is wrong with them.
        source: BuildError,
    },
    /// A recorder has been installed before, by whomever.
    #[error("metrics were installed twice")]
    Twice,
}

/// Makes the recorder for a catalogue the process's own, and registers everything in it.
///
/// # Errors
/// A histogram has no buckets, or a recorder has been installed before.
pub fn install(catalogue: &[Metric]) -> Result<PrometheusHandle, MetricsError> {
    let recorder = recorder(catalogue)?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Twice)?;
    Ok(handle)
}

/// The recorder for a catalogue, described and registered, for tests and whoever has several.
///
/// # Errors
/// A histogram has no buckets.
pub fn recorder(catalogue: &[Metric]) -> Result<PrometheusRecorder, MetricsError> {
    let mut builder = PrometheusBuilder::new();
    for metric in catalogue {
        if let Kind::Histogram(buckets) = metric.kind {
            let name = metric.name;
            builder = builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
                .map_err(|source| MetricsError::Buckets { name, source })?;
        }
    }
    let recorder = builder.build_recorder();
    for metric in catalogue {
        let (name, unit, help) = (metric.name.into(), Some(metric.unit), metric.help.into());
        match metric.kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram(_) => recorder.describe_histogram(name, unit, help),
        }
    }
    register(&recorder, catalogue);
    Ok(recorder)
}

/// Registers every series of the catalogue whose label values are known: counters and gauges at 0,
/// histograms empty.
fn register(recorder: &dyn Recorder, catalogue: &[Metric]) {
    for metric in catalogue {
        for values in metric.series() {
            match metric.kind {
                Kind::Counter => metric.register_counter(recorder, &values).increment(0),
                Kind::Gauge => metric.register_gauge(recorder, &values).increment(0.0),
                Kind::Histogram(_) => drop(metric.register_histogram(recorder, &values)),
            }
        }
    }
}

/// Keeps the recorder from growing between scrapes: recorded values are kept one by one until they
/// are sorted into buckets.
#[derive(Debug)]
pub struct Upkeep {
    _task: AbortOnDropHandle<()>,
}

impl Upkeep {
    /// Begins the upkeep, every five seconds; it ends with the value. Needs a tokio runtime.
    pub fn spawn(metrics: PrometheusHandle) -> Self {
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(5));
            loop {
                ticks.tick().await;
                metrics.run_upkeep();
            }
        });
        Self {
            _task: AbortOnDropHandle::new(task),
        }
    }
}

/// What in a catalogue breaks Prometheus' naming rules or our own; empty for a good one. For a test
/// in each server; `prefix` is `tandem_edge_` or `tandem_cloud_`.
pub fn problems(catalogue: &[Metric], prefix: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for metric in catalogue {
        let name = metric.name;
        let mut check = |holds: bool, problem: &str| {
            if !holds {
                problems.push(format!("{name}: {problem}"));
            }
        };
        check(names.insert(name), "is there twice");
        check(
            name.starts_with(prefix),
            &format!("does not start with {prefix}"),
        );
        check(
            is_name(name),
            "is not lower case letters, digits and underscores",
        );
        let is_counter = metric.kind == Kind::Counter;
        check(
            name.ends_with("_total") == is_counter,
            "counters, and no others, end in _total",
        );
        let stem = name.strip_suffix("_total").unwrap_or(name);
        match metric.unit {
            Unit::Seconds => check(
                stem.ends_with("_seconds"),
                "does not name its unit, seconds",
            ),
            Unit::Bytes => check(stem.ends_with("_bytes"), "does not name its unit, bytes"),
            Unit::Count => {
                let named = stem.ends_with("_seconds") || stem.ends_with("_bytes");
                check(!named, "names a unit that it does not have");
            }
            _ => check(
                false,
                "has a unit that is not a base unit (seconds, bytes, count)",
            ),
        }
        if let Kind::Histogram(buckets) = metric.kind {
            let ascending = buckets.windows(2).all(|pair| pair[0] < pair[1]);
            check(
                !buckets.is_empty() && ascending,
                "has buckets that do not ascend",
            );
        }
        check(
            metric.labels.iter().all(|label| is_name(label.name)),
            "has a misnamed label",
        );
        let reserved = metric
            .labels
            .iter()
            .any(|label| matches!(label.name, "le" | "quantile"));
        check(!reserved, "has a label that Prometheus keeps for itself");
        let help = metric.help;
        check(
            help.ends_with('.') && !help.contains(['|', '\n', '\\']),
            "help is not a sentence",
        );
    }
    problems
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests;
