//! Both backends compute the same model.

use crate::backends::together;
use crate::fixture::{BOUND, Fixture};
use crate::pipeline::Pipeline;
use tandem_shape::{BackendName, Group, KvType, Precision, WeightType};

/// The relative L2 error of the worst row.
fn worst_row(found: &[f32], expected: &[f32], width: usize) -> f64 {
    assert_eq!(found.len(), expected.len());
    let rows = found.chunks(width).zip(expected.chunks(width));
    let error = |(found, expected): (&[f32], &[f32])| {
        let square = |v: f32| f64::from(v).powi(2);
        let difference: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
        let length: f64 = expected.iter().map(|b| square(*b)).sum();
        (difference / length).sqrt()
    };
    rows.map(error).fold(0.0, f64::max)
}

fn output(fixture: &Fixture, backend: BackendName, precision: &Precision) -> (Vec<f32>, f64) {
    let segment = fixture.segment_by(backend, precision, 0, fixture.config.layers);
    let mut pipeline = Pipeline::layer_by_layer(fixture, &segment);
    let tokens = &fixture.reference.tokens;
    pipeline.step(&tokens[..40]);
    pipeline.step(&tokens[40..41]);
    pipeline.step(&tokens[41..]);
    let errors = pipeline.errors(&fixture.reference);
    (pipeline.output().to_vec(), errors.worst())
}

#[test]
fn both_backends_compute_every_fixture() {
    for fixture in Fixture::all() {
        let exact = WeightType::F32.into();
        let (plain, _) = output(&fixture, BackendName::Plain, &exact);
        let (torch, error) = output(&fixture, BackendName::Torch, &exact);
        assert!(error <= BOUND, "{}: {error:.1e}", fixture.name);
        let apart = worst_row(&plain, &torch, fixture.config.hidden);
        assert!(apart <= 1e-4, "{}: {apart:.1e}", fixture.name);
        println!("{}: {apart:.1e}", fixture.name);
    }
}

/// What is rounded differs: rows in front of integers become 16-bit integers on the plain backend.
#[test]
fn both_backends_hold_every_type() {
    let fixture = Fixture::open("qwen3-qknorm");
    let mut types: Vec<(Precision, f64)> = [
        (WeightType::Int8, 2e-3),
        (WeightType::Int4(Group::G32), 2e-3),
        (WeightType::Int4(Group::G128), 2e-3),
    ]
    .map(|(weights, bound)| {
        let mut precision = Precision::from(weights);
        precision.kv = Some(KvType::F32);
        (precision, bound)
    })
    .into();
    for (kv, bound) in [
        (KvType::Bf16, 5e-2),
        (KvType::Int8, 1e-2),
        (KvType::Int4, 2e-1),
    ] {
        let mut precision = Precision::from(WeightType::F32);
        precision.kv = Some(kv);
        types.push((precision, bound));
    }
    for (precision, bound) in types {
        let (plain, _) = output(&fixture, BackendName::Plain, &precision);
        let (torch, _) = output(&fixture, BackendName::Torch, &precision);
        let apart = worst_row(&plain, &torch, fixture.config.hidden);
        assert!(apart <= bound, "{precision:?}: {apart:.1e}");
    }
}

/// But for the order in which libtorch adds up.
#[test]
fn rows_of_several_sessions_by_libtorch_are_close_to_what_they_are_alone() {
    for fixture in Fixture::all() {
        let segment = fixture.segment_by(
            BackendName::Torch,
            &WeightType::F32.into(),
            0,
            fixture.config.layers,
        );
        let [alone, found] = together(&fixture, &segment);
        let apart = worst_row(&found, &alone, fixture.config.hidden);
        assert!(apart <= 1e-5, "{}: {apart:.1e}", fixture.name);
    }
}
