//! The shipped configuration: what `cloud-service config` prints loads, flags override it, and
//! what cannot be is refused with the path of its key.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

use clap::{CommandFactory as _, Parser as _};
use cloud_service::cli::{Cli, Command, ServeArgs};
use cloud_service::config::{CloudConfig, DEFAULTS};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tandem_config::{ConfigError, Origin};

/// A flag, its key, a value that is not the default, and how the configuration shows it.
type Flag = (
    &'static str,
    &'static str,
    &'static str,
    fn(&CloudConfig) -> String,
);

const FLAGS: &[Flag] = &[
    ("--model", "model", "/models/other", |c| {
        c.model.display().to_string()
    }),
    ("--listen", "listen", "127.0.0.1:1", |c| {
        c.listen.to_string()
    }),
    ("--metrics-listen", "metrics_listen", "127.0.0.1:2", |c| {
        c.metrics_listen.to_string()
    }),
    ("--auth-tokens", "auth.tokens", "/auth/tokens", |c| {
        c.auth.tokens.display().to_string()
    }),
    ("--backend", "backend", "plain", |c| c.backend.clone()),
    ("--device", "device", "cuda:3", |c| c.device.clone()),
    ("--weights", "weights", "int4,0=int8", |c| c.weights.clone()),
    ("--kv", "kv", "int8", |c| c.kv.clone()),
    ("--threads", "threads", "5", |c| c.threads.to_string()),
    ("--first-layer", "first_layer", "6", |c| {
        c.first_layer.to_string()
    }),
    ("--max-sessions", "sessions.max", "7", |c| {
        c.sessions.max.to_string()
    }),
    ("--context", "sessions.context", "8", |c| {
        c.sessions.context.to_string()
    }),
    ("--kv-memory", "sessions.kv_memory", "9GiB", |c| {
        c.sessions.kv_memory.to_string()
    }),
    ("--idle-ttl", "sessions.idle_ttl", "10s", |c| {
        c.sessions.idle_ttl.to_string()
    }),
    ("--stall", "sessions.stall", "12s", |c| {
        c.sessions.stall.to_string()
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
];

/// Values that their types allow and their meanings do not, by the path they are refused with.
const OUT_OF_RANGE: &[(&str, &str)] = &[
    ("model", "model: ''"),
    ("listen", "listen: 0.0.0.0:1"),
    ("listen", "listen: '[::]:1'"),
    ("tls.key", "tls: {certificate: a}"),
    ("tls.certificate", "tls: {key: a}"),
    ("tls.client_ca", "tls: {client_ca: a}"),
    ("tls.client_crl", "tls: {client_crl: a}"),
    ("tls.client_names", "tls: {client_names: [a]}"),
    ("backend", "backend: loops"),
    ("device", "device: tpu"),
    ("weights", "weights: int3"),
    ("weights", "weights: 'int4,0=int3'"),
    ("kv", "kv: int3"),
    ("threads", "threads: 1025"),
    ("sessions.max", "sessions: {max: 0}"),
    ("sessions.max", "sessions: {max: 65537}"),
    ("sessions.context", "sessions: {context: 16777217}"),
    ("sessions.max_opening", "sessions: {max_opening: 0}"),
    ("sessions.max_opening", "sessions: {max_opening: 65537}"),
    ("sessions.queued_rows", "sessions: {queued_rows: 0}"),
    (
        "sessions.per_peer.max",
        "sessions: {per_peer: {max: 65537}}",
    ),
    (
        "sessions.per_peer.max_opening",
        "sessions: {per_peer: {max_opening: 65537}}",
    ),
    (
        "sessions.per_peer.queued_rows",
        "sessions: {per_peer: {queued_rows: 1073741825}}",
    ),
    (
        "sessions.per_peer.kv_memory",
        "sessions: {per_peer: {kv_memory: 5}}",
    ),
    ("sessions.kv_memory", "sessions: {kv_memory: 1023KiB}"),
    ("limits.max_frame", "limits: {max_frame: 4095B}"),
    ("limits.max_frame", "limits: {max_frame: 65MiB}"),
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
    (
        "transport.max_message",
        "{transport: {max_message: 63KiB}, limits: {max_frame: 4KiB}}",
    ),
    ("limits.max_frame", "limits: {max_frame: 4MiB}"),
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
];

/// Keys that nobody knows, one in each section.
const UNKNOWN: &[(&str, &str)] = &[
    ("lisen", "lisen: 127.0.0.1:1"),
    ("tls.ca", "tls: {ca: a}"),
    ("auth.token", "auth: {token: a}"),
    ("sessions.maximum", "sessions: {maximum: 3}"),
    ("sessions.per_peer.rows", "sessions: {per_peer: {rows: 3}}"),
    ("limits.frame", "limits: {frame: 1MiB}"),
    ("log.file", "log: {file: /tmp/log}"),
    ("traces.url", "traces: {url: a}"),
    (
        "transport.connections.all",
        "transport: {connections: {all: 3}}",
    ),
    ("transport.tls", "transport: {tls: true}"),
];

fn serve_args(arguments: &[&str]) -> Box<ServeArgs> {
    let line = ["cloud-service", "serve"].iter().chain(arguments);
    match Cli::try_parse_from(line).map(|cli| cli.command) {
        Ok(Command::Serve(args)) => args,
        other => panic!("{other:?}"),
    }
}

/// The configuration of a user's file with these contents; `name` keeps the tests apart.
fn load(name: &str, contents: &str) -> Result<CloudConfig, ConfigError> {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cloud-{name}.yaml"));
    std::fs::write(&file, contents).expect("a file of the test's own");
    let args = ServeArgs {
        config: Some(file),
        // As a file sets it, unless this one does.
        model: (!contents.starts_with("model:")).then(|| PathBuf::from("/models/m")),
        ..ServeArgs::default()
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
    assert_eq!(config.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.metrics_listen.to_string(), "127.0.0.1:9501");
    assert_eq!(
        (
            config.device.as_str(),
            config.weights.as_str(),
            config.kv.as_str()
        ),
        ("cpu", "auto", "auto")
    );
    assert_eq!((config.threads, config.first_layer.get()), (0, None));
    assert_eq!((config.sessions.max, config.sessions.context), (1024, 0));
    assert_eq!(config.sessions.kv_memory.get(), 4 << 30);
    assert_eq!(config.sessions.idle_ttl.get(), Duration::from_secs(300));
    assert_eq!(config.limits.max_frame.get(), 256 << 10);
    assert_eq!(config.drain_deadline.get(), Duration::from_secs(30));
}

#[test]
fn a_file_that_is_the_shipped_one_changes_nothing() {
    let text = DEFAULTS.replace("model: \"\"", "model: /models/m");
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
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cloud-below-flags.yaml");
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
    let tls = "--model /m --listen 0.0.0.0:1 --tls-certificate a --tls-key b --tls-client-ca c";
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

    let open = ["--model", "/m", "--listen", "0.0.0.0:1"];
    let refused = serve_args(&open).load().unwrap_err().to_string();
    assert!(refused.contains("insecure: true"), "{refused}");
    let insecure = [open.as_slice(), &["--insecure"]].concat();
    assert!(serve_args(&insecure).load().unwrap().insecure);
}
