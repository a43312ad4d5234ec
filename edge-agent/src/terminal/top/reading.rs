//! A reading of an edge's metrics, in Prometheus' text format.

/// The samples of one reading.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading(Vec<Sample>);

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Reading {
    /// Reads a page. Lines that are no samples are passed over.
    pub(super) fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(sample).collect())
    }

    /// Whether there is a metric of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }

    /// The sum of a metric's samples that have all of these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.0.iter().filter(|sample| {
            let has = |&(label, value): &(&str, &str)| sample.label(label) == Some(value);
            sample.name == name && labels.iter().all(has)
        });
        samples.map(|sample| sample.value).sum()
    }

    /// The value of a label of a metric's first sample.
    pub(super) fn label(&self, name: &str, label: &str) -> Option<&str> {
        let mut samples = self.0.iter().filter(|sample| sample.name == name);
        samples.next()?.label(label)
    }

    /// The values of a metric by those of a label, in the page's order.
    pub(super) fn by_label(&self, name: &str, label: &str) -> Vec<(&str, f64)> {
        let samples = self.0.iter().filter(|sample| sample.name == name);
        samples
            .filter_map(|sample| Some((sample.label(label)?, sample.value)))
            .collect()
    }

    /// A histogram's upper bounds, each with the count of what is at most as large, in ascending order.
    pub(super) fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let buckets = self.by_label(&format!("{name}_bucket"), "le");
        let mut buckets: Vec<(f64, f64)> = buckets
            .into_iter()
            .filter_map(|(bound, count)| Some((bound.parse().ok()?, count)))
            .collect();
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        buckets
    }
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| &**value)
    }
}

/// Reads `name{label="value",…} value`, a timestamp behind it or none.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// The labels up to the closing brace, and what is behind it.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    escaped => value.push(escaped),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        text = &rest[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = r#"# HELP a_total How many.
# TYPE a_total counter
a_total{kind="x",who="a\"b,c=\"}d\n"} 3
a_total{kind="y"} 0.5 1700000000

b_seconds_bucket{le="+Inf"} 7
b_seconds_bucket{le="0.25"} 5
b_seconds_bucket{le="0.1"} 2
b_seconds_sum 0.75
c 1e3
"#;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let reading = Reading::parse(PAGE);
        assert_eq!(reading.sum("a_total", &[]), 3.5);
        assert_eq!(reading.sum("a_total", &[("kind", "y")]), 0.5);
        assert_eq!(reading.sum("a_total", &[("kind", "y"), ("who", "z")]), 0.0);
        assert_eq!(reading.sum("c", &[]), 1000.0);
        assert_eq!(reading.sum("absent", &[]), 0.0);
        assert!(reading.has("c") && !reading.has("b_seconds"));
        assert_eq!(reading.label("a_total", "who"), Some("a\"b,c=\"}d\n"));
        assert_eq!(
            reading.by_label("a_total", "kind"),
            [("x", 3.0), ("y", 0.5)]
        );
    }

    #[test]
    fn buckets_ascend() {
        let buckets = Reading::parse(PAGE).buckets("b_seconds");
        assert_eq!(buckets, [(0.1, 2.0), (0.25, 5.0), (f64::INFINITY, 7.0)]);
        assert!(Reading::parse(PAGE).buckets("c").is_empty());
    }

    #[test]
    fn nonsense_is_passed_over() {
        for line in [
            "",
            "a",
            "a{",
            "a{b} 1",
            "a{b=\"c} 1",
            "a{b=\"c\"}",
            "a one",
            " 1",
        ] {
            let read = Reading::parse(line);
            assert!(read.0.iter().all(|sample| sample.name.is_empty()), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(page in "([a{}=\",\\\\ 1\n]|\\PC){0,60}") {
            Reading::parse(&page);
        }
    }
}
