//! docs/reference.md lists what edge-agent counts.

use edge_agent::metrics::CATALOGUE;
use tandem_telemetry::metrics::{DocumentedMetric, documented_metrics, markdown_table, problems};

const PREFIX: &str = "tandem_edge_";
const REFERENCE: &str = include_str!("../../docs/reference.md");

#[test]
fn the_documentation_has_every_metric_as_the_catalogue_has_it() {
    let documented: Vec<DocumentedMetric> = documented_metrics(REFERENCE)
        .into_iter()
        .filter(|metric| metric.name.starts_with(PREFIX))
        .collect();
    let catalogue: Vec<DocumentedMetric> = CATALOGUE.iter().map(DocumentedMetric::from).collect();
    assert_eq!(
        documented,
        catalogue,
        "docs/reference.md must have\n{}",
        markdown_table(CATALOGUE)
    );
}

#[test]
fn the_catalogue_follows_the_naming_rules() {
    assert_eq!(problems(CATALOGUE, PREFIX), Vec::<String>::new());
}
