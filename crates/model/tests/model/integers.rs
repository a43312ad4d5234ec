//! Integer weights are the same model, rounded more.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::{Errors, Pipeline};
use crate::rewritten::{Tensors, load_in, says};
use tandem_model::Segment;
use tandem_shape::{Group, WeightType};

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

/// An integer would make a number of it, and hide it.
#[test]
fn a_weight_that_is_no_number_is_named() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let mut tensors = Tensors::of(&fixture);
    let name = "model.layers.1.mlp.up_proj.weight";
    let values = tensors.get(name);
    let last = values.bytes.len() - 4;
    values.bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let directory = tempfile::tempdir().unwrap();
    let path = tensors.write(directory.path());
    for weights in [WeightType::Int8, WeightType::Int4(Group::G64)] {
        let error = load_in(weights, directory.path(), &fixture.config, 0..2).unwrap_err();
        says(error, &[&path.to_string_lossy(), name, "NaN"]);
        assert!(load_in(weights, directory.path(), &fixture.config, 0..1).is_ok());
    }
    assert!(load_in(WeightType::F32, directory.path(), &fixture.config, 0..2).is_ok());
}
