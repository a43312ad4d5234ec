//! What drafts do to a token's time, on an instance worked by hand.

#![allow(clippy::unwrap_used, reason = "what an instance lacks fails its test")]

mod instance;

use instance::{Knobs, hand_made, problem};
use proptest::prelude::*;
use tandem_planner::{Candidate, DraftProfile, DraftStart, Problem, drafted, estimate};

fn with_drafts(problem: Problem, starts: &[(f64, &[f64])]) -> Problem {
    let starts = starts.iter().map(|&(count, chances)| DraftStart {
        count,
        chances: chances.to_vec(),
    });
    Problem {
        drafts: Some(DraftProfile {
            starts: starts.collect(),
            most: 2,
        }),
        ..problem
    }
}

fn split(split: usize) -> Candidate {
    Candidate {
        split,
        weights: vec![0; split],
        kv: 0,
        codec: 0,
    }
}

/// At split 2 a round trip takes 11.32 s, and 0.71 s more with each other row: of its bytes and its id's.
#[test]
fn round_trips_with_drafts_bring_more_and_take_longer() {
    let problem = with_drafts(hand_made(), &[(1.0, &[0.5, 0.5]), (1.0, &[])]);
    let found = drafted(&problem, &split(2)).unwrap();
    // One of 3 rows brings 1 + 1/2 + 1/4, one of 1 row 1.
    assert!(
        (found.token - (12.74 + 11.32) / 2.75).abs() < 1e-9,
        "{found:?}"
    );
    assert!((found.tokens - 1.375).abs() < 1e-9 && (found.rows - 2.0).abs() < 1e-9);
    // The prompt's 7 s, and two tokens of steps of 5 s.
    assert!((found.cloud - (7.0 + 2.0 * 10.0 / 2.75) / 3.0).abs() < 1e-9);
}

#[test]
fn drafts_that_are_not_worth_their_rows_are_not_made() {
    let problem = with_drafts(hand_made(), &[(3.0, &[0.05, 0.9])]);
    let (found, alone) = (
        drafted(&problem, &split(2)).unwrap(),
        estimate(&problem, &split(2)),
    );
    assert!((found.token - alone.token).abs() < 1e-9);
    assert!((found.cloud - alone.cloud).abs() < 1e-9);
    assert_eq!((found.tokens, found.rows), (1.0, 1.0));
}

#[test]
fn nothing_is_said_where_nothing_is_known() {
    assert_eq!(drafted(&hand_made(), &split(2)), None);
    let problem = with_drafts(hand_made(), &[]);
    assert_eq!(drafted(&problem, &split(2)), None);
}

proptest! {
    /// Where rows take no less together than alone nothing is lost by drafts, and a round trip brings no more than it
    /// has rows.
    #[test]
    fn a_token_never_takes_longer(
        knobs in Knobs::any(),
        chances in prop::collection::vec(0.0f64..=1.0, 2),
    ) {
        let problem = with_drafts(problem(&knobs), &[(1.0, &chances), (0.5, &[])]);
        let candidate = Candidate::cloud_only();
        let (found, alone) = (drafted(&problem, &candidate).unwrap(), estimate(&problem, &candidate));
        prop_assert!(found.token <= alone.token * (1.0 + 1e-9), "{found:?} {alone:?}");
        prop_assert!(found.tokens <= found.rows + 1e-9);
    }
}
