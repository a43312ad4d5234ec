//! `edge-agent plan` and `split: auto` against a real cloud.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use tandem_proto::v1;
use tandem_tests::client::{Client, ids_request};
use tandem_tests::link::{LinkProfile, Rate, ShapedLink};
use tandem_tests::paths::fixtures;
use tandem_tests::process::{Binary, Server, ServerOptions};
use tandem_tests::split_session::split_client;

/// A model of three layers.
fn model() -> std::path::PathBuf {
    fixtures().join("models/qwen2-bias")
}

fn plan(cloud: &str, cache: &Path, arguments: &[&str]) -> Output {
    Command::new(Binary::EdgeAgent.path())
        .args(["plan", "--threads", "1", "--cloud", cloud, "--model"])
        .arg(model())
        .arg("--plan-cache")
        .arg(cache)
        .args([
            "--max-context",
            "48",
            "--prompt-tokens",
            "20",
            "--output-tokens",
            "10",
        ])
        .args(arguments)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The cloud says what its steps take; asking again measures nothing.
#[tokio::test]
async fn a_cloud_tells_what_its_steps_take() {
    let cloud = Server::cloud(&model(), ServerOptions::default().args(["--threads", "1"]))
        .await
        .unwrap();
    let mut client = split_client(&cloud.url()).await.unwrap();
    let mut ask = async || {
        let asked = client.profile_back(v1::ProfileBackRequest {}).await;
        asked.unwrap().into_inner()
    };
    let profile = ask().await;
    let machine = profile.machine.clone().unwrap();
    assert_eq!((machine.threads, machine.device.as_str()), (1, "cpu"));
    assert!(machine.processor.contains('×'), "{machine:?}");
    assert_ne!(machine.libtorch, "unknown");
    assert_eq!(
        (profile.weights.as_str(), profile.kv.as_str()),
        ("f32", "f32")
    );
    let deepest = profile.steps.iter().map(|s| s.layers).max().unwrap();
    assert_eq!(deepest, profile.layers);
    assert!(profile.steps.iter().any(|s| s.layers < deepest));
    assert!(profile.steps.iter().any(|s| s.rows > 1));
    assert!(profile.steps.iter().all(|s| s.seconds > 0.0));
    let load = profile.load.unwrap();
    assert_eq!(load.running_sessions, 0);
    assert!(load.kv_bytes < load.kv_budget_bytes);
    assert_eq!(ask().await.steps, profile.steps);
}

/// What a plan promises of a slow link is what the link is; what it says is what it deploys.
#[tokio::test]
async fn a_plan_measures_the_link_and_deploys() {
    let cache = tempfile::tempdir().unwrap();
    let cloud = Server::cloud(&model(), ServerOptions::default())
        .await
        .unwrap();
    let slow = LinkProfile::new(Duration::from_millis(20), Some(Rate::kbit(500)));
    let link = ShapedLink::start(cloud.address(), slow).unwrap();
    let url = format!("http://{}", link.address());
    let (yaml, plot) = (
        cache.path().join("edge.yaml"),
        cache.path().join("front.svg"),
    );
    let problem = cache.path().join("problem.json");
    let out = [
        "--idle-ttl",
        "7m",
        "--problem",
        problem.to_str().unwrap(),
        "--out",
        yaml.to_str().unwrap(),
        "--plot",
        plot.to_str().unwrap(),
    ];
    let found = document(&plan(&url, cache.path(), &[&["--json"][..], &out].concat()));
    let near = |name: &str, expected: f64| {
        let value = found["link"][name].as_f64().unwrap();
        assert!(
            (value / expected - 1.0).abs() < 0.25,
            "{name}: {value}, not {expected}"
        );
    };
    near("round_trip", 0.02);
    near("up", 62_500.0);
    near("down", 62_500.0);
    // Nothing was measured of quality: it counts with bounds, and rows are compressed.
    let chosen = &found["chosen"];
    assert!(
        !["f32", "bf16"].contains(&chosen["codec"].as_str().unwrap()),
        "{chosen}"
    );
    assert!(chosen["kl_is_bound"].as_bool().unwrap());
    assert!(chosen["kl"].as_f64().unwrap() > 0.0);
    // Among the plans whose token is nearly as fast as any.
    assert_eq!(
        (&found["objective"], &found["slowdown"]),
        (&"balanced".into(), &1.25.into())
    );
    let token = chosen["token_seconds"].as_f64().unwrap();
    assert!(token <= 1.25 * found["fastest_token_seconds"].as_f64().unwrap());
    assert!(found["edge_only"]["fits"].as_bool().unwrap());
    assert!(found["advice"].as_str().unwrap().contains("Do not split"));
    let terms = found["breakdown"]["token_seconds"].as_object().unwrap();
    let sum: f64 = terms.values().map(|v| v.as_f64().unwrap()).sum();
    assert!((sum / chosen["token_seconds"].as_f64().unwrap() - 1.0).abs() < 1e-6);
    assert!(std::fs::read_to_string(&plot).unwrap().contains("<svg"));
    let problem: Value = serde_json::from_slice(&std::fs::read(&problem).unwrap()).unwrap();
    assert_eq!(problem["workload"]["prompt_tokens"], 20);

    // The same figures again, as a table.
    let text = plan(&url, cache.path(), &["--explain"]);
    let said = String::from_utf8(text.stdout).unwrap();
    assert!(said.contains("* The plan, the best of"), "{said}");
    assert!(said.contains("link: sending the row up"), "{said}");
    assert!(
        said.contains("The KL divergence is an upper bound"),
        "{said}"
    );
    let measured = String::from_utf8(text.stderr).unwrap();
    assert!(
        !measured.contains("measuring"),
        "figures are kept: {measured}"
    );

    // The file is a configuration that serves.
    let configured = std::fs::read_to_string(&yaml).unwrap();
    // With what was configured besides, and nothing that was not.
    assert!(configured.contains("idle_ttl: 7m"), "{configured}");
    assert!(!configured.contains("log:"), "{configured}");
    let checked = Command::new(Binary::EdgeAgent.path())
        .args(["generate", "--json", "--max-tokens", "4", "--config"])
        .arg(&yaml)
        .args(["--cloud", &cloud.url(), "hello"])
        .output()
        .unwrap();
    let answer = document(&checked);
    assert_eq!(answer["completion_tokens"], 4, "{configured}");
    assert!(answer["wire"]["frame_bytes"].as_u64().unwrap() > 0);
}

/// An edge keeps how its drafts fare, and a plan says what a token takes with them.
#[tokio::test]
async fn a_plan_counts_with_drafts_as_they_fared() {
    let cache = tempfile::tempdir().unwrap();
    let cloud = Server::cloud(&model(), ServerOptions::default())
        .await
        .unwrap();
    let found = document(&plan(&cloud.url(), cache.path(), &["--json"]));
    assert!(found["chosen"]["drafts"].is_null(), "{found}");

    let kept = format!(
        "plan: {{cache: {}}}\ndrafts: {{max: 3, message: 3}}",
        cache.path().display()
    );
    let options = ServerOptions::default().config(kept);
    let mut edge = Server::edge(&model(), &cloud.url(), 1, options)
        .await
        .unwrap();
    let client = Client::connect(&edge.url()).await.unwrap();
    // The same answers again are drafted from those before.
    for number in 0..20 {
        let prompt = [20 + number % 4, 7, 9, 20 + number % 4, 7];
        client.generate(ids_request(&prompt, 24)).await.unwrap();
    }
    drop(client);
    edge.terminate().unwrap();
    edge.wait(Duration::from_secs(20)).await.unwrap();

    let found = document(&plan(&cloud.url(), cache.path(), &["--json"]));
    let (chosen, drafts) = (&found["chosen"], &found["chosen"]["drafts"]);
    let figure = |of: &Value, name: &str| of[name].as_f64().unwrap();
    assert!(
        figure(drafts, "token_seconds") <= 1.0001 * figure(chosen, "token_seconds"),
        "{chosen}"
    );
    let tokens = figure(drafts, "tokens_per_round_trip");
    let rows = figure(drafts, "rows_per_round_trip");
    assert!(tokens > 1.0 && tokens <= rows + 1e-9, "{drafts}");
    let text = plan(&cloud.url(), cache.path(), &[]).stdout;
    let said = String::from_utf8(text).unwrap();
    assert!(
        said.contains("With drafts that are right as often"),
        "{said}"
    );
    // Without drafts nothing is said of them.
    let none = document(&plan(
        &cloud.url(),
        cache.path(),
        &["--json", "--drafts", "0"],
    ));
    assert!(none["chosen"]["drafts"].is_null(), "{none}");
}

/// Types whose cost in quality nobody knows are used when nobody asks, and limits say when they bind.
#[tokio::test]
async fn limits_shape_the_plan_and_are_named_when_nothing_holds_them() {
    let cache = tempfile::tempdir().unwrap();
    let cloud = Server::cloud(&model(), ServerOptions::default())
        .await
        .unwrap();
    let ask = |arguments: &[&str]| plan(&cloud.url(), cache.path(), arguments);
    let least = ["--json", "--max-kl", "0", "--objective", "edge-memory"];
    let found = document(&ask(&least));
    // Without layers there is least, and what is as good is as good.
    let memory = |row: &Value| row["memory_bytes"].as_f64().unwrap();
    assert!(memory(&found["chosen"]) <= 1.01 * memory(&found["by_split"][0]));
    assert!(found["considered"].as_u64().unwrap() > 100);
    // A given split is taken as given, and so is a codec.
    let given = document(&ask(&[
        "--json",
        "--split",
        "2",
        "--codec",
        "tabq",
        "--weights",
        "int8",
    ]));
    assert_eq!(given["chosen"]["split"], 2);
    assert_eq!(given["chosen"]["codec"], "tabq");
    assert_eq!(given["chosen"]["weights"], "int8");

    // A session follows the link down to the floor, and begins no lower.
    let smallest = ["--json", "--split", "2", "--max-kl", "0"];
    let far = LinkProfile::new(std::time::Duration::ZERO, Some(Rate::kbit(500)));
    let link = ShapedLink::start(cloud.address(), far).unwrap();
    let slow = |arguments: &[&str]| {
        let url = format!("http://{}", link.address());
        document(&plan(&url, cache.path(), &[&smallest, arguments].concat()))
    };
    let free = slow(&[]);
    assert!(
        !["f32", "bf16"].contains(&free["chosen"]["codec"].as_str().unwrap()),
        "{free}"
    );
    let floored = slow(&["--adapt-floor", "bf16"]);
    assert_eq!(floored["chosen"]["codec"], "bf16");

    let nothing = ask(&["--memory", "1MiB"]);
    assert!(!nothing.status.success());
    let said = String::from_utf8(nothing.stdout).unwrap();
    assert!(said.contains("No plan holds all limits."), "{said}");
    assert!(said.contains("The limit on memory is 1 MiB."), "{said}");
    let nothing = ask(&["--deadline", "1us", "--json"]);
    let found: Value = serde_json::from_slice(&nothing.stdout).unwrap();
    assert_eq!(found["chosen"], Value::Null);
    assert_eq!(found["shortfalls"][0]["constraint"], "token-deadline");
    assert!(found["shortfalls"][0]["nearest"].as_f64().unwrap() > 1e-6);

    let whole = ask(&["--split", "3"]);
    let said = String::from_utf8(whole.stderr).unwrap();
    assert!(
        said.contains("leaves the cloud at least one of 3 layers"),
        "{said}"
    );
}

/// An edge with `split: auto` plans once, keeps the plan, and serves by it without its cloud too. For the
/// cloud's time a split is best here, whatever the machine.
#[tokio::test]
async fn an_edge_plans_for_itself_and_remembers() {
    let cache = tempfile::tempdir().unwrap();
    let config = config_of(cache.path(), ", objective: cloud-seconds");
    let cloud = Server::cloud(&model(), ServerOptions::default())
        .await
        .unwrap();
    let generate = |cloud: &str| {
        Command::new(Binary::EdgeAgent.path())
            .args([
                "generate",
                "--json",
                "--max-tokens",
                "4",
                "--temperature",
                "0",
                "--log-level",
                "info",
            ])
            .args(["--cloud", cloud, "--config"])
            .arg(&config)
            .arg("--model")
            .arg(model())
            .arg("hello")
            .output()
            .unwrap()
    };
    let first = generate(&cloud.url());
    let log = String::from_utf8_lossy(&first.stderr).into_owned();
    let line = log.lines().find(|l| l.contains("planned split=")).unwrap();
    for said in [
        "weights=",
        "kv=",
        "codec=",
        "memory=",
        "binds=",
        "kl=at most",
        "token_ms=",
    ] {
        assert!(line.contains(said), "{said}: {line}");
    }
    let second = generate(&cloud.url());
    let log = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(log.contains("planned before split="), "{log}");
    assert_eq!(
        document(&first)["token_ids"],
        document(&second)["token_ids"]
    );
    // The text is that of the split that was planned.
    let kept: Value =
        serde_json::from_slice(&std::fs::read(cache.path().join("edge-plan.json")).unwrap())
            .unwrap();
    let split = kept["deployment"]["split"].as_u64().unwrap();
    // Memory was planned for four sessions: a fifth has to wait.
    assert_eq!(kept["deployment"]["sessions"], 4);
    assert!(split > 0, "{kept}");
    let planned = |name: &str| kept["deployment"][name].as_str().unwrap().to_owned();
    let by_hand = Command::new(Binary::EdgeAgent.path())
        .args(["generate", "--json", "--max-tokens", "4"])
        .args(["--temperature", "0"])
        .args(["--codec", &planned("codec"), "--kv", &planned("kv")])
        .args(["--weights", &planned("weights")])
        .args([
            "--cloud",
            &cloud.url(),
            "--split",
            &split.to_string(),
            "--model",
        ])
        .arg(model())
        .arg("hello")
        .output()
        .unwrap();
    let by_hand = document(&by_hand);
    assert_eq!(document(&first)["token_ids"], by_hand["token_ids"]);
    let frames = |answer: &Value| answer["wire"]["frame_bytes"].as_u64();
    assert_eq!(frames(&document(&first)), frames(&by_hand));

    // A cloud that is away: the last plan holds, and what fails is the answer.
    let away = generate("http://127.0.0.1:9");
    let log = String::from_utf8_lossy(&away.stderr).into_owned();
    assert!(log.contains("deploying what was planned last"), "{log}");
    assert!(!away.status.success());
    // Nothing was ever planned: there is nothing to deploy.
    std::fs::remove_file(cache.path().join("edge-plan.json")).unwrap();
    let away = generate("http://127.0.0.1:9");
    let log = String::from_utf8_lossy(&away.stderr).into_owned();
    assert!(
        log.contains("split is auto, and a plan needs the cloud"),
        "{log}"
    );
}

/// What precision costs is part of a plan's grounds: measured anew, it is planned anew.
#[tokio::test]
async fn a_plan_does_not_outlive_what_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("model");
    std::fs::create_dir_all(own.join("codec")).unwrap();
    for entry in std::fs::read_dir(model()).unwrap() {
        let from = entry.unwrap().path();
        if from.is_file() {
            std::fs::copy(&from, own.join(from.file_name().unwrap())).unwrap();
        }
    }
    let config = folder.path().join("edge.yaml");
    let section =
        "plan: {context: 48, prompt_tokens: 20, output_tokens: 10, objective: cloud-seconds}\n";
    std::fs::write(&config, section).unwrap();
    let cloud = Server::cloud(&own, ServerOptions::default()).await.unwrap();
    let start = || {
        let output = Command::new(Binary::EdgeAgent.path())
            .args(["generate", "--max-tokens", "1", "--log-level", "info"])
            .args(["--cloud", &cloud.url(), "--config"])
            .arg(&config)
            .arg("--model")
            .arg(&own)
            .arg("hello")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let kept = || -> Value {
        let file = std::fs::read(own.join("plan/edge-plan.json")).unwrap();
        serde_json::from_slice(&file).unwrap()
    };
    start();
    let fingerprint = kept()["grounds"]["edge"]["weights_fingerprint"].clone();
    assert!(kept()["expected"]["kl_is_bound"].as_bool().unwrap());
    let measured = |kl: f64| {
        let sensitivity = serde_json::json!({
            "weights_fingerprint": fingerprint, "tokens": 8,
            "types": [{"weights": "int8", "layer_kl": [kl, kl, kl], "head_kl": kl}],
        });
        std::fs::write(own.join("codec/sensitivity.json"), sensitivity.to_string()).unwrap();
    };
    measured(1e-4);
    assert!(start().contains("planning again"));
    assert!(start().contains("planned before"));
    measured(1.0);
    let log = start();
    assert!(log.contains("planning again"), "{log}");
    assert_ne!(
        kept()["deployment"]["weights"],
        "int8",
        "int8 costs too much now"
    );
}

/// Two starts agree on what memory a plan may use, and a plan that the owner limits says so.
#[tokio::test]
async fn the_default_memory_is_a_quarter_of_what_the_process_may_take() {
    let cache = tempfile::tempdir().unwrap();
    let cloud = Server::cloud(&model(), ServerOptions::default())
        .await
        .unwrap();
    let limit = || {
        let found = document(&plan(&cloud.url(), cache.path(), &["--json"]));
        found["constraints"]["memory"].as_u64().unwrap()
    };
    let first = limit();
    let machine = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kib = machine.split_whitespace().nth(1).unwrap();
    assert!(4 * first <= kib.parse::<u64>().unwrap() << 10);
    assert_eq!(limit(), first);
    let given = document(&plan(
        &cloud.url(),
        cache.path(),
        &["--json", "--memory", "300MiB"],
    ));
    assert_eq!(given["constraints"]["memory"], 300 << 20);
}

/// With the cloud alone as the answer, the table and the log say so, and why.
#[tokio::test]
async fn an_edge_that_should_not_split_says_why() {
    let cache = tempfile::tempdir().unwrap();
    let cloud = Server::cloud(&model(), ServerOptions::default())
        .await
        .unwrap();
    let ask = |arguments: &[&str]| {
        let objective = ["--objective", "cloud-seconds"];
        plan(
            &cloud.url(),
            cache.path(),
            &[&objective, arguments].concat(),
        )
    };
    let found = document(&ask(&["--json"]));
    assert_eq!(found["by_split"][0]["split"], 0);
    let base = found["by_split"][0]["memory_bytes"].as_u64().unwrap();
    // Room for the process, and for nothing else.
    let text = ask(&["--memory", &format!("{base}B")]);
    let said = String::from_utf8(text.stdout).unwrap();
    let why =
        "Do not split: run all layers in the cloud, because no split holds the limit on memory.";
    assert!(said.contains(why), "{said}");
    let edge = Command::new(Binary::EdgeAgent.path())
        .args(["generate", "--max-tokens", "1", "--log-level", "info"])
        .args(["--cloud", &cloud.url()])
        .args(["--threads", "1", "--config"])
        .arg(config_of(
            cache.path(),
            &format!(", memory: {base}B, objective: cloud-seconds"),
        ))
        .arg("--model")
        .arg(model())
        .arg("hello")
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&edge.stderr).into_owned();
    assert!(log.contains("planned split=0"), "{log}");
    assert!(log.contains(why), "{log}");
}

/// A configuration that plans for small sessions, with more of the section `plan`.
fn config_of(cache: &Path, more: &str) -> std::path::PathBuf {
    let config = cache.join("edge.yaml");
    let section = format!(
        "plan: {{cache: {}, context: 48, prompt_tokens: 20, output_tokens: 10{more}}}\n",
        cache.display()
    );
    std::fs::write(&config, section).unwrap();
    config
}
