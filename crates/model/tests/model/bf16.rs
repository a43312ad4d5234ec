//! bf16 weights are the same model, rounded.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::{Errors, Pipeline};
use tandem_model::Segment;
use tandem_shape::{LayerRange, WeightType};

/// A rounding in bf16 is 2^16 times one in f32. The errors in f32 are 6e-7 to 5e-6, which makes
/// 0.04 to 0.3; measured are 0.016 to 0.066. Every mistake in `tests/fixtures/mutations.md` that
/// is not in the head alone shows with 0.13 or more.
const BF16_BOUND: f64 = 0.125;

fn outcome(fixture: &Fixture, parts: &[(&Segment, LayerRange)]) -> Errors {
    let tokens = &fixture.reference.tokens;
    let mut pipeline = Pipeline::new(parts, tokens.len());
    pipeline.steps_of(31, &tokens[..62]);
    pipeline.step(&tokens[10..28]);
    pipeline.truncate(62);
    pipeline.steps_of(1, &tokens[62..]);
    pipeline.errors(&fixture.reference)
}

fn is_rounded(name: &str, errors: Errors) {
    println!("{name}: {errors}");
    assert!(errors.worst() <= BF16_BOUND, "{name}: {errors}");
    assert!(errors.worst() > BOUND, "{name}: not bf16: {errors}");
}

#[test]
fn a_model_in_bf16_is_close_to_the_reference() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        let segment = fixture.segment_in(WeightType::Bf16, 0, layers);
        let layer = |l| (&segment, fixture.range(l, l + 1));
        let by_layer: Vec<_> = (0..layers).map(layer).collect();
        is_rounded(&fixture.name, outcome(&fixture, &by_layer));
        let at_once = [(&segment, segment.range())];
        is_rounded(&fixture.name, outcome(&fixture, &at_once));
    }
}

/// A front in bf16 and a back in f32 understand each other: rows are f32 on both sides.
#[test]
fn a_front_in_bf16_feeds_a_back_in_f32() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        for cut in 1..layers {
            let front = fixture.segment_in(WeightType::Bf16, 0, cut);
            let back = fixture.segment(cut, layers);
            let parts = [(&front, front.range()), (&back, back.range())];
            is_rounded(&fixture.name, outcome(&fixture, &parts));
        }
    }
}

#[test]
fn keys_and_values_in_bf16_take_half_the_memory() {
    let fixture = Fixture::open("llama-bf16");
    let bytes = |weights| {
        let segment = fixture.segment_in(weights, 1, 3);
        segment.kv_bytes(segment.range(), 100)
    };
    // 2 layers, keys and values, 100 positions in whole pages, 3 heads of 8 values.
    assert_eq!(bytes(WeightType::Bf16), 2 * 2 * 128 * 3 * 8 * 2);
    assert_eq!(bytes(WeightType::F32), 2 * 2 * 128 * 3 * 8 * 4);
}
