//! What many sessions share, worked by hand.

#![allow(clippy::unwrap_used, reason = "what an instance lacks fails its test")]

#[allow(dead_code, reason = "instances drawn at random are for the search")]
mod instance;

use instance::hand_made;
use tandem_planner::{Candidate, Curve, estimate, sharing};

fn candidate() -> Candidate {
    Candidate {
        split: 1,
        weights: vec![0],
        kv: 0,
        codec: 0,
    }
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
}

/// A step of the cloud takes 3 layers and the head, 6 seconds, with however many rows; a token takes 2 on the edge, 1 up,
/// 1 of round trip and 0.32 down besides.
#[test]
fn a_step_is_shared_by_those_who_are_there() {
    let mut problem = hand_made();
    let alone = estimate(&problem, &candidate());
    let prompt = 3.0 * alone.cloud - 2.0 * 6.0;
    let shared = sharing(&problem, &candidate());
    close(shared.cloud_now, alone.cloud);
    close(shared.token_limit, 2.0 * 10.32);
    close(shared.cloud_shared, (prompt + 2.0 * 6.0 / 64.0) / 3.0);
    let device = alone.first_token + 2.0 * (4.32 + 9.0);
    let devices = device / (prompt + 2.0 * 6.0 / 64.0);
    assert_eq!(shared.devices, devices as usize);
    problem.cloud.running = 3;
    let beside = sharing(&problem, &candidate());
    close(beside.cloud_now, (prompt + 2.0 * 6.0 / 4.0) / 3.0);
    assert_eq!(beside.devices, shared.devices);
}

#[test]
fn rows_that_cost_as_much_as_steps_are_not_shared() {
    let mut problem = hand_made();
    let layer = Curve::new(vec![(1.0, 1.0), (64.0, 64.0)]).unwrap();
    problem.cloud.times.layer = layer;
    let alone = estimate(&problem, &candidate());
    problem.cloud.running = 9;
    close(sharing(&problem, &candidate()).cloud_now, alone.cloud);
    // Nobody may be waited for.
    problem.constraints.token_deadline = Some(10.33);
    let shared = sharing(&problem, &candidate());
    assert_eq!((shared.devices, shared.token_limit), (1, 10.33));
    close(shared.cloud_shared, alone.cloud);
}
