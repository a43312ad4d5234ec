//! Any bytes decode to as many finite values as their header says, or are refused and leave nothing.
//!
//! The input's first byte chooses whether the session has a profile; the rest is the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use tandem_codec::{Decoder, Limits, Profile};

const LIMITS: Limits = Limits {
    max_rows: 64,
    hidden: 75,
};

static PROFILE: LazyLock<Arc<Profile>> = LazyLock::new(|| {
    let bytes = include_bytes!("../../tests/golden/cut.profile");
    Arc::new(Profile::read(bytes).expect("the recorded profile"))
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, frame)) = data.split_first() else {
        return;
    };
    let profile = (choice % 2 == 1).then(|| PROFILE.clone());
    let mut out = vec![1.0];
    match Decoder::new(profile).decode(frame, LIMITS, &mut out) {
        Ok(header) => {
            assert!((1..=LIMITS.max_rows).contains(&header.rows));
            assert_eq!(out.len(), 1 + header.rows * LIMITS.hidden);
            assert!(out.iter().all(|value| value.is_finite()));
        }
        Err(_) => assert_eq!(out, [1.0]),
    }
});
