//! How often a step asks the system's allocator for memory.
// Failing loudly is what tests are for; clippy.toml exempts only functions marked as tests.
#![allow(clippy::unwrap_used)]

use allocation_counter::measure;
use std::path::Path;
use tandem_model::{Checkpoint, ComputeThread, KvCache, Segment, SessionRows};
use tandem_shape::{BackendName, LayerRange, ModelConfig, Place, WeightType};

/// The allocations of a decode step of so many sessions, in the steady state.
fn of_a_step(weights: &str, sessions: usize) -> u64 {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/models/llama-gqa-llama3-tied");
    let config = ModelConfig::load(&directory).unwrap();
    let checkpoint = Checkpoint::open(&directory).unwrap();
    let _computing = ComputeThread::begin(1);
    let range = LayerRange::new(0, config.layers, config.layers).unwrap();
    let place = Place {
        backend: BackendName::Plain,
        ..Place::default()
    };
    let weights: WeightType = weights.parse().unwrap();
    let segment =
        Segment::load(&checkpoint, &config, range, &weights.into(), place, |_| {}).unwrap();
    let mut caches: Vec<KvCache> = (0..sessions)
        .map(|_| segment.kv_cache(range, 30).unwrap())
        .collect();
    let mut least = u64::MAX;
    for step in 0..8 {
        let ids: Vec<u32> = (0..sessions as u32).map(|session| session + step).collect();
        let hidden = segment.embed(&ids).unwrap();
        let mut rows: Vec<_> = caches
            .iter_mut()
            .map(|cache| SessionRows { cache, rows: 1 })
            .collect();
        let counted = measure(|| {
            let hidden = segment.forward_all(hidden, &mut rows).unwrap();
            let _ = segment.logits(&hidden, sessions).unwrap();
        });
        least = least.min(counted.count_total);
    }
    least
}

#[test]
fn a_step_of_more_sessions_allocates_no_more_often() {
    for weights in ["f32", "int8", "int4"] {
        let [of_two, of_many] = [2, 64].map(|sessions| of_a_step(weights, sessions));
        assert!(of_many <= of_two, "{weights}: {of_two}, then {of_many}");
    }
}
