//! The whole model in one segment gives transformers' hidden states and logits, however the
//! tokens are dealt out to steps.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::Pipeline;

/// Runs every fixture, once with every layer's residual looked at and once with a single cache.
fn agrees(how: &str, run: impl Fn(&mut Pipeline, &[u32])) {
    for fixture in Fixture::all() {
        let segment = fixture.whole();
        let by_layer = Pipeline::layer_by_layer(&fixture, &segment);
        let at_once = Pipeline::at_once(&fixture, &segment);
        for mut pipeline in [by_layer, at_once] {
            run(&mut pipeline, &fixture.reference.tokens);
            let errors = pipeline.errors(&fixture.reference);
            println!("{how}: {}: {errors}", fixture.name);
            assert!(errors.worst() <= BOUND, "{}: {errors}", fixture.name);
        }
    }
}

#[test]
fn the_fixtures_reach_every_layer() {
    for fixture in Fixture::all() {
        let reference = &fixture.reference;
        assert_eq!(reference.hidden.len(), fixture.config.layers + 1);
        assert!(reference.tokens.len() >= 80);
    }
}

#[test]
fn a_prompt_in_one_step() {
    agrees("prefill", |pipeline, tokens| pipeline.step(tokens));
}

#[test]
fn a_prompt_in_chunks_of_odd_sizes() {
    for rows in [2, 7, 13, 33, 79] {
        agrees(&format!("chunks of {rows}"), |pipeline, tokens| {
            pipeline.steps_of(rows, tokens);
        });
    }
}

#[test]
fn token_by_token() {
    agrees("decode", |pipeline, tokens| pipeline.steps_of(1, tokens));
}

#[test]
fn a_prompt_then_token_by_token_then_another_prompt() {
    agrees("turns", |pipeline, tokens| {
        pipeline.steps_of(19, &tokens[..37]);
        pipeline.steps_of(1, &tokens[37..50]);
        pipeline.step(&tokens[50..]);
    });
}

/// The embedding only widens what is stored: no rounding at all.
#[test]
fn embedded_rows_are_the_stored_ones_to_the_bit() {
    for fixture in Fixture::all() {
        let rows = fixture
            .segment(0, 0)
            .embed(&fixture.reference.tokens)
            .unwrap();
        assert!(rows == fixture.reference.hidden[0], "{}", fixture.name);
    }
}

#[test]
fn logits_are_those_of_the_last_rows() {
    let fixture = Fixture::open("qwen2-bias");
    let segment = fixture.whole();
    let mut cache = segment.kv_cache(segment.range(), 80).unwrap();
    let rows = segment.embed(&fixture.reference.tokens).unwrap();
    let hidden = segment.forward(rows, &mut cache).unwrap();
    let logits = segment.logits(&hidden, 2).unwrap();
    let all = segment.logits(&hidden, 80).unwrap();
    let vocabulary = fixture.config.vocabulary;
    assert_eq!(logits.len(), 2 * vocabulary);
    assert_eq!(all.len(), 80 * vocabulary);
    for (a, b) in logits.iter().zip(&all[78 * vocabulary..]) {
        assert!((a - b).abs() < 1e-4);
    }
}

/// A step without rows is no step.
#[test]
fn no_tokens_change_nothing() {
    let fixture = Fixture::open("llama-mha-untied-bias");
    let segment = fixture.whole();
    let mut pipeline = Pipeline::layer_by_layer(&fixture, &segment);
    pipeline.step(&[]);
    pipeline.step(&fixture.reference.tokens[..40]);
    pipeline.step(&[]);
    pipeline.step(&fixture.reference.tokens[40..]);
    let errors = pipeline.errors(&fixture.reference);
    assert!(errors.worst() <= BOUND, "{errors}");
}
