//! Times of the products of one step in the default model's shapes, for `docs/measurements/precision.md`.

use crate::gemm::{Kernel, Panels};
use crate::quantise::coded_row::CodeFormat;
use crate::simd::Simd;
use std::time::Instant;
use tandem_shape::{Group, WeightType};
use tch::{Device, Kind, Tensor};

const LAYERS: usize = 30;
/// Outputs and inputs of a layer's four matrices.
const SHAPES: [(usize, usize); 4] = [(960, 576), (576, 576), (3072, 576), (576, 1536)];
const GROUP: usize = 64;

/// Matrices that libtorch's kernels for integers multiply.
enum Packed {
    Eight { weights: Tensor, scales: Tensor },
    Four { weights: Tensor, grids: Tensor },
}

impl Packed {
    fn new(weights: WeightType, (outputs, inputs): (usize, usize)) -> Self {
        let (outputs, inputs) = (outputs as i64, inputs as i64);
        let random = |high: i64, kind: Kind, shape: &[i64]| {
            Tensor::randint(high, shape, (Kind::Int, Device::Cpu)).to_kind(kind)
        };
        match weights {
            WeightType::Int8 => Self::Eight {
                weights: random(128, Kind::Int8, &[outputs, inputs]),
                scales: Tensor::rand([outputs], (Kind::BFloat16, Device::Cpu)),
            },
            _ => Self::Four {
                weights: random(16, Kind::Int, &[outputs, inputs])
                    .internal_convert_weight_to_int4pack_for_cpu(2),
                grids: Tensor::rand(
                    [inputs / GROUP as i64, outputs, 2],
                    (Kind::BFloat16, Device::Cpu),
                ),
            },
        }
    }

    fn product(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Eight { weights, scales } => x.internal_weight_int8pack_mm(weights, scales),
            Self::Four { weights, grids } => {
                x.internal_weight_int4pack_mm_for_cpu(weights, GROUP as i64, grids)
            }
        }
    }
}

fn milliseconds(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Every layer's matrices, so that they come from memory as in a step. libtorch gets its rows in
/// the type its kernels are fast with.
#[test]
#[ignore = "prints times and promises nothing"]
fn the_products_of_a_step() {
    let _computing = crate::ComputeThread::begin(2);
    for weights in [WeightType::Int8, WeightType::Int4(Group::G64)] {
        let shapes = || (0..LAYERS).flat_map(|_| SHAPES);
        let random: Vec<f32> = (0..3072 * 576)
            .map(|i| ((i * 7919) % 1009) as f32)
            .collect();
        let ours: Vec<_> = shapes()
            .map(|(outputs, inputs)| {
                let kernel = Kernel::of(Simd::best());
                let format = CodeFormat::of(weights);
                let mut panels = Panels::zeros(kernel, outputs, inputs, format).unwrap();
                panels.set_outputs(0, &random[..outputs * inputs], &[]);
                (panels, inputs)
            })
            .collect();
        let theirs: Vec<_> = shapes()
            .map(|shape| (Packed::new(weights, shape), shape.1 as i64))
            .collect();
        for (rows, runs) in [(1, 31), (128, 7)] {
            let x: Vec<f32> = (0..rows * 1536).map(|i| (i % 17) as f32 - 8.0).collect();
            let tensor = |inputs: i64| {
                let rows = Tensor::from_slice(&x[..rows * inputs as usize]);
                rows.view([-1, inputs]).to_kind(Kind::BFloat16)
            };
            let tensors = [tensor(576), tensor(1536)];
            let mut out = Vec::new();
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..runs {
                times[0].push(milliseconds(|| {
                    for (panels, inputs) in &ours {
                        panels
                            .product_of(&x[..rows * inputs], rows, &mut out)
                            .unwrap();
                    }
                }));
                times[1].push(milliseconds(|| {
                    for (packed, inputs) in &theirs {
                        let _ = packed.product(&tensors[usize::from(*inputs == 1536)]);
                    }
                }));
            }
            let [ours, theirs] = times.map(median);
            println!("{weights}, {rows} rows: {ours:.1} ms, by libtorch {theirs:.1} ms");
        }
    }
}
