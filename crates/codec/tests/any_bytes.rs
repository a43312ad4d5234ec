//! What holds for all rows and for all bytes.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is under test")]

use proptest::prelude::*;
use std::sync::Arc;
use tandem_codec::{
    Codec, DecodeError, Decoder, EncodeError, Encoder, FramePosition, Limits, Profile,
};

const HIDDEN: usize = 75;

fn limits(hidden: usize) -> Limits {
    Limits {
        max_rows: 64,
        hidden,
    }
}

fn profile() -> Arc<Profile> {
    Arc::new(Profile::read(include_bytes!("golden/cut.profile")).unwrap())
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

/// Rows as models have them: most values alike, some far out.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![
        20 => -3f32..3.0,
        1 => -3e4f32..3e4,
        1 => Just(0.0f32),
    ];
    prop::collection::vec(value, HIDDEN..=4 * HIDDEN).prop_map(|mut values| {
        values.truncate(values.len() / HIDDEN * HIDDEN);
        values
    })
}

proptest! {
    /// No value is off by more than a share of its row's scale, nor an outlier by more than a share
    /// of itself.
    #[test]
    fn errors_are_bounded(values in rows(), codec in codecs(), calibrated in any::<bool>()) {
        let profile = Some(profile()).filter(|_| calibrated);
        let mut frame = Vec::new();
        let mut encoder = Encoder::new(codec, profile.as_ref());
        let encoded = encoder.encode(&values, HIDDEN, &mut frame).unwrap();
        prop_assert_eq!(encoded.header.rows * HIDDEN, values.len());
        let mut decoded = Vec::new();
        Decoder::new(profile).decode(&frame, limits(HIDDEN), &mut decoded).unwrap();
        for (row, back) in values.chunks(HIDDEN).zip(decoded.chunks(HIDDEN)) {
            let squares: f32 = row.iter().map(|v| v * v).sum();
            let scale = (squares / HIDDEN as f32).sqrt();
            let largest = row.iter().fold(0f32, |m, v| m.max(v.abs()));
            let bulk = match codec {
                Codec::F32 => 0.0,
                Codec::Bf16 => largest / 256.0,
                Codec::Int8 => largest / 100.0,
                _ if calibrated => 8.0f32.max(0.6 * scale),
                _ => 0.6 * scale,
            };
            for (a, b) in row.iter().zip(back) {
                prop_assert!((a - b).abs() <= bulk + a.abs() / 250.0, "{} {} {}", codec, a, b);
            }
        }
    }

    #[test]
    fn any_bytes_decode_or_are_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..400), format in 0u8..8, rows in 1u8..4,
    ) {
        let mut frame = vec![format, rows, HIDDEN as u8];
        frame.extend(bytes);
        let mut out = vec![1.0];
        match Decoder::new(Some(profile())).decode(&frame, limits(HIDDEN), &mut out) {
            Ok(header) => prop_assert_eq!(out.len(), 1 + header.rows * HIDDEN),
            Err(_) => prop_assert_eq!(out, [1.0]),
        }
    }

    /// Rows read a few at a time are those read at once, whatever is few.
    #[test]
    fn a_frame_is_read_in_parts(
        values in rows(), codec in codecs(), calibrated in any::<bool>(), parts in prop::collection::vec(1usize..4, 4),
    ) {
        let profile = Some(profile()).filter(|_| calibrated);
        let mut frame = Vec::new();
        Encoder::new(codec, profile.as_ref()).encode(&values, HIDDEN, &mut frame).unwrap();
        let mut decoder = Decoder::new(profile);
        let mut whole = Vec::new();
        decoder.decode(&frame, limits(HIDDEN), &mut whole).unwrap();
        let mut position = FramePosition::begin(&frame, limits(HIDDEN)).unwrap();
        let mut joined = Vec::new();
        for part in parts {
            decoder.decode_rows(&frame, &mut position, part, &mut joined).unwrap();
        }
        prop_assert_eq!(position.rows_left(), 0);
        prop_assert_eq!(joined, whole);
    }

    /// A row is what it is in whatever frame it goes: an answer that is sent again in other frames is the same.
    #[test]
    fn a_row_does_not_depend_on_its_frame(
        values in rows(), codec in codecs(), calibrated in any::<bool>(), size in 1usize..4,
    ) {
        let profile = Some(profile()).filter(|_| calibrated);
        let mut encoder = Encoder::new(codec, profile.as_ref());
        let mut decoder = Decoder::new(profile.clone());
        let mut read = |rows: &[f32]| {
            let (mut frame, mut out) = (Vec::new(), Vec::new());
            encoder.encode(rows, HIDDEN, &mut frame).unwrap();
            decoder.decode(&frame, limits(HIDDEN), &mut out).unwrap();
            out
        };
        let together = read(&values);
        let apart: Vec<f32> = values.chunks(size * HIDDEN).flat_map(&mut read).collect();
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
        prop_assert_eq!(bits(&together), bits(&apart));
    }

    /// A row that costs its sender next to nothing costs its receiver next to nothing.
    #[test]
    fn a_frame_has_no_more_rows_than_its_bytes_can_hold(
        format in 1u8..7, payload in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..600),
    ) {
        let mut frame = vec![format, 0x80, 0x40, HIDDEN as u8];
        frame.extend(&payload);
        let limits = Limits { max_rows: 1 << 20, hidden: HIDDEN };
        let refused = FramePosition::begin(&frame, limits).unwrap_err();
        prop_assert!(matches!(refused, DecodeError::TooShort { rows: 8192, .. }), "{}", refused);
    }

    #[test]
    fn a_damaged_frame_never_panics(
        values in rows(), codec in codecs(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0usize..9,
    ) {
        let profile = profile();
        let mut frame = Vec::new();
        Encoder::new(codec, Some(&profile)).encode(&values, HIDDEN, &mut frame).unwrap();
        let at = at.index(frame.len());
        frame[at] = byte;
        frame.truncate(frame.len().saturating_sub(cut));
        let mut out = Vec::new();
        let _ = Decoder::new(Some(profile)).decode(&frame, limits(HIDDEN), &mut out);
        prop_assert!(out.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn a_damaged_profile_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0usize..9) {
        let mut bytes = include_bytes!("golden/cut.profile").to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut);
        if let Ok(profile) = Profile::read(&bytes) {
            prop_assert_eq!(profile.to_bytes().len(), bytes.len());
            let mut frame = Vec::new();
            let rows = vec![1.5; HIDDEN];
            let profile = Arc::new(profile);
            Encoder::new(Codec::Balanced, Some(&profile)).encode(&rows, HIDDEN, &mut frame).unwrap();
        }
    }
}

