//! Keys and values in fewer bits are the same model, rounded more.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::{Errors, Pipeline};
use tandem_model::Segment;
use tandem_shape::{KvType, LayerRange};

/// Types, and the largest error that each may make.
const BOUNDS: [(KvType, f64); 3] = [
    (KvType::Bf16, 0.05),
    (KvType::Int8, 0.08),
    (KvType::Int4, 1.5),
];

/// All positions: a prompt in chunks, a truncation, a decode.
fn turns(pipeline: &mut Pipeline, tokens: &[u32]) {
    pipeline.steps_of(31, &tokens[..62]);
    pipeline.step(&tokens[10..28]);
    pipeline.truncate(62);
    pipeline.steps_of(1, &tokens[62..]);
}

fn outcome(
    fixture: &Fixture,
    parts: &[(&Segment, LayerRange)],
    run: impl Fn(&mut Pipeline, &[u32]),
) -> (Errors, Vec<f32>) {
    let tokens = &fixture.reference.tokens;
    let mut pipeline = Pipeline::new(parts, tokens.len());
    run(&mut pipeline, tokens);
    let output = pipeline.output().to_vec();
    (pipeline.errors(&fixture.reference), output)
}

#[test]
fn a_model_with_rounded_keys_and_values_is_near_the_reference() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        for (kv, bound) in BOUNDS {
            let segment = fixture.segment_with_kv(kv, 0, layers);
            let parts = [(&segment, segment.range())];
            let (errors, _) = outcome(&fixture, &parts, turns);
            println!("{} with {kv}: {errors}", fixture.name);
            assert!(errors.worst() <= bound, "{} {kv}: {errors}", fixture.name);
            let exact = errors.worst() <= BOUND;
            assert!(!exact, "{}: not {kv}: {errors}", fixture.name);
        }
    }
}

/// To the bit.
#[test]
fn a_row_is_the_same_whichever_rows_run_with_it() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        for kv in KvType::ALL {
            let segment = fixture.segment_with_kv(kv, 0, layers);
            let parts = [(&segment, segment.range())];
            let (_, by_turns) = outcome(&fixture, &parts, turns);
            let (_, one_by_one) = outcome(&fixture, &parts, |p, tokens| p.steps_of(1, tokens));
            let (_, at_once) = outcome(&fixture, &parts, |p, tokens| p.step(tokens));
            assert!(by_turns == at_once, "{} {kv}", fixture.name);
            assert!(one_by_one == at_once, "{} {kv}", fixture.name);
        }
    }
}

#[test]
fn at_every_cut_two_segments_are_the_whole() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        for (kv, bound) in BOUNDS {
            let whole = fixture.segment_with_kv(kv, 0, layers);
            let (_, expected) = outcome(&fixture, &[(&whole, whole.range())], turns);
            for cut in 0..=layers {
                let front = fixture.segment_with_kv(kv, 0, cut);
                let back = fixture.segment_with_kv(kv, cut, layers);
                let parts = [(&front, front.range()), (&back, back.range())];
                let (errors, output) = outcome(&fixture, &parts, turns);
                assert!(errors.worst() <= bound, "{} {kv}: {errors}", fixture.name);
                assert!(output == expected, "{} {kv} at {cut}", fixture.name);
            }
        }
    }
}

/// The bounds can fail: what 4 bits lose, or angles of another series, exceed that of 8 bits.
#[test]
fn more_than_a_rounding_exceeds_the_bound() {
    let bound = BOUNDS[1].1;
    for mut fixture in Fixture::all() {
        let layers = fixture.config.layers;
        let coarse = fixture.segment_with_kv(KvType::Int4, 0, layers);
        let (errors, _) = outcome(&fixture, &[(&coarse, coarse.range())], turns);
        assert!(errors.worst() > bound, "{} coarse: {errors}", fixture.name);
        fixture.config.rope.theta *= 10.0;
        let turned = fixture.segment_with_kv(KvType::Int8, 0, layers);
        let (errors, _) = outcome(&fixture, &[(&turned, turned.range())], turns);
        println!("{} turned: {errors}", fixture.name);
        assert!(errors.worst() > bound, "{} turned: {errors}", fixture.name);
    }
}

#[test]
fn a_cache_takes_what_its_type_says() {
    let fixture = Fixture::open("llama-bf16");
    // 2 layers, keys and values, 64 positions (40 in whole pages), 3 heads of 8 numbers.
    let rows = 2 * 2 * 64 * 3;
    let tokens: Vec<u32> = fixture
        .reference
        .tokens
        .iter()
        .cycle()
        .copied()
        .take(40)
        .collect();
    for (kv, row) in [
        (KvType::F32, 8 * 4),
        (KvType::Bf16, 8 * 2),
        (KvType::Int8, 8 + 4),
        (KvType::Int4, 4 + 4),
    ] {
        let front = fixture.segment_with_kv(kv, 0, 1);
        let segment = fixture.segment_with_kv(kv, 1, 3);
        let mut cache = segment.kv_cache(segment.range(), 100).unwrap();
        let hidden = front.embed(&tokens).unwrap();
        let _ = segment.forward(hidden, &mut cache).unwrap();
        assert_eq!(cache.bytes(), rows * row, "{kv}");
        assert_eq!(segment.kv_bytes(segment.range(), 40), rows * row, "{kv}");
    }
}
