use std::io::Write;
use std::net::SocketAddr;

use serde::Deserialize;

use super::super::{ByteSize, HumanDuration};
use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tree {
    listen: SocketAddr,
    model: Option<PathBuf>,
    limits: Limits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    sessions: u32,
    idle: HumanDuration,
    kv: ByteSize,
    stops: Vec<u8>,
}

impl Validate for Tree {
    fn validate(&self, at: &mut Violations) {
        at.nested("limits", &self.limits);
    }
}

impl Validate for Limits {
    fn validate(&self, at: &mut Violations) {
        at.within("sessions", self.sessions, 1..);
        at.within("kv", self.kv, ByteSize::mib(1)..);
    }
}

const DEFAULTS: &str = "\
listen: 127.0.0.1:1
model: null
limits:
  sessions: 4
  idle: 30s
  kv: 512MiB
  stops: [1, 2]
";

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// The error that a user's file gives, with the folder's name taken out.
fn refusal(text: &str) -> String {
    let file = file(text);
    let error = Layers::new(DEFAULTS)
        .file(file.path())
        .and_then(Layers::build::<Tree>);
    let shown = error.unwrap_err().to_string();
    shown.replace(&file.path().display().to_string(), "user.yaml")
}

#[test]
fn a_file_overrides_defaults_and_flags_override_both() {
    let file = file("limits:\n  sessions: 8\n  stops: [9]\n  kv: 1GiB\n");
    let tree: Tree = Layers::new(DEFAULTS)
        .file(file.path())
        .unwrap()
        .flag("--kv-budget", "limits.kv", Some(ByteSize::mib(2)))
        .flag("--listen", "listen", None::<SocketAddr>)
        .set("model", "/models/a")
        .build()
        .unwrap();
    assert_eq!(tree.listen, "127.0.0.1:1".parse().unwrap());
    assert_eq!(tree.model, Some(PathBuf::from("/models/a")));
    assert_eq!(tree.limits.sessions, 8);
    assert_eq!(tree.limits.idle.get().as_secs(), 30);
    assert_eq!(tree.limits.kv, ByteSize::mib(2));
    assert_eq!(tree.limits.stops, [9]);
}

#[test]
fn an_empty_file_and_an_empty_section_change_nothing() {
    for text in ["", "# only a comment\n", "limits:\n  # sessions: 8\n"] {
        let file = file(text);
        let tree: Tree = Layers::new(DEFAULTS)
            .file(file.path())
            .unwrap()
            .build()
            .unwrap();
        assert_eq!(tree.limits.sessions, 4, "{text}");
    }
}

#[test]
fn unknown_keys_are_refused_with_path_file_and_line() {
    let shown = refusal("listen: 127.0.0.1:2\nlimits:\n  # here\n  session: 3\n");
    assert!(
        shown.starts_with("user.yaml:4: limits.session: unknown field `session`, expected"),
        "{shown}"
    );
    assert!(refusal("\nlistne: x\n").starts_with("user.yaml:2: listne: unknown field"));
}

#[test]
fn wrong_types_are_refused_with_path_file_and_line() {
    assert_eq!(
        refusal("limits:\n  sessions: many\n"),
        "user.yaml:2: limits.sessions: invalid type: string \"many\", expected u32"
    );
    assert_eq!(
        refusal("limits: {idle: 30}"),
        "user.yaml:1: limits.idle: `30` has no unit: write `30s` or `30ms`"
    );
    let shown = refusal("limits:\n  stops:\n    - 1\n    - x\n");
    assert!(
        shown.starts_with("user.yaml:4: limits.stops[1]: invalid type"),
        "{shown}"
    );
    let shown = refusal("limits: 7\n");
    assert!(
        shown.starts_with("user.yaml:1: limits: invalid type"),
        "{shown}"
    );
}

#[test]
fn broken_yaml_is_refused_with_its_line() {
    let shown = refusal("limits:\n  sessions: [1\n");
    assert!(
        shown.starts_with("user.yaml: ") && shown.contains("line"),
        "{shown}"
    );
    assert_eq!(
        refusal("- a\n"),
        "user.yaml: must be a YAML mapping of keys to values"
    );
    let shown = refusal("listen: a\nlisten: b\n");
    assert!(
        shown.contains("duplicate entry with key \"listen\""),
        "{shown}"
    );
}