/// Rows that such a profile writes would leave the range of binary32 where they are read.
#[test]
fn a_profile_with_means_that_no_rows_have_is_refused() {
    let good = include_bytes!("golden/cut.profile");
    // Behind 61 bytes and the tables.
    let means = 61 + 2 * 324 * 2;
    for (mean, is_read) in [
        (1.1e15f32, true),
        (1.2e15, false),
        (-4e37, false),
        (f32::NAN, false),
    ] {
        let mut bytes = good.to_vec();
        bytes[means..means + 4].copy_from_slice(&mean.to_le_bytes());
        assert_eq!(Profile::read(&bytes).is_ok(), is_read, "{mean}");
    }
}

#[test]
fn values_that_are_not_finite_are_refused_with_their_place() {
    for codec in Codec::ALL {
        let mut values = vec![0.5; 3 * HIDDEN];
        values[HIDDEN + 7] = f32::NAN;
        let mut out = vec![9];
        let refused = Encoder::new(codec, None).encode(&values, HIDDEN, &mut out);
        assert!(
            matches!(
                refused,
                Err(EncodeError::NotFinite {
                    row: 1,
                    column: 7,
                    ..
                })
            ),
            "{codec}: {refused:?}"
        );
        assert_eq!(out, [9]);
    }
    // Finite in f32, infinite once rounded to bf16.
    let mut out = Vec::new();
    assert!(
        Encoder::new(Codec::Bf16, None)
            .encode(&[f32::MAX], 1, &mut out)
            .is_err()
    );
}

