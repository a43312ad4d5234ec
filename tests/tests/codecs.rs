//! The compressing codecs on the real pair: negotiated, measured, and close to the exact run.

use std::path::Path;
use tandem_tests::altered::AlteredModel;
use tandem_tests::client::{Answer, Client, text_request};
use tandem_tests::paths::{default_model, workspace};
use tandem_tests::process::{Binary, Server, ServerOptions};

const SPLIT: u32 = 10;

/// An answer whose first token the model is sure of.
async fn count_on(cloud: &Server, model: &Path, codec: &str) -> Answer {
    let options = ServerOptions::default().args(["--preset", "exact", "--codec", codec]);
    count_with(cloud, model, options).await
}

/// The same with the codec that an edge takes by itself.
async fn count_by_default(cloud: &Server, model: &Path) -> Answer {
    let options = ServerOptions::default().args(["--preset", "standard", "--weights", "f32"]);
    count_with(cloud, model, options).await
}

async fn count_with(cloud: &Server, model: &Path, options: ServerOptions) -> Answer {
    let edge = Server::edge(model, &cloud.url(), SPLIT, options)
        .await
        .unwrap();
    let client = Client::connect(&edge.url()).await.unwrap();
    client
        .generate(text_request("One, two, three, four, five, six, seven,", 8))
        .await
        .unwrap()
}

#[tokio::test]
async fn every_codec_answers_in_fewer_bits() {
    let model = default_model();
    let cloud = Server::cloud(&model, ServerOptions::default())
        .await
        .unwrap();
    let exact = count_on(&cloud, &model, "f32").await;
    // The smaller ones may choose another word once the model is less sure.
    for (codec, bits, same) in [
        ("bf16", 16.1, 8),
        ("int8", 8.3, 1),
        ("high", 8.1, 8),
        ("tabq", 8.1, 8),
        ("balanced", 7.1, 1),
        ("economy", 4.5, 1),
    ] {
        let answer = count_on(&cloud, &model, codec).await;
        let found = answer.wire().bits_per_value;
        assert!(found < bits, "{codec}: {found} bits a value");
        assert_eq!(answer.ids[..same], exact.ids[..same], "{codec}");
    }
    let metrics = cloud.metrics().await.unwrap();
    assert!(metrics.sum("tandem_cloud_frame_read_seconds_count") > 0.0);
}

#[tokio::test]
async fn a_calibrated_profile_is_used_where_both_sides_have_it() {
    // Copies have none of the profiles that lie beside a model.
    let plain = AlteredModel::copy(&default_model()).unwrap();
    let plain = plain.path();
    let calibrated = AlteredModel::copy(plain).unwrap();
    let text = workspace().join("docs/protocol.md");
    let status = std::process::Command::new(Binary::Eval.path())
        .arg("calibrate")
        .args(["--split", "10", "--context", "256", "--chunks", "12"])
        .args(["--check-chunks", "1", "--model"])
        .arg(calibrated.path())
        .arg("--text")
        .arg(text)
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");

    let bits = |answer: &Answer| answer.wire().bits_per_value;
    let exact = {
        let takes_none = ServerOptions::default().config("limits: {accept_profiles: false}");
        let cloud = Server::cloud(plain, takes_none).await.unwrap();
        let exact = count_on(&cloud, plain, "f32").await;
        // The cloud has no profile, and takes none: frames are not calibrated.
        let uncalibrated = count_by_default(&cloud, calibrated.path()).await;
        let found = bits(&uncalibrated);
        assert!((5.9..7.0).contains(&found), "{found}");
        assert_eq!(uncalibrated.ids, exact.ids);
        exact
    };
    // Where it has none it takes that of an edge on its own machine.
    for cloud_model in [calibrated.path(), plain] {
        let cloud = Server::cloud(cloud_model, ServerOptions::default())
            .await
            .unwrap();
        let answer = count_by_default(&cloud, calibrated.path()).await;
        assert!(bits(&answer) < 5.9, "{}", bits(&answer));
        // Further on the model is less sure, and the profile another with every change of the text.
        assert_eq!(answer.ids[..2], exact.ids[..2]);
    }
}

#[test]
fn generations_count_the_tokens_that_stay_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let prompts = folder.path().join("prompts.jsonl");
    let lines = "{\"prompt\": \"Count to ten.\"}\n{\"turns\": [\"Name a colour.\", \"Why?\"]}\n";
    std::fs::write(&prompts, lines).unwrap();
    let output = std::process::Command::new(Binary::Eval.path())
        .args(["generations", "--split", "10", "--max-tokens", "12"])
        .args(["--codec", "f32,economy", "--json", "--model"])
        .arg(default_model())
        .arg("--prompts")
        .arg(&prompts)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["prompts"], 2);
    let [exact, economy] = [&report["codecs"][0], &report["codecs"][1]];
    assert_eq!(exact["same"], 2);
    let count = |codec: &serde_json::Value| -> u64 {
        let counts = codec["by_prompt"].as_array().unwrap();
        counts.iter().map(|n| n.as_u64().unwrap()).sum()
    };
    assert_eq!(count(exact), report["tokens"].as_u64().unwrap());
    assert!(count(economy) < count(exact), "{report}");
    assert!(economy["same"].as_u64().unwrap() < 2);
}
