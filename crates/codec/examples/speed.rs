//! Times every codec on one core: row by row, microseconds to encode and to decode; and in frames of
//! 256 rows, as prompts travel, megabytes of f32 a second.
//!
//! ```text
//! cargo run --release -p tandem-codec --features fit --example speed [VALUES_A_ROW]
//! ```
//!
//! Rows are made up (means, channels of unlike spread, a scale a row), and the profile is fitted to
//! rows like them with 48 reflections. Medians of 15 rounds of 64 rows, or two frames.
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
const ROWS_A_FRAME: usize = 256;
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
    let encoders = || {
        Codec::ALL.into_iter().flat_map(|codec| {
            let encoder = || Encoder::new(codec, Some(&profile));
            let plain = codec.is_read_by_profile().then(|| {
                let name = format!("{codec}, no trellis");
                (name, encoder().without_trellis())
            });
            [(codec.name().to_owned(), encoder())]
                .into_iter()
                .chain(plain)
        })
    };
    for (name, encoder) in encoders() {
        let rows: Vec<_> = samples.chunks(hidden).take(ROWS).collect();
        let [encode, decode, bits] = time(encoder, &rows, &profile);
        println!("| {name} | {encode:.1} | {decode:.1} | {bits:.2} |");
    }
    println!("\nframes of {ROWS_A_FRAME} rows, one core\n");
    println!("| codec | encode, MB/s | decode, MB/s | both, MB/s | bits a value |");
    println!("| --- | --- | --- | --- | --- |");
    for (name, encoder) in encoders() {
        let frames: Vec<_> = samples.chunks(ROWS_A_FRAME * hidden).collect();
        let [encode, decode, bits] = time(encoder, &frames, &profile);
        let [encode, decode, both] = [encode, decode, encode + decode]
            .map(|microseconds| (ROWS_A_FRAME * hidden * size_of::<f32>()) as f64 / microseconds);
        println!("| {name} | {encode:.0} | {decode:.0} | {both:.0} | {bits:.2} |");
    }
}

/// Microseconds to encode and to decode what makes one frame, and bits a value.
fn time(mut encoder: Encoder, samples: &[&[f32]], profile: &Arc<Profile>) -> [f64; 3] {
    let hidden = profile.hidden().unwrap();
    let values: usize = samples.iter().map(|s| s.len()).sum();
    let limits = Limits {
        max_rows: values / hidden,
        hidden,
    };
    let count = samples.len() as f64;
    let mut decoder = Decoder::new(Some(Arc::clone(profile)));
    let mut frames = vec![Vec::new(); samples.len()];
    let (mut encode, mut decode, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (rows, frame) in samples.iter().zip(&mut frames) {
            frame.clear();
            encoder.encode(rows, hidden, frame).unwrap();
        }
        encode.push(start.elapsed().as_secs_f64() * 1e6 / count);
        let start = Instant::now();
        for frame in &frames {
            out.clear();
            decoder.decode(frame, limits, &mut out).unwrap();
        }
        decode.push(start.elapsed().as_secs_f64() * 1e6 / count);
    }
    let bytes: usize = frames.iter().map(Vec::len).sum();
    let bits = 8.0 * bytes as f64 / values as f64;
    [median(encode), median(decode), bits]
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
