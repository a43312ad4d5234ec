//! The shipped configuration: what `edge-agent config` prints loads, flags override it, and
//! what cannot be is refused with the path of its key.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

use clap::{CommandFactory as _, Parser as _};
use edge_agent::cli::{Cli, Command, EdgeArgs};
use edge_agent::config::{DEFAULTS, EdgeConfig};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tandem_config::{ConfigError, Origin};

/// A flag, its key, a value that is not the default, and how the configuration shows it.
type Flag = (
    &'static str,
    &'static str,
    &'static str,
    fn(&EdgeConfig) -> String,
);

const FLAGS: &[Flag] = &[
    ("--model", "model", "/models/other", |c| {
        c.model.display().to_string()
    }),
    ("--cloud", "cloud", "http://cloud:1", |c| {
        c.cloud.to_string()
    }),
    ("--preset", "preset", "exact", |c| {
        format!("{:?}", c.preset).to_lowercase()
    }),
    ("--split", "split", "3", |c| c.split.to_string()),
    ("--codec", "codec", "bf16", |c| c.codec.clone()),
    ("--adapt-floor", "adapt.floor", "economy", |c| {
        c.adapt.floor.to_string()
    }),
    ("--adapt-deadline", "adapt.deadline", "120ms", |c| {
        c.adapt.deadline.to_string()
    }),
    ("--drafts", "drafts.max", "3", |c| c.drafts.max.to_string()),
    ("--draft-model", "drafts.model", "/models/small", |c| {
        c.drafts.model.display().to_string()
    }),
    ("--draft-weights", "drafts.weights", "int4", |c| {
        c.drafts.weights.clone()
    }),
    ("--listen", "listen", "127.0.0.1:1", |c| {
        c.listen.to_string()
    }),
    ("--openai-listen", "openai.listen", "127.0.0.1:3", |c| {
        c.openai.listen.clone()
    }),
    ("--metrics-listen", "metrics_listen", "127.0.0.1:2", |c| {
        c.metrics_listen.to_string()
    }),
    ("--auth-tokens", "auth.tokens", "/auth/tokens", |c| {
        c.auth.tokens.display().to_string()
    }),
    ("--cloud-token", "cloud_token", "/auth/token", |c| {
        c.cloud_token.display().to_string()
    }),
    ("--backend", "backend", "plain", |c| c.backend.clone()),
    ("--device", "device", "cuda:3", |c| c.device.clone()),
    ("--weights", "weights", "int4,0=int8", |c| c.weights.clone()),
    ("--kv", "kv", "int8", |c| c.kv.clone()),
    ("--threads", "threads", "5", |c| c.threads.to_string()),
    ("--max-sessions", "sessions.max", "7", |c| {
        c.sessions.max.to_string()
    }),
    ("--context", "sessions.context", "8", |c| {
        c.sessions.context.to_string()
    }),
    ("--idle-ttl", "sessions.idle_ttl", "10s", |c| {
        c.sessions.idle_ttl.to_string()
    }),
    ("--chunk-rows", "prefill.chunk_rows", "128", |c| {
        c.prefill.chunk_rows.to_string()
    }),
    ("--frame", "prefill.frame", "9KiB", |c| {
        c.prefill.frame.to_string()
    }),
    ("--replay-within", "replay.within", "7s", |c| {
        c.replay.within.to_string()
    }),
    ("--engine-step", "engine.step", "33ms", |c| {
        c.engine.step.to_string()
    }),
    ("--drain-deadline", "drain_deadline", "11s", |c| {
        c.drain_deadline.to_string()
    }),
    ("--log-level", "log.level", "debug", |c| c.log.level.clone()),
    ("--log-format", "log.format", "json", |c| {
        format!("{:?}", c.log.format).to_lowercase()
    }),
    (
        "--traces-endpoint",
        "traces.endpoint",
        "http://collector:4317",
        |c| c.traces.endpoint.clone(),
    ),
];

/// Flags that mean nothing alone, and a switch: tried together.
const TOGETHER: &[&str] = &[
    "--tls-certificate",
    "--tls-key",
    "--tls-client-ca",
    "--insecure",
    "--cloud-ca",
    "--cloud-certificate",
    "--cloud-key",
    "--cloud-server-name",
];

