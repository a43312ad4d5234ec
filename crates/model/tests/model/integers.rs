//! Integer weights are the same model, rounded more.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::{Errors, Pipeline};
use tandem_model::{Group, Segment, WeightType};

fn outcome(fixture: &Fixture, parts: &[&Segment]) -> Errors {
    let parts: Vec<_> = parts.iter().map(|s| (*s, s.range())).collect();
    let tokens = &fixture.reference.tokens;
    let mut pipeline = Pipeline::new(&parts, tokens.len());
    pipeline.steps_of(31, &tokens[..62]);
    pipeline.step(&tokens[10..28]);
    pipeline.truncate(62);
    pipeline.steps_of(1, &tokens[62..]);
    pipeline.errors(&fixture.reference)
}

#[test]
fn a_model_in_integers_is_near_the_reference() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        let mut before = BOUND;
        for (weights, bound) in [(WeightType::Int8, 0.2), (WeightType::Int4(Group::G32), 1.5)] {
            let segment = fixture.segment_in(weights, 0, layers);
            let errors = outcome(&fixture, &[&segment]);
            println!("{} in {weights}: {errors}", fixture.name);
            assert!(errors.worst() <= bound, "{}: {errors}", fixture.name);
            assert!(
                errors.worst() > before,
                "{}: not {weights}: {errors}",
                fixture.name
            );
            before = errors.worst();
        }
    }
}

/// A front in integers and a back in f32 understand each other: rows are f32 on both sides.
#[test]
fn a_front_in_integers_feeds_a_back_in_f32() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        let front = fixture.segment_in(WeightType::Int8, 0, 1);
        let back = fixture.segment(1, layers);
        let errors = outcome(&fixture, &[&front, &back]);
        assert!(errors.worst() <= 0.2, "{}: {errors}", fixture.name);
        assert!(
            errors.worst() > BOUND,
            "{}: not int8: {errors}",
            fixture.name
        );
    }
}
