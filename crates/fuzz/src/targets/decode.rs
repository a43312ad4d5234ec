//! Any bytes decode to as many finite values as their header says, or are refused and leave nothing; and a short frame
//! costs no more than its bytes may.

use super::PROFILE;
use std::sync::Arc;
use tandem_codec::{DecodeError, Decoder, FrameHeader, FramePosition, Limits, Profile};

/// The shape of the recorded frames.
const SMALL: Limits = Limits {
    max_rows: 64,
    hidden: 75,
};

/// The longest context that models declare, and the widest rows.
const MAX_ROWS: usize = 1 << 17;
const MAX_HIDDEN: usize = 16 << 10;

/// Values that an input may come to here: larger frames are read as far.
const MOST_VALUES: usize = 1 << 20;

/// Rows that a server decodes at once.
const PART: usize = 32;

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    for profile in [None, Some(Arc::clone(&PROFILE))] {
        whole(data, SMALL, profile.clone());
        if let Some(limits) = declared(data) {
            in_parts(data, limits, profile);
        }
    }
}

/// Limits that the frame's own shape just meets, where that is a shape that some model has.
fn declared(frame: &[u8]) -> Option<Limits> {
    let limits = |hidden| Limits {
        max_rows: MAX_ROWS,
        hidden,
    };
    // The refusal says what the header declares.
    let hidden = match FrameHeader::read(frame, limits(0)) {
        Err(DecodeError::Hidden { found, .. }) => usize::try_from(found).ok()?,
        _ => return None,
    };
    (1..=MAX_HIDDEN).contains(&hidden).then(|| limits(hidden))
}

fn whole(frame: &[u8], limits: Limits, profile: Option<Arc<Profile>>) {
    let mut out = vec![1.0];
    match Decoder::new(profile).decode(frame, limits, &mut out) {
        Ok(header) => {
            assert!((1..=limits.max_rows).contains(&header.rows));
            assert_eq!(out.len(), 1 + header.rows * limits.hidden);
            assert!(out.iter().all(|value| value.is_finite()));
        }
        Err(_) => assert_eq!(out, [1.0]),
    }
}

fn in_parts(frame: &[u8], limits: Limits, profile: Option<Arc<Profile>>) {
    let Ok(mut position) = FramePosition::begin(frame, limits) else {
        return;
    };
    let header = position.header();
    // Two bytes a row at least, but for the last few.
    assert!(header.rows <= frame.len() + 8);
    let mut decoder = Decoder::new(profile);
    let mut out = Vec::new();
    let mut read = 0;
    while position.rows_left() > 0 && read < MOST_VALUES {
        out.clear();
        let rows = position.rows_left().min(PART);
        if decoder
            .decode_rows(frame, &mut position, rows, &mut out)
            .is_err()
        {
            assert!(out.is_empty());
            return;
        }
        assert_eq!(out.len(), rows * limits.hidden);
        assert!(out.iter().all(|value| value.is_finite()));
        read += out.len();
    }
}
