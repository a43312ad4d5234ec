//! Times of one layer's attention in the default model's shape, for `docs/measurements/keys-and-values.md`.

use super::Case;
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
