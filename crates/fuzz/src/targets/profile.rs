//! Any bytes are a codec profile or are refused; what is one is written as it was read, and rows go through it.

use std::sync::Arc;
use tandem_codec::{Codec, Decoder, Encoder, Limits, MAX_PROFILE_BYTES, Profile};

/// Values a row of a profile that fits rows of any length.
const ANY_LENGTH: usize = 75;

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    let Ok(profile) = Profile::read(data) else {
        return;
    };
    assert!(data.len() <= MAX_PROFILE_BYTES);
    assert_eq!(profile.to_bytes(), data);
    let hidden = profile.hidden().unwrap_or(ANY_LENGTH);
    let rows = rows(hidden);
    let profile = Arc::new(profile);
    let limits = Limits {
        max_rows: 4,
        hidden,
    };
    for codec in [Codec::TabQ, Codec::High, Codec::Balanced, Codec::Economy] {
        let mut frame = Vec::new();
        Encoder::new(codec, Some(&profile))
            .encode(&rows, hidden, &mut frame)
            .unwrap_or_else(|e| panic!("{codec}: encode: {e}"));
        let mut out = Vec::new();
        Decoder::new(Some(Arc::clone(&profile)))
            .decode(&frame, limits, &mut out)
            .unwrap_or_else(|e| panic!("{codec}: decode: {e}"));
        assert_eq!(out.len(), rows.len());
        assert!(out.iter().all(|value| value.is_finite()));
    }
}

/// A row of small values, one of zeros, and one with values that stand out.
fn rows(hidden: usize) -> Vec<f32> {
    let small = (0..hidden).map(|i| (i as f32 * 0.7).sin());
    let zeros = std::iter::repeat_n(0.0, hidden);
    let wild = (0..hidden).map(|i| if i % 13 == 0 { 3e4 } else { -0.01 });
    small.chain(zeros).chain(wild).collect()
}
