//! After a truncation it is as if the positions cut off had never been run.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::{Errors, Pipeline};

/// Runs every fixture at once, layer by layer, and cut in two.
fn agrees(run: impl Fn(&mut Pipeline, &[u32])) {
    for (name, errors) in outcomes(run) {
        println!("{name}: {errors}");
        assert!(errors.worst() <= BOUND, "{name}: {errors}");
    }
}

fn outcomes(run: impl Fn(&mut Pipeline, &[u32])) -> Vec<(String, Errors)> {
    let mut outcomes = Vec::new();
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        let (whole, front, back) = (
            fixture.whole(),
            fixture.segment(0, 1),
            fixture.segment(1, layers),
        );
        let parts = [(&front, front.range()), (&back, back.range())];
        for mut pipeline in [
            Pipeline::at_once(&fixture, &whole),
            Pipeline::layer_by_layer(&fixture, &whole),
            Pipeline::new(&parts, fixture.reference.tokens.len()),
        ] {
            run(&mut pipeline, &fixture.reference.tokens);
            outcomes.push((fixture.name.clone(), pipeline.errors(&fixture.reference)));
        }
    }
    outcomes
}

/// Tokens that are not the reference's.
fn others(tokens: &[u32]) -> Vec<u32> {
    tokens.iter().map(|id| (id + 101) % 320).collect()
}

#[test]
fn the_end_can_be_run_again() {
    agrees(|pipeline, tokens| {
        pipeline.step(tokens);
        pipeline.truncate(41);
        pipeline.steps_of(17, &tokens[41..]);
        pipeline.truncate(tokens.len() - 1);
        pipeline.step(&tokens[tokens.len() - 1..]);
    });
}

#[test]
fn everything_can_be_run_again() {
    agrees(|pipeline, tokens| {
        pipeline.step(tokens);
        pipeline.truncate(0);
        pipeline.steps_of(1, tokens);
        pipeline.truncate(0);
        pipeline.step(tokens);
    });
}

/// An answer that was cut off, and the prompt that followed instead.
#[test]
fn other_tokens_in_between_leave_no_trace() {
    agrees(|pipeline, tokens| {
        let wrong = others(tokens);
        pipeline.step(&tokens[..30]);
        pipeline.step(&wrong[30..60]);
        pipeline.steps_of(1, &wrong[60..70]);
        pipeline.truncate(30);
        pipeline.steps_of(1, &tokens[30..45]);
        pipeline.step(&wrong[45..]);
        pipeline.truncate(45);
        pipeline.step(&tokens[45..]);
    });
}

/// Without the truncation the other tokens do show, or the test above would prove nothing.
#[test]
fn other_tokens_that_stay_are_seen() {
    let kept = |pipeline: &mut Pipeline, tokens: &[u32]| {
        pipeline.step(&tokens[..30]);
        pipeline.step(&others(tokens)[30..33]);
        pipeline.step(&tokens[33..]);
    };
    for (name, errors) in outcomes(kept) {
        assert!(errors.hidden > 20.0 * BOUND, "{name}: {errors}");
        assert!(errors.logits > 20.0 * BOUND, "{name}: {errors}");
    }
}

#[test]
fn a_truncation_past_the_end_changes_nothing() {
    agrees(|pipeline, tokens| {
        pipeline.step(&tokens[..50]);
        pipeline.truncate(50);
        pipeline.truncate(1000);
        pipeline.step(&tokens[50..]);
    });
}
