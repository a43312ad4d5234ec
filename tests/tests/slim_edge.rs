//! The edge without libtorch, as `scripts/slim-edge` builds it, beside a full cloud. `scripts/test-slim-edge` runs
//! these tests.

use std::path::PathBuf;
use std::process::Command;
use tandem_tests::client::{Client, text_request};
use tandem_tests::paths::{default_model, fixtures, workspace};
use tandem_tests::process::{Server, ServerOptions};

fn slim() -> PathBuf {
    let machine = std::env::consts::ARCH;
    workspace()
        .join("target/slim")
        .join(machine)
        .join("edge-agent")
}

async fn cloud(model: &std::path::Path) -> Server {
    Server::cloud(model, ServerOptions::default())
        .await
        .unwrap()
}

/// Rows that differ in a bit would be other frames, and the sampled ids differ soon.
#[tokio::test]
#[ignore = "takes the program that scripts/slim-edge builds"]
async fn answers_are_those_of_the_full_edge() {
    for (model, split) in [
        (default_model(), 10),
        (default_model(), 0),
        (fixtures().join("models/qwen2-bias"), 2),
        (fixtures().join("models/qwen3-qknorm"), 1),
    ] {
        let cloud = cloud(&model).await;
        for (weights, kv, codec) in [
            ("f32", "f32", "f32"),
            ("int8", "int8", "high"),
            ("int4", "int4", "balanced"),
        ] {
            let types = ["--weights", weights, "--kv", kv, "--codec", codec];
            let mut answers = Vec::new();
            for program in [None, Some(slim())] {
                let mut options = ServerOptions::default().args(types);
                if let Some(program) = program {
                    options = options.program(program);
                }
                let edge = Server::edge(&model, &cloud.url(), split, options)
                    .await
                    .unwrap();
                let client = Client::connect(&edge.url()).await.unwrap();
                let prompt: Vec<u32> = (0..70).map(|i| (i * 37 + 11) % 300).collect();
                let answer = client.greedy(&prompt, 24).await.unwrap();
                answers.push((answer.ids.clone(), answer.wire().frame_bytes));
            }
            assert_eq!(
                answers[0], answers[1],
                "{weights}, {kv}, {codec} at {split}"
            );
        }
    }
}

/// Text, templates and sampling by the model's own defaults.
#[tokio::test]
#[ignore = "takes the program that scripts/slim-edge builds"]
async fn it_is_an_edge_like_any_other() {
    let model = default_model();
    let cloud = cloud(&model).await;
    let options = ServerOptions::default()
        .args(["--preset", "standard"])
        .program(slim());
    let edge = Server::edge(&model, &cloud.url(), 10, options)
        .await
        .unwrap();
    let client = Client::connect(&edge.url()).await.unwrap();
    let answer = client
        .generate(text_request("The sea is", 8))
        .await
        .unwrap();
    assert!(!answer.text().is_empty());
}

#[test]
#[ignore = "takes the program that scripts/slim-edge builds"]
fn what_takes_libtorch_is_refused_by_name() {
    for (flag, value) in [
        ("--backend", "torch"),
        ("--weights", "bf16"),
        ("--weights", "int8,0=bf16"),
        ("--device", "cuda"),
    ] {
        let ended = Command::new(slim())
            .args(["serve", "--model", "/none", "--split", "1", flag, value])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success());
        let key = flag.trim_start_matches('-');
        assert!(
            said.contains(key)
                && said.contains("takes libtorch, which this program was built without"),
            "{said}"
        );
    }
}

/// One file that needs nothing of the system.
#[test]
#[ignore = "takes the program that scripts/slim-edge builds"]
fn it_is_static_and_small() {
    let size = slim().metadata().unwrap().len();
    assert!(size <= 30_000_000, "{size} bytes");
    let listed = Command::new("ldd").arg(slim()).output().unwrap();
    let said = [listed.stdout, listed.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("statically linked") || said.contains("not a dynamic executable"),
        "{said}"
    );
}
