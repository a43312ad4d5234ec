//! scratch
#![allow(clippy::all, missing_docs)]
use std::time::Instant;
use tch::{Device, Kind, Tensor};
fn time(name: &str, reps: usize, bytes: f64, mut f: impl FnMut()) {
    for _ in 0..3 { f(); }
    let mut v: Vec<f64> = (0..reps).map(|_| { let t = Instant::now(); f(); t.elapsed().as_secs_f64() * 1e6 }).collect();
    v.sort_by(f64::total_cmp);
    println!("{name:40} min {:9.1} us  med {:9.1}  {:6.1} GB/s", v[0], v[v.len() / 2], bytes / v[0] / 1e3);
}
fn main() {
    let _g = tch::no_grad_guard();
    let th: i32 = std::env::var("T").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    tch::set_num_threads(th);
    let cpu = Device::Cpu;
    // 24 matrices so that caches do not help
    for (n, k, copies) in [(960i64, 576i64, 40usize), (3072, 576, 20), (576, 1536, 40), (576, 576, 60), (49152, 576, 1)] {
        let bytes = (n * k * 4) as f64;
        let x = Tensor::randn([1, k], (Kind::Float, cpu));
        let ws: Vec<Tensor> = (0..copies).map(|_| Tensor::randn([n, k], (Kind::Float, cpu))).collect();
        println!("--- n {n} k {k}");
        let r = 200 / if n > 10000 { 10 } else { 1 };
        let mut i = 0;
        time("linear f32", r, bytes, || { i = (i + 1) % copies; let _ = x.linear::<Tensor>(&ws[i], None); });
        let x2 = x.repeat([2, 1]);
        time("linear f32 m=2", r, bytes, || { i = (i + 1) % copies; let _ = x2.linear::<Tensor>(&ws[i], None); });
        let x4 = x.repeat([4, 1]);
        time("linear f32 m=4", r, bytes, || { i = (i + 1) % copies; let _ = x4.linear::<Tensor>(&ws[i], None); });
        let xv = x.view([k]);
        time("mv f32", r, bytes, || { i = (i + 1) % copies; let _ = ws[i].mv(&xv); });
        let ts: Vec<Tensor> = ws.iter().map(|w| w.transpose(0, 1).contiguous()).collect();
        time("mm transposed storage", r, bytes, || { i = (i + 1) % copies; let _ = x.mm(&ts[i]); });
        time("mm transposed storage m=2", r, bytes, || { i = (i + 1) % copies; let _ = x2.mm(&ts[i]); });
        let wm: Vec<Tensor> = ws.iter().map(|w| w.f_to_mkldnn(Kind::Float).unwrap()).collect();
        let xm = x.f_to_mkldnn(Kind::Float).unwrap();
        time("mkldnn_linear (opaque in/out)", r, bytes, || { i = (i + 1) % copies; let _ = xm.mkldnn_linear::<Tensor>(&wm[i], None); });
        time("mkldnn_linear with conversions", r, bytes, || { i = (i + 1) % copies; let _ = x.f_to_mkldnn(Kind::Float).unwrap().mkldnn_linear::<Tensor>(&wm[i], None).to_dense(Kind::Float, false); });
        let x4d = x.view([1, k, 1, 1]);
        let w4: Vec<Tensor> = ws.iter().map(|w| w.view([n, k, 1, 1])).collect();
        time("mkldnn_conv dense", r, bytes, || { i = (i + 1) % copies; let _ = x4d.mkldnn_convolution::<Tensor>(&w4[i], None, [0, 0], [1, 1], [1, 1], 1); });
        time("einsum/bmm 1xkxn", r, bytes, || { i = (i + 1) % copies; let _ = x.view([1, 1, k]).bmm(&ws[i].view([1, n, k]).transpose(1, 2)); });
        time("sum(W) bandwidth", r, bytes, || { i = (i + 1) % copies; let _ = ws[i].sum(Kind::Float); });
        let wb: Vec<Tensor> = ws.iter().map(|w| w.to_kind(Kind::BFloat16)).collect();
        let xb = x.to_kind(Kind::BFloat16);
        time("linear bf16", r, bytes / 2., || { i = (i + 1) % copies; let _ = xb.linear::<Tensor>(&wb[i], None); });
        let wh: Vec<Tensor> = ws.iter().map(|w| w.to_kind(Kind::Half)).collect();
        let xh = x.to_kind(Kind::Half);
        time("linear f16", r, bytes / 2., || { i = (i + 1) % copies; let _ = xh.linear::<Tensor>(&wh[i], None); });
    }
}