/// Values that their types allow and their meanings do not, by the path they are refused with.
const OUT_OF_RANGE: &[(&str, &str)] = &[
    ("model", "model: ''"),
    ("cloud", "cloud: ''"),
    ("cloud", "cloud: http://cloud"),
    ("codec", "codec: zip"),
    ("adapt.floor", "adapt: {floor: zip}"),
    ("adapt.floor", "adapt: {floor: true}"),
    ("adapt.floor", "{codec: high, adapt: {floor: bf16}}"),
    ("adapt.share", "adapt: {share: 0}"),
    ("adapt.share", "adapt: {share: 11}"),
    ("split", "split: 4097"),
    ("listen", "listen: 0.0.0.0:1"),
    ("listen", "listen: '[::]:1'"),
    ("tls.key", "tls: {certificate: a}"),
    ("tls.certificate", "tls: {key: a}"),
    ("tls.client_ca", "tls: {client_ca: a}"),
    ("tls.client_crl", "tls: {client_crl: a}"),
    ("tls.client_names", "tls: {client_names: [a]}"),
    ("cloud", "cloud: grpc://cloud:50051"),
    ("cloud_tls", "cloud_tls: {ca: a}"),
    (
        "cloud_tls.key",
        "{cloud: 'https://c:1', cloud_tls: {certificate: a}}",
    ),
    (
        "cloud_tls.server_name",
        "{cloud: 'https://c:1', cloud_tls: {server_name: 'a b'}}",
    ),
    ("cloud_token", "{cloud: 'http://c:1', cloud_token: a}"),
    ("backend", "backend: loops"),
    ("device", "device: tpu"),
    ("weights", "weights: int3"),
    ("drafts.weights", "drafts: {weights: int3}"),
    ("weights", "weights: 'int4,0=int3'"),
    ("kv", "kv: int3"),
    ("threads", "threads: 1025"),
    ("openai.listen", "openai: {listen: localhost}"),
    ("openai.listen", "openai: {listen: '8000'}"),
    ("openai.timeout", "openai: {timeout: 999ms}"),
    ("openai.hosts", "openai: {hosts: ['edge:8000']}"),
    ("openai.hosts", "openai: {hosts: ['']}"),
    ("openai.origins", "openai: {origins: [chat.example.org]}"),
    ("openai.origins", "openai: {origins: ['https://a', '*']}"),
    ("sessions.max", "sessions: {max: 0}"),
    ("sessions.max", "sessions: {max: 65537}"),
    ("replay.attempts", "replay: {attempts: 0}"),
    ("replay.within", "replay: {within: 25h}"),
    ("sessions.context", "sessions: {context: 16777217}"),
    ("prefill.chunk_rows", "prefill: {chunk_rows: 0}"),
    ("prefill.chunk_rows", "prefill: {chunk_rows: 1025}"),
    ("prefill.frame", "prefill: {frame: 1023B}"),
    ("prefill.frame", "prefill: {frame: 257KiB}"),
    (
        "transport.keepalive_interval",
        "transport: {keepalive_interval: 999ms}",
    ),
    (
        "transport.keepalive_timeout",
        "transport: {keepalive_timeout: 0s}",
    ),
    (
        "transport.max_connection_age",
        "transport: {max_connection_age: 999ms}",
    ),
    (
        "transport.connections.max",
        "transport: {connections: {max: 0}}",
    ),
    (
        "transport.connections.per_address",
        "transport: {connections: {per_address: 65537}}",
    ),
    (
        "transport.connections.streams",
        "transport: {connections: {streams: 0}}",
    ),
    (
        "transport.connections.first_call",
        "transport: {connections: {first_call: 0s}}",
    ),
    (
        "transport.stream_window",
        "transport: {stream_window: 65534B}",
    ),
    (
        "transport.connection_window",
        "transport: {connection_window: 1MiB}",
    ),
    ("transport.max_message", "transport: {max_message: 63KiB}"),
    (
        "prefill.frame",
        "{prefill: {frame: 60KiB}, transport: {max_message: 64KiB}}",
    ),
    ("sessions.prefix_memory", "sessions: {prefix_memory: 5}"),
    ("engine.step", "engine: {step: 999us}"),
    ("engine.step", "engine: {step: never}"),
    ("engine.stalled_after", "engine: {stalled_after: 0s}"),
    ("engine.lost_after", "engine: {lost_after: 29s}"),
    ("log.level", "log: {level: 'info,h2=loud'}"),
    ("traces.endpoint", "traces: {endpoint: collector}"),
    ("traces.endpoint", "traces: {endpoint: 'http://c:1/v1'}"),
    ("traces.sample", "traces: {sample: 1.1}"),
    ("traces.sample", "traces: {sample: -1}"),
    ("traces.sample", "traces: {sample: .nan}"),
    (
        "plan.context",
        "plan: {context: 0, prompt_tokens: 1, output_tokens: 1}",
    ),
    ("plan.context", "plan: {context: 300}"),
    ("plan.prompt_tokens", "plan: {prompt_tokens: 0}"),
    ("plan.output_tokens", "plan: {output_tokens: 0}"),
    ("plan.sessions", "plan: {sessions: 0}"),
    ("plan.max_kl", "plan: {max_kl: -0.1}"),
    ("plan.max_kl", "plan: {max_kl: .nan}"),
    ("plan.outage", "plan: {outage: 0.6}"),
];

