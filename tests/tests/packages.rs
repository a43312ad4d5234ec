//! Packages: `prepare` writes them, both servers run from them alone.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tandem_tests::client::Client;
use tandem_tests::paths::{default_model, fixtures};
use tandem_tests::process::{Binary, Server, ServerOptions};

fn prepare(binary: Binary, model: &Path, out: &Path, arguments: &[&str]) -> Output {
    Command::new(binary.path())
        .args(["prepare", "--model"])
        .arg(model)
        .arg("--out")
        .arg(out)
        .args(arguments)
        .output()
        .unwrap()
}

fn prepared(binary: Binary, model: &Path, out: &Path, arguments: &[&str]) {
    let output = prepare(binary, model, out, arguments);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(&*out.to_string_lossy()), "{said}");
}

async fn answer(edge: &Server) -> Vec<u32> {
    let prompt: Vec<u32> = (0..50).map(|i| (i * 37 + 11) % 300).collect();
    let client = Client::connect(&edge.url()).await.unwrap();
    client.greedy(&prompt, 12).await.unwrap().ids
}

/// The halves find their layers and types in their packages, and pair with each other and with
/// halves of the model itself.
#[tokio::test]
async fn packages_say_what_the_model_quantised_in_memory_says() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixtures().join("models/qwen2-bias");
    let (front, back) = (folder.path().join("front"), folder.path().join("back"));
    let (int4, int8) = ("int4:32,0=int8", "int8");
    let split = ["--split", "2", "--weights", int4];
    prepared(Binary::EdgeAgent, &model, &front, &split);
    let first = ["--first-layer", "1", "--weights", int8];
    prepared(Binary::CloudService, &model, &back, &first);

    let weights = |weights: &str| ServerOptions::default().args(["--weights", weights]);
    let whole = Server::cloud(&model, weights(int8)).await.unwrap();
    let packed = Server::cloud(&back, ServerOptions::default())
        .await
        .unwrap();
    let mut answers = Vec::new();
    for url in [whole.url(), packed.url()] {
        let edge = Server::edge(&model, &url, 2, weights(int4)).await;
        answers.push(answer(&edge.unwrap()).await);
        let edge = Server::edge(&front, &url, 2, ServerOptions::default()).await;
        answers.push(answer(&edge.unwrap()).await);
    }
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
    // At a lower split than it was packed for.
    let edge = Server::edge(&model, &packed.url(), 1, weights("int8")).await;
    let expected = answer(&edge.unwrap()).await;
    let edge = Server::edge(&front, &packed.url(), 1, ServerOptions::default()).await;
    assert_eq!(answer(&edge.unwrap()).await, expected);
}

/// Codes are laid out for the processor when they are loaded, whatever wrote them, and libtorch's own
/// kernels have no part in it.
#[tokio::test]
async fn a_package_of_the_default_model_runs_under_every_vector_width() {
    let folder = tempfile::tempdir().unwrap();
    let front = folder.path().join("front");
    let arguments = [
        "--split",
        "12",
        "--weights",
        "int4:32",
        "--embedding",
        "int8",
    ];
    prepared(Binary::EdgeAgent, &default_model(), &front, &arguments);
    let cloud = Server::cloud(&default_model(), ServerOptions::default())
        .await
        .unwrap();
    for capability in ["avx2", "default"] {
        // No --split: the package's.
        let output = Command::new(Binary::EdgeAgent.path())
            .args([
                "generate",
                "--json",
                "--temperature",
                "0",
                "--max-tokens",
                "10",
                "--codec",
                "f32",
                "--cloud",
                &cloud.url(),
            ])
            .arg("--model")
            .arg(&front)
            .arg("The history of the Roman Empire begins with")
            .env("ATEN_CPU_CAPABILITY", capability)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = answer["text"].as_str().unwrap();
        assert!(
            text.starts_with(" the founding of Rome in 753"),
            "{capability}: {text}"
        );
        assert!(answer["wire"]["bits_per_value"].as_f64().unwrap() > 8.0);
    }
}

#[test]
fn calibration_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixtures().join("models/llama-gqa-llama3-tied");
    let text = folder.path().join("text");
    std::fs::write(
        &text,
        "the quick brown fox jumps over the lazy dog. ".repeat(40),
    )
    .unwrap();
    let text = text.to_str().unwrap();
    let refused = |arguments: &[&str]| {
        let output = prepare(
            Binary::EdgeAgent,
            &model,
            &folder.path().join("none"),
            arguments,
        );
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let short = refused(&["--split", "1", "--calibrate", text]);
    assert!(
        short.contains("are asked for: take a longer text"),
        "{short}"
    );
    let few = ["--calibration-chunks", "2", "--calibration-context", "64"];
    let nothing = [
        &["--split", "1", "--weights", "int8", "--calibrate", text][..],
        &few,
    ]
    .concat();
    assert!(refused(&nothing).contains("no 4-bit codes"));
    let beyond = refused(&["--split", "9"]);
    assert!(beyond.contains('9') && beyond.contains('3'), "{beyond}");

    let out = folder.path().join("calibrated");
    let calibrated = [
        &["--split", "2", "--weights", "int4:32", "--calibrate", text][..],
        &few,
    ];
    prepared(Binary::EdgeAgent, &model, &out, &calibrated.concat());
    let manifest = std::fs::read(out.join("tandem-package.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["calibration_tokens"], 128);
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_damaged_package_stops_the_start_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixtures().join("models/llama-gqa-llama3-tied");
    let out = folder.path().join("front");
    prepared(
        Binary::EdgeAgent,
        &model,
        &out,
        &["--split", "1", "--weights", "int8"],
    );
    let weights = out.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 0x10;
    std::fs::write(&weights, bytes).unwrap();
    let output = Command::new(Binary::EdgeAgent.path())
        .args(["generate", "--cloud", "http://127.0.0.1:1", "--model"])
        .arg(&out)
        .arg("Hello")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("model.safetensors: is not the file that was packed"),
        "{said}"
    );
}
