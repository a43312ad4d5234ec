//! Rows of several sessions in a step are what they are alone, and what a backend cannot do is refused.

use crate::fixture::Fixture;
use crate::rewritten::says;
use tandem_model::{KvCache, ModelError, Segment, SessionRows};
use tandem_shape::{BackendName, DeviceName, Group, Place, Precision, WeightType};

/// Three sessions, at different positions, with different numbers of rows.
pub(crate) fn together(fixture: &Fixture, segment: &Segment) -> [Vec<f32>; 2] {
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

#[cfg(not(feature = "torch"))]
#[test]
fn a_build_without_libtorch_refuses_what_takes_it() {
    let fixture = Fixture::open("llama-bf16");
    let load = |weights: &str, place: Place| {
        let precision = Precision {
            weights: weights.parse().unwrap(),
            kv: None,
        };
        let (checkpoint, config) = (&fixture.checkpoint, &fixture.config);
        let range = fixture.range(0, 1);
        let loaded = Segment::load(checkpoint, config, range, &precision, place, |_| {});
        says(loaded.unwrap_err(), &["takes libtorch", "built without"]);
    };
    load("bf16", Place::default());
    load("f32", Place::from(DeviceName::Cuda(0)));
    let backend = BackendName::Torch;
    let device = DeviceName::Cpu;
    load("f32", Place { backend, device });
}
