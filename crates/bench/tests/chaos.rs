//! `bench-chaos` as a program.

// Failing loudly is what tests are for; clippy.toml exempts only functions marked as tests.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::process::Command;

#[test]
fn answers_are_the_same_whatever_breaks() {
    let program = env!("CARGO_BIN_EXE_bench-chaos");
    let run = Command::new(program)
        .args(["--json", "--faults", "kill,hole,flip", "--times", "1"])
        .args(["--requests", "3", "--clients", "3", "--longest", "2"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let rows: Vec<Value> = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(row["times"][0][1], 1, "{row}");
        let judged = &row["judged"];
        assert!(judged["finished"].as_u64().unwrap() > 0, "{row}");
        assert_eq!(judged["finished"], judged["answers"], "{row}");
        for none in [
            "failed",
            "changed",
            "inexact",
            "tokens_lost",
            "tokens_repeated",
        ] {
            assert_eq!(judged[none], 0, "{row}");
        }
    }
}