#[test]
fn values_out_of_range_are_named_together_each_with_its_layer() {
    let file = file("limits:\n  sessions: 0\n");
    let error = Layers::new(DEFAULTS)
        .file(file.path())
        .unwrap()
        .flag("--kv-budget", "limits.kv", Some("0B"))
        .build::<Tree>()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}:2: limits.sessions: is 0, must be at least 1\n\
             --kv-budget: limits.kv: is 0B, must be at least 1MiB",
            file.path().display()
        )
    );
}

#[test]
fn unknown_keys_and_wrong_types_hide_nothing_else() {
    assert_eq!(
        refusal(
            "sesions: 3\nlisten: nowhere\nlimits:\n  kv: 1KiB\n  contxt: 2\n  sessions: 0\n  \
             stops: [1, x]\n"
        ),
        "user.yaml:2: listen: invalid socket address syntax\n\
         user.yaml:7: limits.stops[1]: invalid type: string \"x\", expected u8\n\
         user.yaml:5: limits.contxt: unknown field `contxt`, expected one of `sessions`, `idle`, `kv`, `stops`\n\
         user.yaml:1: sesions: unknown field `sesions`, expected one of `listen`, `model`, `limits`\n\
         user.yaml:6: limits.sessions: is 0, must be at least 1\n\
         user.yaml:4: limits.kv: is 1KiB, must be at least 1MiB"
    );
    assert_eq!(
        refusal("limits: {kv: lots, stop: [], sessions: 9}")
            .lines()
            .count(),
        2
    );
}

#[test]
fn wrong_flags_and_wrong_defaults_say_so() {
    let error = Layers::new(DEFAULTS)
        .set("listen", "nowhere")
        .build::<Tree>()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("--listen: listen: invalid socket address")
    );
    let broken = DEFAULTS.replace("512MiB", "512");
    let error = Layers::new(&broken).build::<Tree>().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("default configuration:6: limits.kv: `512` has no")
    );
    let lacking = DEFAULTS.replace("  sessions: 4\n", "");
    let error = Layers::new(&lacking).build::<Tree>().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("limits: missing field `sessions`"),
        "{error}"
    );
    let error = Layers::new("").build::<Tree>().unwrap_err();
    assert_eq!(error.to_string(), "configuration: missing field `listen`");
}

#[test]
fn a_file_alone_loads_with_the_same_errors() {
    let good = file(DEFAULTS);
    assert_eq!(load::<Tree>(good.path()).unwrap().limits.sessions, 4);
    let bad = file(&DEFAULTS.replace("sessions: 4", "sessions: -4"));
    let shown = load::<Tree>(bad.path()).unwrap_err().to_string();
    assert!(
        shown.contains(".yaml:4: limits.sessions: invalid value"),
        "{shown}"
    );
    let missing = Path::new("/nonexistent/cloud.yaml");
    let shown = load::<Tree>(missing).unwrap_err().to_string();
    assert!(shown.starts_with("cannot read the configuration /nonexistent/cloud.yaml: No such"));
}

#[test]
fn what_was_changed_is_a_file_that_says_the_same() {
    let own = file("limits: {sessions: 8, stops: [9]}\n");
    let layers = || {
        let layers = Layers::new(DEFAULTS).file(own.path()).unwrap();
        layers.set("limits.sessions", 9).set("model", "/m")
    };
    let changed = layers().changed().unwrap();
    let text = serde_yaml::to_string(&changed).unwrap();
    assert!(!text.contains("listen") && !text.contains("idle"), "{text}");
    let again = file(&text);
    let read: Tree = Layers::new(DEFAULTS)
        .file(again.path())
        .and_then(Layers::build)
        .unwrap();
    let expected: Tree = layers().build().unwrap();
    assert_eq!(format!("{read:?}"), format!("{expected:?}"));
    assert_eq!(read.limits.sessions, 9);
}
