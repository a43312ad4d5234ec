use super::*;

const DIRECTION: Label = Label {
    name: "direction",
    values: &["up", "down"],
};
const KIND: Label = Label {
    name: "kind",
    values: &["rows", "ids"],
};
const MODEL: Label = Label {
    name: "model",
    values: &[],
};

const BYTES: Metric = Metric {
    name: "tandem_test_wire_bytes_total",
    kind: Kind::Counter,
    unit: Unit::Bytes,
    labels: &[DIRECTION, KIND],
    help: "Bytes on the link, by direction and kind.",
};
const SESSIONS: Metric = Metric {
    name: "tandem_test_sessions",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[],
    help: "Sessions that are open.",
};
const TOKEN: Metric = Metric {
    name: "tandem_test_inter_token_latency_seconds",
    kind: Kind::Histogram(INTER_TOKEN_SECONDS),
    unit: Unit::Seconds,
    labels: &[DIRECTION],
    help: "Time between two tokens.",
};
const LOADED: Metric = Metric {
    name: "tandem_test_model_loaded",
    kind: Kind::Gauge,
    unit: Unit::Count,
    labels: &[MODEL],
    help: "Models that are loaded, by name.",
};
const CATALOGUE: &[Metric] = &[BYTES, SESSIONS, TOKEN, LOADED];

#[test]
fn everything_with_known_labels_is_exposed_from_the_start() {
    let recorder = recorder(CATALOGUE).unwrap();
    let metrics = exposed_metrics(&recorder.handle().render());
    let names: Vec<&str> = metrics.keys().map(String::as_str).collect();
    assert_eq!(names, [TOKEN.name, SESSIONS.name, BYTES.name]);

    let bytes = &metrics[BYTES.name];
    assert_eq!(
        (bytes.kind.as_str(), bytes.help.as_str()),
        ("counter", BYTES.help)
    );
    assert_eq!(bytes.samples.len(), 4);
    assert!(bytes.samples.values().all(|value| value == "0"));

    let token = &metrics[TOKEN.name];
    assert_eq!(token.kind, "histogram");
    assert_eq!(token.labels, BTreeSet::from(["direction".to_owned()]));
    assert_eq!(token.samples.len(), 2 * (INTER_TOKEN_SECONDS.len() + 3));
}

#[test]
fn what_is_recorded_is_exposed_under_its_labels() {
    let recorder = recorder(CATALOGUE).unwrap();
    metrics::with_local_recorder(&recorder, || {
        BYTES.counter(&["up", "rows"]).increment(576);
        SESSIONS.gauge(&[]).increment(1.0);
        TOKEN.histogram(&["down"]).record(0.004);
        LOADED.gauge(&["smollm2"]).set(1.0);
        metrics::counter!(BYTES.name, "direction" => "up", "kind" => "rows").increment(1);
    });
    let metrics = exposed_metrics(&recorder.handle().render());
    let sample = |metric: &Metric, series: &str| metrics[metric.name].samples[series].clone();
    let series = r#"tandem_test_wire_bytes_total{direction="up",kind="rows"}"#;
    assert_eq!(sample(&BYTES, series), "577");
    assert_eq!(sample(&SESSIONS, "tandem_test_sessions"), "1");
    assert_eq!(
        sample(&LOADED, r#"tandem_test_model_loaded{model="smollm2"}"#),
        "1"
    );
    for (bound, count) in [("0.003", "0"), ("0.005", "1"), ("10", "1"), ("+Inf", "1")] {
        let series = format!(r#"{}_bucket{{direction="down",le="{bound}"}}"#, TOKEN.name);
        assert_eq!(sample(&TOKEN, &series), count, "{bound}");
    }
}

#[test]
fn the_documentation_and_the_catalogue_compare() {
    let page = format!(
        "# Operations\n\n| name | default |\n| --- | --- |\n| `listen` | x |\n\n## Metrics\n\n{}\n\
         More text.\n\n| a | b | c | d |\n| --- | --- | --- | --- |\n| 1 | 2 | 3 | 4 |\n",
        markdown_table(CATALOGUE)
    );
    let expected: Vec<DocumentedMetric> = CATALOGUE.iter().map(Into::into).collect();
    assert_eq!(documented_metrics(&page), expected);
    assert_eq!(expected[0].labels, ["direction", "kind"]);
    assert!(expected[1].labels.is_empty());
    assert!(documented_metrics("").is_empty());
}

#[test]
fn a_good_catalogue_has_no_problems() {
    assert_eq!(problems(CATALOGUE, "tandem_test_"), [] as [&str; 0]);
}

#[test]
fn a_bad_catalogue_is_told_what_is_wrong_with_it() {
    let bad = |metric: Metric| problems(&[metric], "tandem_test_").join("; ");
    assert!(
        bad(Metric {
            name: "requests",
            ..SESSIONS
        })
        .contains("does not start with")
    );
    assert!(
        bad(Metric {
            name: "tandem_test_Sessions",
            ..SESSIONS
        })
        .contains("lower case")
    );
    assert!(
        bad(Metric {
            kind: Kind::Gauge,
            ..BYTES
        })
        .contains("_total")
    );
    assert!(
        bad(Metric {
            unit: Unit::Seconds,
            ..BYTES
        })
        .contains("seconds")
    );
    assert!(
        bad(Metric {
            unit: Unit::Milliseconds,
            ..BYTES
        })
        .contains("base unit")
    );
    assert!(
        bad(Metric {
            unit: Unit::Count,
            ..BYTES
        })
        .contains("names a unit")
    );
    assert!(
        bad(Metric {
            kind: Kind::Histogram(&[2.0, 1.0]),
            ..TOKEN
        })
        .contains("ascend")
    );
    assert!(
        bad(Metric {
            help: "No full stop",
            ..SESSIONS
        })
        .contains("sentence")
    );
    let reserved = &[Label {
        name: "le",
        values: &[],
    }];
    assert!(
        bad(Metric {
            labels: reserved,
            ..SESSIONS
        })
        .contains("keeps for itself")
    );
    let twice = problems(&[SESSIONS, SESSIONS], "tandem_test_");
    assert_eq!(twice, ["tandem_test_sessions: is there twice"]);
}

#[test]
fn every_ladder_ascends() {
    for buckets in [
        TIME_TO_FIRST_TOKEN_SECONDS,
        INTER_TOKEN_SECONDS,
        E2E_LATENCY_SECONDS,
        CODEC_SECONDS,
        COUNTS,
    ] {
        assert!(buckets.windows(2).all(|pair| pair[0] < pair[1]));
    }
    assert_eq!(INTER_TOKEN_SECONDS.first(), Some(&0.001));
    assert_eq!(INTER_TOKEN_SECONDS.last(), Some(&10.0));
}

#[test]
fn a_histogram_without_buckets_is_refused() {
    let bare = Metric {
        kind: Kind::Histogram(&[]),
        ..TOKEN
    };
    let error = recorder(&[bare]).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains(TOKEN.name)));
}

#[tokio::test(start_paused = true)]
async fn upkeep_drains_samples_until_it_is_dropped() {
    let recorder = recorder(CATALOGUE).unwrap();
    let upkeep = Upkeep::spawn(recorder.handle());
    metrics::with_local_recorder(&recorder, || TOKEN.histogram(&["up"]).record(1.0));
    tokio::time::sleep(Duration::from_secs(6)).await;
    drop(upkeep);
    let metrics = exposed_metrics(&recorder.handle().render());
    let series = format!(r#"{}_count{{direction="up"}}"#, TOKEN.name);
    assert_eq!(metrics[TOKEN.name].samples[&series], "1");
}
