//! Times of one layer's attention in the default model's shape, for `docs/measurements/keys-and-values.md`.

use super::Case;
use crate::attention::packed::{Attending, attend};
use crate::simd::Simd;
use std::time::Instant;
use tandem_shape::KvType;

/// The shortest of `runs` runs, in microseconds: what other processes do only adds to it.
fn shortest(runs: usize, mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..runs).map(time).fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "prints times and promises nothing"]
fn a_layer_at_2048_positions() {
    crate::set_threads(1);
    let case = Case::new(3, 3, 64, 2049);
    for form in KvType::ALL {
        let mut packed = case.cache(form);
        let _ = case.run(&mut packed, 0, 128);
        for (past, rows, runs) in [(2048, 1, 500), (2016, 32, 300)] {
            let first = past * case.row();
            let values = case.qkv[first..][..rows * case.row()].to_vec();
            let angles = case.angles(past, rows);
            let took = shortest(runs, || {
                let _ = case.step(&values, &angles, past, &mut packed);
            });
            println!("{form}: {rows} rows {took:.0} us");
        }
    }
}

#[test]
#[ignore = "prints times and promises nothing"]
fn a_layer_of_64_sessions() {
    const SESSIONS: usize = 64;
    const LAYERS: usize = 12;
    crate::set_threads(1);
    let case = Case::new(3, 3, 64, 161);
    for form in KvType::ALL {
        // More than a cache holds, as all layers of a model are.
        let mut layers: Vec<Vec<_>> = (0..LAYERS)
            .map(|_| (0..SESSIONS).map(|_| case.cache(form)).collect())
            .collect();
        for kv in layers.iter_mut().flatten() {
            let _ = case.run(kv, 0, 161);
        }
        let values = &case.qkv[160 * case.row()..];
        let angles = case.angles(160, 1);
        let mut out = vec![0.0; SESSIONS * case.heads.attended_width()];
        let mut turn = 0;
        let took = shortest(60 * LAYERS, || {
            turn += 1;
            let sessions: Vec<_> = (0..SESSIONS)
                .map(|_| Attending {
                    query_key_value: values,
                    heads: case.heads.heads,
                    angles: &angles,
                    first_angles: 0,
                    past: 160,
                })
                .collect();
            let mut kv: Vec<_> = layers[turn % LAYERS].iter_mut().collect();
            attend(&sessions, &mut kv, Simd::best(), &mut out);
        });
        println!("{form}: {SESSIONS} sessions at 161 {took:.0} us");
    }
}
