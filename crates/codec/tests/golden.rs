//! Frames of every codec, as bytes: the format does not change.
//!
//! `golden/` holds rows, a profile made from samples like them, a frame of each codec, and what it
//! decodes to. `TANDEM_BLESS=1 cargo test -p tandem-codec --features fit --test golden` writes them
//! anew, which a new format may need, or an encoder that chooses better: frames that are no longer
//! written stay, as `*-earlier`, and are read as they always were.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot read its files has failed"
)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use tandem_codec::{Codec, Decoder, Encoder, Limits, Profile};

/// Values a row: not a multiple of anything a vector has.
const HIDDEN: usize = 75;
const ROWS: usize = 5;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let values = bytes.chunks_exact(4);
    values
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// Every way to write a frame: its name, the codec, whether by the profile, whether by the trellis.
fn ways() -> Vec<(String, Codec, bool, bool)> {
    let mut ways = Vec::new();
    for codec in Codec::ALL {
        ways.push((codec.to_string(), codec, false, true));
        if codec.is_read_by_profile() {
            ways.push((format!("{codec}-calibrated"), codec, true, true));
            ways.push((format!("{codec}-plain"), codec, true, false));
        }
    }
    ways
}

/// Frames that earlier encoders wrote.
const EARLIER: [&str; 3] = ["high-earlier", "balanced-earlier", "economy-earlier"];

fn encoder(codec: Codec, profile: Option<&Arc<Profile>>, trellis: bool) -> Encoder {
    if trellis {
        Encoder::new(codec, profile)
    } else {
        Encoder::new(codec, profile).without_trellis()
    }
}

#[test]
fn frames_are_written_and_read_as_they_always_were() {
    bless();
    let rows = floats(&read("rows.f32"));
    let profile = Arc::new(Profile::read(&read("cut.profile")).unwrap());
    assert_eq!(
        profile.to_bytes(),
        read("cut.profile"),
        "is written as it was read"
    );
    let limits = Limits {
        max_rows: ROWS,
        hidden: HIDDEN,
    };
    for (name, codec, calibrated, trellis) in ways() {
        let profile = Some(&profile).filter(|_| calibrated);
        let recorded = read(&format!("{name}.frame"));
        let mut frame = Vec::new();
        encoder(codec, profile, trellis)
            .encode(&rows, HIDDEN, &mut frame)
            .unwrap();
        assert_eq!(frame, recorded, "{name} is written otherwise");
        let mut decoded = Vec::new();
        let header = Decoder::new(profile.cloned())
            .decode(&recorded, limits, &mut decoded)
            .unwrap();
        assert_eq!(header.rows, ROWS);
        assert_eq!(decoded, floats(&read(&format!("{name}.f32"))), "{name}");
    }
    for name in EARLIER {
        let mut decoded = Vec::new();
        let frame = read(&format!("{name}.frame"));
        let header = Decoder::new(None).decode(&frame, limits, &mut decoded);
        assert_eq!(header.unwrap().rows, ROWS);
        assert_eq!(decoded, floats(&read(&format!("{name}.f32"))), "{name}");
    }
}

#[cfg(not(feature = "fit"))]
fn bless() {}

#[cfg(feature = "fit")]
fn bless() {
    if std::env::var_os("TANDEM_BLESS").is_none() {
        return;
    }
    let write = |name: &str, bytes: &[u8]| fs::write(folder().join(name), bytes).unwrap();
    let put = |values: &[f32]| {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let samples = rows_like_a_models(400);
    let profile = tandem_codec::fit(&samples, HIDDEN, [7; 32], 3, 4);
    write("cut.profile", &profile.to_bytes());
    let profile = Arc::new(profile);
    let mut rows = samples[..ROWS * HIDDEN].to_vec();
    // A massive activation, a row of zeros, a value that no table reaches, and one that no other is
    // like.
    rows[11] = 24_000.0;
    rows[HIDDEN..2 * HIDDEN].fill(0.0);
    rows[2 * HIDDEN + 14] = 6.0;
    rows[3 * HIDDEN + 70] = -1e20;
    write("rows.f32", &put(&rows));
    let limits = Limits {
        max_rows: ROWS,
        hidden: HIDDEN,
    };
    for (name, codec, calibrated, trellis) in ways() {
        let profile = Some(&profile).filter(|_| calibrated);
        let mut frame = Vec::new();
        encoder(codec, profile, trellis)
            .encode(&rows, HIDDEN, &mut frame)
            .unwrap();
        write(&format!("{name}.frame"), &frame);
        let mut decoded = Vec::new();
        Decoder::new(profile.cloned())
            .decode(&frame, limits, &mut decoded)
            .unwrap();
        write(&format!("{name}.f32"), &put(&decoded));
    }
}

/// Rows with means, channels of unlike spread that hang together, and scales of their own.
#[cfg(feature = "fit")]
fn rows_like_a_models(count: usize) -> Vec<f32> {
    let mut seed = 1u64;
    let mut uniform = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    let mut normal = move || (0..12).map(|_| uniform()).sum::<f32>();
    let mut rows = Vec::new();
    for _ in 0..count {
        let (shared, scale) = (normal(), (0.3 * normal()).exp());
        for column in 0..HIDDEN {
            let spread = 0.5 + (column % 7) as f32;
            let along = ((column * column) as f32 * 0.1).sin();
            let mean = (column as f32).cos();
            rows.push(mean + scale * spread * (normal() + along * shared));
        }
    }
    rows
}
