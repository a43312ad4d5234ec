//! A model cut in parts gives what the whole gives: the parts share nothing but rows of values.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::Pipeline;
use tandem_model::Segment;
use tandem_shape::LayerRange;

fn agrees(fixture: &Fixture, parts: &[(&Segment, LayerRange)]) {
    let tokens = &fixture.reference.tokens;
    let (prompt, answer) = tokens.split_at(tokens.len() - 9);
    for chunk in [prompt.len(), 31] {
        let mut pipeline = Pipeline::new(parts, tokens.len());
        pipeline.steps_of(chunk, prompt);
        pipeline.steps_of(1, answer);
        let errors = pipeline.errors(&fixture.reference);
        let ranges: Vec<String> = parts.iter().map(|(_, r)| r.to_string()).collect();
        println!("{} cut as {ranges:?}: {errors}", fixture.name);
        assert!(
            errors.worst() <= BOUND,
            "{} {ranges:?}: {errors}",
            fixture.name
        );
    }
}

/// From 0, where the front only embeds, to the last, where the back only has norm and head.
#[test]
fn at_every_cut_two_segments_are_the_model() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        for cut in 0..=layers {
            let (front, back) = (fixture.segment(0, cut), fixture.segment(cut, layers));
            agrees(&fixture, &[(&front, front.range()), (&back, back.range())]);
        }
    }
}

#[test]
fn a_segment_for_each_layer_is_the_model() {
    for fixture in Fixture::all() {
        let load = |layer| fixture.segment(layer, layer + 1);
        let segments: Vec<Segment> = (0..fixture.config.layers).map(load).collect();
        let parts: Vec<_> = segments.iter().map(|s| (s, s.range())).collect();
        agrees(&fixture, &parts);
    }
}

/// What a cloud does that holds the model and serves many cuts: the cache says which layers run.
#[test]
fn a_whole_model_runs_the_layers_of_its_cache_only() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        let whole = fixture.whole();
        for cut in 0..=layers {
            let front = fixture.segment(0, cut);
            agrees(
                &fixture,
                &[
                    (&front, front.range()),
                    (&whole, fixture.range(cut, layers)),
                ],
            );
        }
        let thirds = [
            (&whole, fixture.range(0, 2)),
            (&whole, fixture.range(2, layers)),
        ];
        agrees(&fixture, &thirds);
    }
}

/// Sessions of one segment do not see each other.
#[test]
fn two_caches_in_turn_do_not_mix() {
    let fixture = Fixture::open("qwen3-qknorm");
    let segment = fixture.whole();
    let tokens = &fixture.reference.tokens;
    let other: Vec<u32> = tokens.iter().rev().copied().collect();
    let mut one = Pipeline::layer_by_layer(&fixture, &segment);
    let mut two = Pipeline::at_once(&fixture, &segment);
    for (right, wrong) in tokens.chunks(11).zip(other.chunks(11)) {
        one.step(right);
        two.step(wrong);
    }
    let errors = one.errors(&fixture.reference);
    assert!(errors.worst() <= BOUND, "{errors}");
}
