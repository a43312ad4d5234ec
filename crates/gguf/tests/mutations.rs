//! Files that were changed anywhere are imported or refused: nothing panics, nothing grows.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is under test")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Once;

use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, setrlimit};
use tandem_gguf::{Dtype, Progress, cached, import};

/// The files are of 30 kB at most; an allocation that a wrong length asks for ends the test.
const ADDRESS_SPACE: u64 = 1 << 30;

fn limit_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = Rlimit {
            current: Some(ADDRESS_SPACE),
            maximum: Some(ADDRESS_SPACE),
        };
        setrlimit(Resource::As, limit).unwrap();
    });
}

/// One change to a file's bytes; places are parts of the length in 65536ths.
#[derive(Clone, Debug)]
enum Edit {
    Byte(u16, u8),
    Number(u16, u64, usize),
    Remove(u16, usize),
    Repeat(u16, usize),
    Cut(u16),
}

fn edit() -> impl Strategy<Value = Edit> {
    let number = prop_oneof![
        any::<u64>(),
        Just(u64::MAX),
        Just(u64::MAX / 8 + 1),
        Just(i64::MAX as u64),
        Just(1 << 32),
        Just(u64::from(u32::MAX)),
        0_u64..64,
        (0_u32..64).prop_map(|bit| 1 << bit),
    ];
    prop_oneof![
        4 => (any::<u16>(), any::<u8>()).prop_map(|(place, byte)| Edit::Byte(place, byte)),
        4 => (any::<u16>(), number, prop_oneof![Just(4_usize), Just(8)])
            .prop_map(|(place, number, width)| Edit::Number(place, number, width)),
        1 => (any::<u16>(), 1_usize..64).prop_map(|(place, count)| Edit::Remove(place, count)),
        1 => (any::<u16>(), 1_usize..64).prop_map(|(place, count)| Edit::Repeat(place, count)),
        1 => any::<u16>().prop_map(Edit::Cut),
    ]
}

fn apply(content: &mut Vec<u8>, header: usize, edit: &Edit) {
    // Most of the ways to go wrong are in the header.
    let place =
        |part: u16| ((header * usize::from(part)) >> 16).min(content.len().saturating_sub(1));
    match *edit {
        Edit::Byte(at, byte) => {
            if let Some(target) = content.get_mut((header * usize::from(at)) >> 16) {
                *target = byte;
            }
        }
        Edit::Number(at, number, width) => {
            let start = place(at);
            if let Some(target) = content.get_mut(start..start + width) {
                target.copy_from_slice(&number.to_le_bytes()[..width]);
            }
        }
        Edit::Remove(at, count) => {
            let start = place(at);
            let end = content.len().min(start + count);
            content.drain(start..end);
        }
        Edit::Repeat(at, count) => {
            let start = place(at);
            let piece = content[start..content.len().min(start + count)].to_vec();
            content.splice(start..start, piece);
        }
        Edit::Cut(at) => {
            let end = (content.len() * usize::from(at)) >> 16;
            content.truncate(end);
        }
    }
}

fn check(model: &str, edits: &[Edit], tail: bool) {
    limit_memory();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/models")
        .join(model)
        .join("model.gguf");
    let mut content = fs::read(golden).unwrap();
    // A part of the header, or all of the file.
    let part = if tail { content.len() } else { 6144 };
    for edit in edits {
        apply(&mut content, part, edit);
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("model.gguf"), folder.path().join("out"));
    fs::write(&file, &content).unwrap();
    let mut written = 0;
    let mut hear = |progress| {
        if let Progress::Writing { total, .. } = progress {
            written = total;
        }
        ControlFlow::Continue(())
    };
    let outcome = import(&file, &out, Dtype::F32, &mut hear);
    assert_eq!(outcome.is_ok(), out.exists());
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1 + usize::from(outcome.is_ok())
    );
    // No type is smaller than 50 bytes for 256 values, which become 1,024 bytes.
    assert!(
        written <= 21 * content.len() as u64,
        "{written} bytes of {}",
        content.len()
    );
    if outcome.is_err() {
        let cached = cached(&file, Dtype::F32, &folder.path().join("cache"), &mut |_| {
            ControlFlow::Continue(())
        });
        assert!(cached.is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_file_is_imported_or_refused(
        model in prop_oneof![Just("llama"), Just("mistral"), Just("qwen2"), Just("qwen3")],
        edits in prop::collection::vec(edit(), 1..6),
        tail in any::<bool>(),
    ) {
        check(model, &edits, tail);
    }
}

/// Every field of the beginning, one at a time, with numbers that lengths must not have.
#[test]
fn no_number_at_the_beginning_is_believed() {
    for place in 0..512_u16 {
        for number in [0, 1, u64::from(u32::MAX), 1 << 60, u64::MAX] {
            // Eleven 65536ths of the header's 6144 bytes are a little more than one byte.
            check("qwen2", &[Edit::Number(place * 11, number, 8)], false);
        }
    }
}
