//! Times every codec on one core, row by row: microseconds to encode and to decode.
//!
//! ```text
//! cargo run --release -p tandem-codec --features fit --example speed [VALUES_A_ROW]
//! ```
//!
//! Rows are made up (means, channels of unlike spread, a scale a row), and the profile is fitted to
//! rows like them with 48 reflections. Medians of 15 rounds of 64 rows.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the table is its result, and half a result is none"
)]

use std::sync::Arc;
use std::time::Instant;
use tandem_codec::{Codec, Decoder, Encoder, Limits, Profile};

const ROWS: usize = 64;
const ROUNDS: usize = 15;
const REFLECTIONS: usize = 48;

fn main() {
    let hidden = std::env::args()
        .nth(1)
        .map_or(3072, |text| text.parse().unwrap());
    let samples = rows(512, hidden);
    let profile = Arc::new(tandem_codec::fit(&samples, hidden, [0; 32], 1, REFLECTIONS));
    println!("rows of {hidden} values, one a frame, {REFLECTIONS} reflections, one core\n");
    println!("| codec | encode, µs | decode, µs | bits a value |");
    println!("| --- | --- | --- | --- |");
    for codec in Codec::ALL {
        time(
            codec.name(),
            Encoder::new(codec, Some(&profile)),
            &samples,
            &profile,
        );
        if codec.is_read_by_profile() {
            let plain = Encoder::new(codec, Some(&profile)).without_trellis();
            time(&format!("{codec}, no trellis"), plain, &samples, &profile);
        }
    }
}

fn time(name: &str, mut encoder: Encoder, samples: &[f32], profile: &Arc<Profile>) {
    let hidden = profile.hidden().unwrap();
    let limits = Limits {
        max_rows: 1,
        hidden,
    };
    let rows: Vec<&[f32]> = samples.chunks(hidden).take(ROWS).collect();
    let mut decoder = Decoder::new(Some(Arc::clone(profile)));
    let mut frames = vec![Vec::new(); ROWS];
    let (mut encode, mut decode, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (row, frame) in rows.iter().zip(&mut frames) {
            frame.clear();
            encoder.encode(row, hidden, frame).unwrap();
        }
        encode.push(start.elapsed().as_secs_f64() * 1e6 / ROWS as f64);
        let start = Instant::now();
        for frame in &frames {
            out.clear();
            decoder.decode(frame, limits, &mut out).unwrap();
        }
        decode.push(start.elapsed().as_secs_f64() * 1e6 / ROWS as f64);
    }
    let bytes: usize = frames.iter().map(Vec::len).sum();
    println!(
        "| {name} | {:.1} | {:.1} | {:.2} |",
        median(encode),
        median(decode),
        8.0 * bytes as f64 / (ROWS * hidden) as f64
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rows with means, channels of unlike spread, and scales of their own.
fn rows(count: usize, hidden: usize) -> Vec<f32> {
    let mut seed = 1u64;
    let mut uniform = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    let mut normal = move || (0..12).map(|_| uniform()).sum::<f32>();
    let mut rows = Vec::with_capacity(count * hidden);
    for _ in 0..count {
        let scale = (0.3 * normal()).exp();
        for column in 0..hidden {
            let spread = 0.5 + (column % 7) as f32;
            rows.push((column as f32).cos() + scale * spread * normal());
        }
    }
    rows
}