/// Keys that nobody knows, one in each section.
const UNKNOWN: &[(&str, &str)] = &[
    ("lisen", "lisen: 127.0.0.1:1"),
    ("adapt.ceiling", "adapt: {ceiling: f32}"),
    ("openai.port", "openai: {port: 3}"),
    ("tls.ca", "tls: {ca: a}"),
    ("auth.token", "auth: {token: a}"),
    ("replay.for", "replay: {for: 3s}"),
    ("sessions.maximum", "sessions: {maximum: 3}"),
    ("prefill.rows", "prefill: {rows: 3}"),
    ("log.file", "log: {file: /tmp/log}"),
    ("traces.url", "traces: {url: a}"),
    (
        "transport.connections.all",
        "transport: {connections: {all: 3}}",
    ),
    ("transport.tls", "transport: {tls: true}"),
    ("plan.latency", "plan: {latency: 1s}"),
];

/// Flags of `plan` alone, the keys they set, and what they set them to.
const PLAN_FLAGS: &[Flag] = &[
    ("--objective", "plan.objective", "edge-memory", |c| {
        c.plan.objective.to_string()
    }),
    ("--slowdown", "plan.slowdown", "1.5", |c| {
        c.plan.slowdown.to_string()
    }),
    ("--memory", "plan.memory", "7MiB", |c| {
        c.plan.memory.to_string()
    }),
    ("--deadline", "plan.deadline", "9ms", |c| {
        c.plan.deadline.to_string()
    }),
    ("--first-token", "plan.first_token", "3s", |c| {
        c.plan.first_token.to_string()
    }),
    ("--max-context", "plan.context", "4096", |c| {
        c.plan.context.to_string()
    }),
    ("--max-kl", "plan.max_kl", "0.25", |c| {
        c.plan.max_kl.to_string()
    }),
    ("--outage", "plan.outage", "0.25", |c| {
        c.plan.outage.to_string()
    }),
    ("--prompt-tokens", "plan.prompt_tokens", "12", |c| {
        c.plan.prompt_tokens.to_string()
    }),
    ("--output-tokens", "plan.output_tokens", "13", |c| {
        c.plan.output_tokens.to_string()
    }),
    ("--plan-sessions", "plan.sessions", "3", |c| {
        c.plan.sessions.to_string()
    }),
    ("--plan-cache", "plan.cache", "/tmp/plans", |c| {
        c.plan.cache.display().to_string()
    }),
];

#[test]
fn every_key_of_the_plan_has_a_flag_that_wins() {
    let keys = PLAN_FLAGS
        .iter()
        .filter_map(|flag| flag.1.strip_prefix("plan."));
    let keys: BTreeSet<&str> = keys.collect();
    let defaults: serde_yaml::Value = serde_yaml::from_str(DEFAULTS).unwrap();
    let section = defaults["plan"].as_mapping().unwrap();
    let shipped: BTreeSet<&str> = section.keys().filter_map(|key| key.as_str()).collect();
    assert_eq!(keys, shipped);
    for (flag, key, value, read) in PLAN_FLAGS {
        let line = ["edge-agent", "plan", "--model", "/models/m", flag, value];
        let Command::Plan(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("{flag} is no flag of plan");
        };
        let config = args.limits.load_over(args.edge).unwrap();
        assert_eq!(read(&config), *value, "{flag} over {key}");
    }
}

fn serve_args(arguments: &[&str]) -> Box<EdgeArgs> {
    let line = ["edge-agent", "serve"].iter().chain(arguments);
    match Cli::try_parse_from(line).map(|cli| cli.command) {
        Ok(Command::Serve(args)) => args,
        other => panic!("{other:?}"),
    }
}

/// The configuration of a user's file with these contents; `name` keeps the tests apart.
fn load(name: &str, contents: &str) -> Result<EdgeConfig, ConfigError> {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("edge-{name}.yaml"));
    std::fs::write(&file, contents).expect("a file of the test's own");
    let args = EdgeArgs {
        config: Some(file),
        // As a file sets it, unless this one does.
        model: (!contents.starts_with("model:")).then(|| PathBuf::from("/models/m")),
        ..EdgeArgs::default()
    };
    args.load()
}

