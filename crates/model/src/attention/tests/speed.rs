//! Times of one layer's attention in the default model's shape, for `docs/results.md`.

use super::Case;
use crate::attention::torch::TorchStep;
use crate::kinds::ComputeKind;
use crate::kv_cache::TensorKv;
use std::time::Instant;
use tandem_shape::KvType;
use tch::{Device, Tensor};

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
    let _no_grad = crate::no_grad();
    crate::set_threads(1);
    let case = Case::new(3, 3, 64, 2049);
    for form in KvType::ALL {
        let mut packed = case.cache(form);
        let _ = case.run(&mut packed, 0, 128);
        let mut tensors = TensorKv::new(form, 3, 64, 2049, Device::Cpu).unwrap();
        for (past, rows, runs) in [(2048, 1, 500), (2016, 32, 300)] {
            let first = past * case.row();
            let values = case.qkv[first..][..rows * case.row()].to_vec();
            let frequencies = case.frequencies();
            let kind = form.kind();
            let step = TorchStep::new(3, &frequencies, past, rows, kind, Device::Cpu).unwrap();
            let qkv = Tensor::from_slice(&values).view([-1, 15, 64]);
            let by_torch = shortest(runs, || {
                let _ = step.attend(&qkv, case.heads, &mut tensors).unwrap();
            });
            let angles = case.angles(past, rows);
            let ours = shortest(runs, || {
                let _ = case.step(&values, &angles, past, &mut packed);
            });
            println!("{form}: {rows} rows {ours:.0} us, by libtorch {by_torch:.0} us");
        }
    }
}
