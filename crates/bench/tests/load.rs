//! `bench-load` as a program.

// Failing loudly is what tests are for; clippy.toml exempts only functions marked as tests.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::process::Command;

/// Runs it for a second behind its warm-up and returns its only level.
fn load(arguments: &[&str]) -> Value {
    let program = env!("CARGO_BIN_EXE_bench-load");
    let run = Command::new(program)
        .args(["--json", "--seconds", "1"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let levels: Value = serde_json::from_slice(&run.stdout).unwrap();
    levels[0].clone()
}

#[test]
fn what_an_edge_sent_loads_a_cloud_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions");
    let file = file.to_str().unwrap();
    let [prompt, answer] = [["--prompt-tokens", "5-40"], ["--tokens", "3-6"]];
    let pair = ["--clients", "2", "--split", "2", "--turns", "2"];
    let recorded = load(&[&pair[..], &prompt, &answer, &["--record", file]].concat());
    let again = load(&["--clients", "3", "--recorded", file]);
    for level in [&recorded, &again] {
        assert!(level["answers"].as_u64().unwrap() > 0, "{level}");
        assert!(level["tokens_per_second"].as_f64().unwrap() > 0.0);
        assert!(level["prompt_tokens_per_second"].as_f64().unwrap() > 0.0);
        assert_eq!(level["failures"], serde_json::json!({}), "{level}");
    }
}
