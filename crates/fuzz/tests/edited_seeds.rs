//! Every target, with each of its seeds as it is and with edits of them.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of tests fail as tests do"
)]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::fs;
use std::path::Path;
use tandem_fuzz::{Edit, TARGETS, Target, apply, seeds};

/// The most edits of an input.
const EDITS: usize = 6;

fn edit() -> impl Strategy<Value = Edit> {
    let place = any::<usize>();
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xff, b'{', b'"', b'0', b'\n']),
    ];
    let number = prop_oneof![
        Just(u64::MAX),
        Just(u64::MAX / 8 + 1),
        Just(i64::MAX as u64),
        Just(u64::from(u32::MAX)),
        Just(i32::MAX as u64),
        0_u64..300,
        (0_u32..64).prop_map(|bit| 1 << bit),
        any::<u64>(),
    ];
    let width = prop::sample::select(vec![2_usize, 4, 8]);
    let piece = prop::collection::vec(any::<u8>(), 1..9);
    prop_oneof![
        3 => (place, any::<u8>()).prop_map(|(place, bit)| Edit::Flip(place, bit)),
        3 => (place, byte).prop_map(|(place, byte)| Edit::Set(place, byte)),
        3 => (place, number, width)
            .prop_map(|(place, number, bytes)| Edit::Number { place, number, bytes }),
        2 => (place, 0_usize..64).prop_map(|(place, count)| Edit::Delete(place, count)),
        2 => (place, 0_usize..64).prop_map(|(place, count)| Edit::Repeat(place, count)),
        2 => (place, piece).prop_map(|(place, piece)| Edit::Insert(place, piece)),
        1 => (place, any::<usize>(), any::<usize>())
            .prop_map(|(place, seed, from)| Edit::Splice { place, seed, from }),
    ]
}

fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("{name} is no target"))
}

fn holds(name: &str) {
    let target = target(name);
    (target.run)(&[]);
    let seeds = seeds(target).unwrap();
    assert!(!seeds.is_empty(), "{name} has no seeds");
    for seed in &seeds {
        eprintln!("{name}: {}", seed.name);
        (target.run)(&seed.bytes);
    }
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|seed| seed.bytes).collect();
    let edited = (any::<usize>(), prop::collection::vec(edit(), 1..=EDITS));
    let mut runner = TestRunner::new(Config {
        cases: target.cases,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&edited, |(seed, edits)| {
        let bytes = apply(seeds[seed % seeds.len()].clone(), &edits, &seeds);
        (target.run)(&bytes);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{name}: {failure}");
    }
}

#[test]
fn every_target_has_a_program() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/src/bin");
    let mut programs: Vec<String> = fs::read_dir(programs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    programs.sort();
    let named: Vec<String> = TARGETS.iter().map(|t| format!("{}.rs", t.name)).collect();
    assert_eq!(programs, named);
}

macro_rules! hold {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                holds(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_tried() {
            let tried = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), tried);
        }
    };
}

hold! {
    chat_template
    configuration
    constraint
    decode
    gguf
    openai
    package
    profile
    round_trip
    safetensors
    stream
    text
    tokenizer
}
