//! Both backends compute the same model, and rows of several sessions in a step are what they are alone.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::Pipeline;
use crate::rewritten::says;
use tandem_model::{KvCache, ModelError, Segment, SessionRows};
use tandem_shape::{BackendName, DeviceName, Group, KvType, Place, Precision, WeightType};

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
    .map(|(weights, bound)| (weights.into(), bound))
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

/// Three sessions, at different positions, with different numbers of rows.
fn together(fixture: &Fixture, segment: &Segment) -> [Vec<f32>; 2] {
    let tokens = &fixture.reference.tokens;
    let range = segment.range();
    let sessions = [(0, 7, 1), (3, 20, 5), (11, 33, 9)];
    let prefilled = |&(from, past, _): &(usize, usize, usize)| -> KvCache {
        let mut cache = segment.kv_cache(range, tokens.len()).unwrap();
        let rows = segment.embed(&tokens[from..from + past]).unwrap();
        segment.forward(rows, &mut cache).unwrap();
        cache
    };
    let mut caches: Vec<KvCache> = sessions.iter().map(prefilled).collect();
    let mut alone = Vec::new();
    let mut rows = Vec::new();
    for (session, &(from, past, count)) in sessions.iter().enumerate() {
        let embedded = segment.embed(&tokens[from + past..][..count]).unwrap();
        rows.extend(&embedded);
        let cache = &mut caches[session];
        alone.extend(segment.forward(embedded, cache).unwrap());
        cache.truncate(past);
    }
    let mut runs: Vec<SessionRows<'_>> = caches
        .iter_mut()
        .zip(&sessions)
        .map(|(cache, &(_, _, rows))| SessionRows { cache, rows })
        .collect();
    let found = segment.forward_all(rows, &mut runs).unwrap();
    for (cache, (_, past, count)) in caches.iter().zip(sessions) {
        assert_eq!(cache.len(), past + count);
    }
    [alone, found]
}

#[test]
fn rows_of_several_sessions_are_what_they_are_alone() {
    for fixture in Fixture::all() {
        for weights in [
            WeightType::F32,
            WeightType::Int8,
            WeightType::Int4(Group::G64),
        ] {
            let segment = fixture.segment_by(
                BackendName::Plain,
                &weights.into(),
                0,
                fixture.config.layers,
            );
            let [alone, found] = together(&fixture, &segment);
            assert!(alone == found, "{} in {weights}", fixture.name);
        }
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

#[test]
fn a_step_that_one_session_cannot_take_leaves_all_as_they_were() {
    let fixture = Fixture::open("llama-bf16");
    let segment = fixture.whole();
    let cache = |range, capacity| segment.kv_cache(range, capacity).unwrap();
    let (mut roomy, mut full) = (cache(segment.range(), 64), cache(segment.range(), 2));
    let hidden = fixture.config.hidden;
    let mut step = |second: &mut KvCache| {
        let runs = &mut [
            SessionRows {
                cache: &mut roomy,
                rows: 3,
            },
            SessionRows {
                cache: second,
                rows: 3,
            },
        ];
        let error = segment
            .forward_all(vec![0.5; 6 * hidden], runs)
            .unwrap_err();
        assert!(roomy.is_empty() && second.is_empty());
        error
    };
    assert!(matches!(step(&mut full), ModelError::ContextFull { .. }));
    let mut fewer = cache(fixture.range(0, 1), 64);
    assert!(matches!(step(&mut fewer), ModelError::OtherCache));
    assert!(segment.forward_all(Vec::new(), &mut []).unwrap().is_empty());
}

#[test]
fn what_the_plain_backend_cannot_do_is_refused_by_name() {
    let fixture = Fixture::open("llama-bf16");
    let load = |weights: &str, device: DeviceName, head_dim: Option<usize>| {
        let mut config = fixture.config.clone();
        config.head_dim = head_dim.unwrap_or(config.head_dim);
        let precision = Precision {
            weights: weights.parse().unwrap(),
            kv: None,
        };
        let place = Place {
            backend: BackendName::Plain,
            device,
        };
        let range = fixture.range(0, 1);
        let loaded = Segment::load(
            &fixture.checkpoint,
            &config,
            range,
            &precision,
            place,
            |_| {},
        );
        loaded.map(|_| ())
    };
    load("int8", DeviceName::Cpu, None).unwrap();
    says(
        load("bf16", DeviceName::Cpu, None).unwrap_err(),
        &["bf16", "libtorch"],
    );
    says(
        load("f32,0=bf16", DeviceName::Cpu, None).unwrap_err(),
        &["bf16", "libtorch"],
    );
    says(
        load("f32", DeviceName::Cuda(1), None).unwrap_err(),
        &["cuda:1", "backend plain"],
    );
    says(
        load("f32", DeviceName::Cpu, Some(12)).unwrap_err(),
        &["12", "multiple of 8"],
    );
}