/// YAML in which `value` stands at the dotted `key`.
fn at_key(key: &str, value: &str) -> String {
    match key.split_once('.') {
        Some((section, key)) => format!("{section}: {{{key}: {value}}}"),
        None => format!("{key}: {value}"),
    }
}

#[test]
fn the_shipped_defaults_load_once_a_model_is_named() {
    let config = serve_args(&["--model", "/models/m"]).load().unwrap();
    assert_eq!(config.model, Path::new("/models/m"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:50050");
    assert_eq!(config.openai.address(), None);
    assert_eq!(config.metrics_listen.to_string(), "127.0.0.1:9500");
    assert_eq!(config.cloud.to_string(), "http://127.0.0.1:50051");
    assert_eq!(config.connect_timeout.get(), Duration::from_secs(3));
    assert_eq!((config.split.get(), config.codec.as_str()), (None, "auto"));
    assert_eq!(
        (
            config.device.as_str(),
            config.weights.as_str(),
            config.kv.as_str()
        ),
        ("cpu", "auto", "auto")
    );
    assert_eq!(
        (config.adapt.floor.codec(), config.adapt.share),
        (None, 0.2)
    );
    assert!(config.adapt.deadline.get().is_zero());
    assert_eq!(config.threads, 0);
    assert_eq!((config.sessions.max, config.sessions.context), (16, 0));
    assert_eq!(config.sessions.idle_ttl.get(), Duration::from_secs(300));
    assert_eq!(config.prefill.chunk_rows, 64);
    assert_eq!(config.prefill.frame.get(), 16 << 10);
    assert_eq!(config.drain_deadline.get(), Duration::from_secs(30));
}

#[test]
fn a_file_that_is_the_shipped_one_changes_nothing() {
    let text = DEFAULTS.replacen("model: \"\"", "model: /models/m", 1);
    let from_file = load("shipped", &text).unwrap();
    let shipped = serve_args(&["--model", "/models/m"]).load().unwrap();
    assert_eq!(format!("{from_file:?}"), format!("{shipped:?}"));
}

#[test]
fn without_a_model_nothing_is_served() {
    let error = serve_args(&[]).load().unwrap_err().to_string();
    assert!(error.contains("model: is empty"), "{error}");
}

#[test]
fn every_flag_overrides_its_key_and_nothing_else() {
    let model = ["--model", "/models/m"];
    let shipped = serve_args(&model).load().unwrap();
    for (flag, key, value, shown) in FLAGS {
        let arguments = match *flag {
            "--model" => vec![*flag, *value],
            _ => [model.as_slice(), &[*flag, *value]].concat(),
        };
        let config = serve_args(&arguments).load().unwrap();
        for (other, _, _, shown) in FLAGS.iter().filter(|(other, ..)| other != flag) {
            assert_eq!(
                shown(&config),
                shown(&shipped),
                "{flag} changed what {other} sets"
            );
        }
        assert_eq!(shown(&config), *value, "{flag}");
        let from_file = load("key", &at_key(key, value)).unwrap();
        assert_eq!(
            format!("{config:?}"),
            format!("{from_file:?}"),
            "{flag} is not {key}"
        );
        assert_ne!(shown(&shipped), *value, "{flag} is tried with its default");
    }
}

#[test]
fn no_flag_is_left_out_of_these_tests() {
    let serve = Cli::command();
    let serve = serve.find_subcommand("serve").unwrap();
    let known: BTreeSet<String> = serve
        .get_arguments()
        .filter_map(|argument| argument.get_long())
        .filter(|name| !matches!(*name, "config" | "help"))
        .map(|name| format!("--{name}"))
        .collect();
    let tested: BTreeSet<String> = FLAGS.iter().map(|(flag, ..)| (*flag).to_owned()).collect();
    let together = TOGETHER.iter().map(|flag| (*flag).to_owned());
    let tested: BTreeSet<String> = tested.into_iter().chain(together).collect();
    assert_eq!(tested, known);
}

#[test]
fn a_flag_wins_over_a_file() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("edge-below-flags.yaml");
    std::fs::write(
        &file,
        "model: /models/file\nsessions: {max: 3, context: 100}\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let config = serve_args(&["--config", file, "--max-sessions", "5"])
        .load()
        .unwrap();
    assert_eq!(config.model, Path::new("/models/file"));
    assert_eq!((config.sessions.max, config.sessions.context), (5, 100));
}

#[test]
fn unknown_keys_are_refused_with_their_path_and_line() {
    for (path, contents) in UNKNOWN {
        match load("unknown", contents) {
            Err(ConfigError::Invalid(misfits)) => {
                let [misfit] = &misfits[..] else {
                    panic!("{contents}: {misfits:?}");
                };
                assert_eq!(misfit.path.to_string(), *path);
                assert!(misfit.message.contains("unknown field"), "{misfit}");
                assert!(
                    matches!(misfit.origin, Origin::File { line: Some(1), .. }),
                    "{misfit}"
                );
            }
            other => panic!("{contents}: {other:?}"),
        }
    }
}

#[test]
fn values_out_of_range_are_refused_with_their_path() {
    for (path, contents) in OUT_OF_RANGE {
        match load("range", contents) {
            Err(ConfigError::Invalid(misfits)) => {
                let paths: Vec<String> = misfits.iter().map(|m| m.path.to_string()).collect();
                assert!(
                    paths.iter().all(|found| found == path),
                    "{contents}: {paths:?}"
                );
            }
            other => panic!("{contents}: {other:?}"),
        }
    }
}

/// The front's weights and the codec, once a model or a package is at hand.
fn settled(yaml: &str, package: bool) -> (String, String) {
    let mut config = load("preset", &format!("{{{yaml}}}")).expect("a preset that loads");
    config.settle_preset(package);
    let weights = config.front_compute(package).weights;
    let weights = weights.map_or("auto".to_owned(), |scheme| scheme.to_string());
    (weights, config.row_codec().to_string())
}

#[test]
fn a_preset_says_what_is_left_open_and_nothing_else() {
    for (yaml, package, weights, codec) in [
        ("preset: standard", false, "int8", "high"),
        ("preset: exact", false, "f32", "f32"),
        // What a package holds.
        ("preset: standard", true, "auto", "high"),
        ("preset: exact", true, "auto", "f32"),
        // Integers save nothing there.
        ("device: cuda", false, "auto", "high"),
        (
            "preset: exact, weights: int4, codec: economy",
            false,
            "int4:64",
            "economy",
        ),
        ("weights: bf16, codec: bf16", false, "bf16", "bf16"),
    ] {
        let found = settled(yaml, package);
        assert_eq!(found, (weights.to_owned(), codec.to_owned()), "{yaml}");
    }
}

#[test]
fn a_floor_that_yaml_took_for_a_boolean_is_off() {
    let config = load("floor", "adapt: {floor: false}").unwrap();
    assert_eq!(config.adapt.floor.codec(), None);
    assert_eq!(config.adapt.floor.to_string(), "off");
}

#[test]
fn commands_on_a_terminal_are_quiet_unless_told_otherwise() {
    let quiet = |arguments: &[&str]| serve_args(arguments).load_quiet().unwrap().log.level;
    assert_eq!(quiet(&["--model", "m"]), "warn");
    assert_eq!(quiet(&["--model", "m", "--log-level", "debug"]), "debug");
}

#[test]
fn a_flag_out_of_range_is_named() {
    let error = serve_args(&["--model", "m", "--max-sessions", "0"])
        .load()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "--max-sessions: sessions.max: is 0, must be at least 1 and at most 65536"
    );
}

#[test]
fn flags_of_tls_set_their_keys_and_insecure_does_without_them() {
    let tls = "--model /m --listen 0.0.0.0:1 --tls-certificate a --tls-key b --tls-client-ca c --cloud https://cloud:1 --cloud-ca d --cloud-certificate e --cloud-key f --cloud-server-name g";
    let tls: Vec<&str> = tls.split(' ').collect();
    let config = serve_args(&tls).load().unwrap();
    let shown = [
        &config.tls.certificate,
        &config.tls.key,
        &config.tls.client_ca,
    ];
    assert_eq!(
        shown.map(|path| path.display().to_string()),
        ["a", "b", "c"]
    );
    let cloud = &config.cloud_tls;
    let shown = [&cloud.ca, &cloud.certificate, &cloud.key];
    assert_eq!(
        shown.map(|path| path.display().to_string()),
        ["d", "e", "f"]
    );
    assert_eq!(cloud.server_name, "g");

    let open = ["--model", "/m", "--listen", "0.0.0.0:1"];
    let refused = serve_args(&open).load().unwrap_err().to_string();
    assert!(refused.contains("insecure: true"), "{refused}");
    let insecure = [open.as_slice(), &["--insecure"]].concat();
    assert!(serve_args(&insecure).load().unwrap().insecure);
}
