//! What goes wrong is said in words, where whoever has to mend it looks: on the terminal of a command, in
//! the log of a server, and in its health.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tandem_tests::altered::AlteredModel;
use tandem_tests::client::{Client, ids_request};
use tandem_tests::link::LinkProfile;
use tandem_tests::paths::fixtures;
use tandem_tests::port::ReservedPort;
use tandem_tests::process::{Binary, Pair, PairOptions, Server, ServerOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PROMPT: [u32; 4] = [10, 20, 30, 40];

fn model() -> PathBuf {
    fixtures().join("models/llama-mha-untied-bias")
}

/// A command of edge-agent, run to its end: with backtraces asked for, which nobody is to see.
fn edge_agent(arguments: &[&str]) -> Output {
    Command::new(Binary::EdgeAgent.path())
        .args(arguments)
        .env("RUST_BACKTRACE", "1")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The one line on stderr of a command that fails, without `error: `.
fn complaint(arguments: &[&str]) -> String {
    let output = edge_agent(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = said.trim_end().strip_prefix("error: ");
    said.unwrap_or_else(|| panic!("no `error: `")).to_owned()
}

/// Waits until the log of a server has what is wanted, and returns it.
async fn logged(server: &Server, wanted: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let log = server.log();
        if wanted(&log) {
            return log;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{log}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The page at `/readyz`.
async fn readiness(server: &Server) -> String {
    let mut stream = tokio::net::TcpStream::connect(server.metrics_address())
        .await
        .unwrap();
    let request = b"GET /readyz HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

fn lines<'a>(log: &'a str, what: &'a str) -> impl Iterator<Item = &'a str> {
    log.lines().filter(move |line| line.contains(what))
}

#[tokio::test]
async fn ask_says_what_is_wrong_with_the_port_it_was_given() {
    let openai = ReservedPort::new().unwrap();
    let options = ServerOptions::default().args(["--openai-listen", &openai.address().to_string()]);
    let pair = Pair::start(&model(), 1, PairOptions::default().edge(options))
        .await
        .unwrap();
    let nobody = ReservedPort::new().unwrap();
    let url = |address| format!("http://{address}");
    for (edge, said) in [
        (
            url(openai.address()),
            "does not speak gRPC: it looks like the port of the OpenAI-compatible API",
        ),
        (
            url(pair.edge.metrics_address()),
            "an edge-agent's port for metrics and health",
        ),
        (pair.cloud.url(), "a port of a cloud-service"),
        (
            url(pair.cloud.metrics_address()),
            "a port of a cloud-service",
        ),
        (
            url(nobody.address()),
            "cannot be reached: Connection refused",
        ),
        (
            format!("https://{}", pair.edge.address()),
            "cannot be reached: the server does not speak TLS at this port: write http://",
        ),
    ] {
        let found = complaint(&["ask", "--edge", &edge, "hi"]);
        assert!(found.starts_with(&edge) && found.contains(said), "{found}");
    }
    let found = complaint(&[
        "ask",
        "--edge",
        &pair.edge.url(),
        "--temperature",
        "200",
        "hi",
    ]);
    assert_eq!(
        found,
        "sampling.temperature: must be in [0, 100], is 200 (INVALID_ARGUMENT, SAMPLING)"
    );
}

#[tokio::test]
async fn commands_and_the_log_name_the_cloud_that_they_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&certificate, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let options = ServerOptions::default()
        .arg("--tls-certificate")
        .arg(&certificate)
        .arg("--tls-key")
        .arg(&key);
    let cloud = Server::cloud(&model(), options).await.unwrap();
    let plain = Server::cloud(&model(), ServerOptions::default())
        .await
        .unwrap();
    let model = model();
    let model = model.to_str().unwrap();
    let other_model = fixtures().join("models/qwen3-qknorm");
    let generate = |model: &str, cloud: &str, split: &str| {
        complaint(&[
            "generate", "--model", model, "--cloud", cloud, "--split", split, "hi",
        ])
    };
    for (url, said) in [
        (
            cloud.url(),
            "the server speaks TLS at this port: write https://",
        ),
        (
            format!("https://{}", plain.address()),
            "the server does not speak TLS at this port: write http://",
        ),
        (
            format!("http://{}", plain.metrics_address()),
            "this port speaks gRPC, but is not a cloud-service's listen",
        ),
    ] {
        let found = generate(model, &url, "1");
        assert!(found.starts_with(&url) && found.contains(said), "{found}");
        assert!(
            found.ends_with("(UNAVAILABLE, CLOUD_UNREACHABLE)"),
            "{found}"
        );
        let edge = Server::edge(model.as_ref(), &url, 1, ServerOptions::default())
            .await
            .unwrap();
        let log = logged(&edge, |log| log.contains("the cloud does not answer")).await;
        let warning = lines(&log, "the cloud does not answer").next().unwrap();
        assert!(
            warning.contains(" WARN ") && warning.contains(&url) && warning.contains(said),
            "{warning}"
        );
    }
    let found = generate(other_model.to_str().unwrap(), &plain.url(), "1");
    assert!(
        found.starts_with(&plain.url()) && found.ends_with("(FAILED_PRECONDITION, MODEL)"),
        "{found}"
    );
    let plan = complaint(&["generate", "--model", model, "--cloud", &cloud.url(), "hi"]);
    assert!(
        plan.contains(&cloud.url()) && plan.contains("a plan needs the cloud"),
        "{plan}"
    );
}

#[tokio::test]
async fn an_edge_whose_cloud_is_another_models_is_not_ready_until_one_fits() {
    let fine_tune = AlteredModel::copy(&model()).unwrap();
    let mut cloud = Server::cloud(fine_tune.path(), ServerOptions::default())
        .await
        .unwrap();
    fine_tune
        .set_values("model.layers.2.mlp.up_proj.weight", 5, &[0.125])
        .unwrap();
    // The cloud has the model as it was; the edge reads it as it is now.
    let edge =
        Server::spawn_edge(fine_tune.path(), &cloud.url(), 1, ServerOptions::default()).unwrap();
    let log = logged(&edge, |log| log.contains("does not fit")).await;
    let warning = lines(&log, "does not fit").next().unwrap();
    let fingerprint = |log: &str| {
        let loaded = lines(log, "loaded").next().unwrap();
        let at = loaded.find("fingerprint=").unwrap() + "fingerprint=".len();
        loaded[at..at + 16].to_owned()
    };
    for part in [
        " WARN ",
        &cloud.url(),
        &fingerprint(&edge.log()),
        &fingerprint(&cloud.log()),
        "give both the same model",
    ] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    assert!(!log.contains("the cloud answers"), "{log}");
    let service = "tandem.v1.GenerationService";
    for name in ["", service] {
        let health = edge.health(name).await.unwrap();
        assert_eq!(
            health,
            tonic_health::pb::health_check_response::ServingStatus::NotServing
        );
    }
    let page = readiness(&edge).await;
    assert!(
        page.contains(" 503 ")
            && page.contains(service)
            && page.contains(&fingerprint(&cloud.log())),
        "{page}"
    );

    let mut edge = edge;
    cloud.restart().await.unwrap();
    edge.wait_serving().await.unwrap();
    logged(&edge, |log| log.contains("the cloud answers")).await;

    // And back: a cloud that comes again as another model's is found when it refuses a session.
    fine_tune
        .set_values("model.layers.2.mlp.up_proj.weight", 5, &[0.25])
        .unwrap();
    cloud.restart().await.unwrap();
    let client = Client::connect(&edge.url()).await.unwrap();
    client.greedy(&PROMPT, 2).await.unwrap_err();
    logged(&edge, |log| lines(log, "does not fit").count() > 1).await;
    assert!(readiness(&edge).await.contains(" 503 "));
}

#[tokio::test]
async fn a_split_that_the_cloud_does_not_hold_is_a_misfit() {
    let options = ServerOptions::default().args(["--first-layer", "2"]);
    let cloud = Server::cloud(&model(), options).await.unwrap();
    let edge = Server::spawn_edge(&model(), &cloud.url(), 1, ServerOptions::default()).unwrap();
    logged(&edge, |log| {
        lines(log, "does not fit")
            .any(|line| line.contains("below 1") && line.contains("from 2 to 3"))
    })
    .await;
}

#[tokio::test]
async fn every_answer_has_a_line_that_says_how_it_ended() {
    let slow = LinkProfile::new(Duration::from_millis(40), None);
    let impatient = ServerOptions::default().args(["--replay-within", "1s"]);
    let options = PairOptions::default().link(slow).edge(impatient);
    let mut pair = Pair::start(&model(), 1, options).await.unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    client.greedy(&PROMPT, 3).await.unwrap();
    let log = logged(&pair.edge, |log| log.contains("answer ended")).await;
    let line = lines(&log, "answer ended").next().unwrap();
    for part in [
        " INFO ",
        "peer=anonymous",
        "reason=\"length\"",
        "prompt_tokens=4",
        "tokens=3",
        "seconds=",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }

    let mut bad = ids_request(&PROMPT, 3);
    bad.sampling.as_mut().unwrap().temperature = Some(-1.0);
    client.generate(bad).await.unwrap_err();
    let log = logged(&pair.edge, |log| log.contains("request refused")).await;
    let line = lines(&log, "request refused").next().unwrap();
    assert!(
        line.contains(" INFO ") && line.contains("reason=\"SAMPLING\""),
        "{line}"
    );

    let mut gone = client.clone();
    let mut stream = gone
        .raw()
        .generate(ids_request(&PROMPT, 100))
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap();
    drop(stream);
    let log = logged(&pair.edge, |log| log.contains("CANCELLED")).await;
    let line = lines(&log, "CANCELLED").next().unwrap();
    assert!(
        line.contains(" INFO ") && line.contains("answer failed"),
        "{line}"
    );

    let mut cut = client.clone();
    let mut stream = cut
        .raw()
        .generate(ids_request(&PROMPT, 100))
        .await
        .unwrap()
        .into_inner();
    for _ in 0..3 {
        stream.message().await.unwrap().unwrap();
    }
    pair.cloud.kill();
    while let Ok(Some(_)) = stream.message().await {}
    let log = logged(&pair.edge, |log| log.contains("CLOUD_UNREACHABLE")).await;
    let line = lines(&log, "CLOUD_UNREACHABLE").next().unwrap();
    for part in [
        " WARN ",
        "answer failed",
        "code=\"UNAVAILABLE\"",
        "the cloud cannot be reached",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains(" tokens=0"), "{line}");
}

#[tokio::test]
async fn ask_says_after_how_many_tokens_the_edge_was_lost() {
    let slow = LinkProfile::new(Duration::from_millis(100), None);
    let mut pair = Pair::start(&model(), 1, PairOptions::default().link(slow))
        .await
        .unwrap();
    let edge = pair.edge.url();
    let asking = Command::new(Binary::EdgeAgent.path())
        .args(["ask", "--edge", &edge, "--ignore-eos", "hi"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let tokens = |metrics: &tandem_tests::process::Metrics| {
        metrics.sum("tandem_edge_generation_tokens_total") >= 4.0
    };
    let wait = Duration::from_secs(30);
    pair.edge.wait_metrics(wait, tokens).await.unwrap();
    pair.edge.kill();
    let output = asking.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let lost = format!("error: the connection to {edge} was lost after ");
    assert!(
        said.starts_with(&lost) && said.contains(" tokens"),
        "{said}"
    );
    assert!(
        !said.contains("h2 protocol error") && said.lines().count() == 1,
        "{said}"
    );
}

#[tokio::test]
async fn a_server_outlives_the_reader_of_its_log() {
    for (binary, cloud) in [(Binary::CloudService, None), (Binary::EdgeAgent, Some("1"))] {
        let (port, admin) = (ReservedPort::new().unwrap(), ReservedPort::new().unwrap());
        let mut command = Command::new(binary.path());
        command
            .args(["serve", "--log-level", "debug", "--model"])
            .arg(model())
            .args(["--listen", &port.address().to_string()])
            .args(["--metrics-listen", &admin.address().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(split) = cloud {
            command.args(["--split", split, "--cloud", "http://127.0.0.1:1"]);
        }
        let mut server = command.spawn().unwrap();
        // Every line that it writes from now on finds nobody.
        drop(server.stderr.take());
        let healthy = || {
            let mut asked = Command::new(binary.path());
            asked.args(["health", "--address", &admin.address().to_string()]);
            asked.output().unwrap().status.success()
        };
        let began = Instant::now();
        while !healthy() {
            let ended = server.try_wait().unwrap();
            assert!(ended.is_none(), "{}: {ended:?}", binary.name());
            assert!(began.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(server.try_wait().unwrap().is_none(), "{}", binary.name());
        server.kill().unwrap();
        server.wait().unwrap();
    }
    let printed = Command::new("sh")
        .args(["-c", "\"$0\" config | head -n 1"])
        .arg(Binary::EdgeAgent.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&printed.stderr), "");
}

#[tokio::test]
async fn the_last_line_of_a_servers_log_is_why_it_ended() {
    for (format, level, backtrace) in [
        ("text", "info", false),
        ("text", "debug", true),
        ("json", "info", false),
    ] {
        let options = ServerOptions::default().env("RUST_BACKTRACE", "1").args([
            "--context",
            "4k",
            "--log-format",
            format,
            "--log-level",
            level,
        ]);
        let mut cloud = Server::spawn_cloud(&model(), options).unwrap();
        let status = cloud.wait(Duration::from_secs(20)).await.unwrap();
        assert_eq!(status.code(), Some(1));
        let log = cloud.log();
        let last = log.lines().last().unwrap();
        let why = "sessions.context is 4096, the model attends over 256 positions";
        match format {
            "json" => {
                let line: serde_json::Value = serde_json::from_str(last).unwrap();
                assert_eq!(
                    (&line["level"], &line["message"]),
                    (&"ERROR".into(), &why.into())
                );
            }
            _ => assert_eq!(last, format!("error: {why}")),
        }
        assert_eq!(
            log.contains("cloud_service::"),
            log.contains("INFO") || backtrace,
            "{log}"
        );
        assert_eq!(log.contains(".rs:"), backtrace, "{log}");
    }
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_configuration_is_said_at_once() {
    let options = ServerOptions::default()
        .config("sesions: 3\nthreads: 5000\nsessions:\n  max: 0\n  contxt: 2\n  idle_ttl: 5\n");
    let mut edge = Server::spawn_edge(&model(), "http://127.0.0.1:1", 1, options).unwrap();
    assert!(!edge.wait(Duration::from_secs(20)).await.unwrap().success());
    let log = edge.log();
    for part in [
        ":1: sesions: unknown field",
        ":2: threads: is 5000, must be at most 1024",
        ":4: sessions.max: is 0, must be at least 1",
        ":5: sessions.contxt: unknown field",
        ":6: sessions.idle_ttl: `5` has no unit",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

/// The edge has every layer, and the cloud norm, head and sampling: in each codec's way, and with a cloud that
/// loads no layer at all.
#[tokio::test]
async fn a_split_behind_the_last_layer_is_served() {
    let options = ServerOptions::default().args(["--first-layer", "3"]);
    let cloud = Server::cloud(&model(), options).await.unwrap();
    let whole = Server::cloud(&model(), ServerOptions::default())
        .await
        .unwrap();
    let mut answers = Vec::new();
    for (cloud, split) in [(&whole, 0), (&whole, 3), (&cloud, 3)] {
        let edge = Server::edge(&model(), &cloud.url(), split, ServerOptions::default())
            .await
            .unwrap();
        let client = Client::connect(&edge.url()).await.unwrap();
        answers.push(client.greedy(&PROMPT, 12).await.unwrap().ids);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    let model = model();
    let found = complaint(&[
        "generate",
        "--model",
        model.to_str().unwrap(),
        "--cloud",
        &whole.url(),
        "--split",
        "4",
        "hi",
    ]);
    assert!(
        found.contains("split is 4, the model has 3 layers"),
        "{found}"
    );
}