/// Once the coder's bytes are spent and its state is 1, symbols at the beginning of their tables would
/// go on without end.
#[test]
fn a_frame_that_has_run_dry_is_refused() {
    // Two rows' bytes that hold the symbols of none: state 1, nothing behind.
    let frame = [5, 2, HIDDEN as u8, 0, 0, 1];
    let decoded = Decoder::default().decode(&frame, limits(HIDDEN), &mut Vec::new());
    assert_eq!(decoded, Err(DecodeError::Truncated));
}

/// The smallest rows there are: what a decoder takes for too short is smaller.
#[test]
fn many_rows_of_zeros_come_back() {
    for hidden in [1, 2, 9, HIDDEN] {
        for rows in [1, 2, 63, 1000] {
            for codec in Codec::ALL {
                let values = vec![0.0; rows * hidden];
                let mut frame = Vec::new();
                Encoder::new(codec, None)
                    .encode(&values, hidden, &mut frame)
                    .unwrap();
                let limits = Limits {
                    max_rows: rows,
                    hidden,
                };
                let mut out = Vec::new();
                let decoded = Decoder::default().decode(&frame, limits, &mut out);
                assert!(
                    decoded.is_ok(),
                    "{codec}, {rows} rows of {hidden}: {decoded:?}"
                );
                assert_eq!(out.len(), values.len());
            }
        }
    }
}

#[test]
fn extreme_rows_come_back() {
    let rows: [&[f32]; 6] = [
        &[0.0; 9],
        &[f32::MAX; 9],
        &[
            f32::MIN,
            f32::MAX,
            0.0,
            1.0,
            -1.0,
            f32::MIN_POSITIVE,
            1e-45,
            -0.0,
            5.0,
        ],
        &[1e-45; 9],
        &[1e-30; 9],
        &[3.0; 1],
    ];
    let huge = [5e36; HIDDEN];
    for codec in Codec::ALL.into_iter().filter(|&c| c != Codec::Bf16) {
        let mut frame = Vec::new();
        let mut out = Vec::new();
        let profile = profile();
        Encoder::new(codec, Some(&profile))
            .encode(&huge, HIDDEN, &mut frame)
            .unwrap();
        let decoded = Decoder::new(Some(profile)).decode(&frame, limits(HIDDEN), &mut out);
        assert!(decoded.is_ok(), "{codec}: {decoded:?}");
        for row in rows {
            let mut frame = Vec::new();
            let mut out = Vec::new();
            Encoder::new(codec, None)
                .encode(row, row.len(), &mut frame)
                .unwrap();
            let decoded = Decoder::default().decode(&frame, limits(row.len()), &mut out);
            assert!(decoded.is_ok(), "{codec} {row:?}: {decoded:?}");
        }
    }
}

#[test]
fn the_headers_cost_little() {
    let row: Vec<f32> = (0..576).map(|i| (i as f32 * 0.7).sin()).collect();
    let mut frame = Vec::new();
    Encoder::new(Codec::F32, None)
        .encode(&row, 576, &mut frame)
        .unwrap();
    assert_eq!(frame.len(), 4 + 4 * 576);
    frame.clear();
    Encoder::new(Codec::Int8, None)
        .encode(&row, 576, &mut frame)
        .unwrap();
    assert_eq!(frame.len(), 4 + 8 + 576);
}

#[test]
fn an_int8_row_without_a_finite_scale_is_refused() {
    for frame in [
        [3, 1, 2, 0, 0, 0x80, 0x7f, 0, 0, 0, 0, 0, 1],
        [3, 1, 2, 0, 0, 0x80, 0xff, 0, 0, 0x80, 0x3f, 3, 1],
        [3, 1, 2, 0, 0, 0, 0, 0, 0, 0x80, 0x7f, 1, 1],
    ] {
        let decoded = Decoder::default().decode(&frame, limits(2), &mut Vec::new());
        assert!(
            matches!(decoded, Err(DecodeError::NotFinite { row: 0, .. })),
            "{decoded:?}"
        );
    }
}
