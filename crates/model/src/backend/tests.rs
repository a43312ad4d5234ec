//! The plain backend computes the same bits everywhere.

use super::choice::Backends;
use super::plain::Plain;
use crate::checkpoint::Checkpoint;
use crate::segment::Segment;
use crate::simd::Simd;
use std::path::Path;
use tandem_shape::{LayerRange, ModelConfig, Precision};

const TOKENS: usize = 75;

/// The first 16 digits of the hash of all rows and logits of a model, by these loops, in chunks of several
/// sizes.
fn hash(name: &str, weights: &str, kv: &str, simd: Simd) -> String {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models");
    let directory = models.join(name);
    let config = ModelConfig::load(&directory).unwrap();
    let checkpoint = Checkpoint::open(&directory).unwrap();
    let precision = Precision {
        weights: weights.parse().unwrap(),
        kv: Some(kv.parse().unwrap()),
    };
    let range = LayerRange::new(0, config.layers, config.layers).unwrap();
    let backends = Backends::of_plain(Plain::with(simd));
    let segment =
        Segment::load_with(&checkpoint, &config, range, &precision, backends, |_| {}).unwrap();
    let mut cache = segment.kv_cache(range, TOKENS).unwrap();
    let tokens: Vec<u32> = (0..TOKENS as u32).map(|i| (i * 37 + 11) % 300).collect();
    let mut hasher = blake3::Hasher::new();
    for part in [
        &tokens[..60],
        &tokens[60..61],
        &tokens[61..64],
        &tokens[64..],
    ] {
        let rows = segment
            .forward(segment.embed(part).unwrap(), &mut cache)
            .unwrap();
        let logits = segment.logits(&rows, part.len()).unwrap();
        for value in rows.iter().chain(&logits) {
            hasher.update(&value.to_bits().to_le_bytes());
        }
    }
    format!("{:.16}", hasher.finalize().to_hex())
}

/// Whatever the width of its vectors, the system, or the C library: the hashes are the same on every
/// machine. Integers in the weights are chosen when they are loaded, so they are a part of this.
#[test]
fn rows_have_the_same_bits_with_all_vectors_and_on_all_machines() {
    let expected = [
        ("llama-gqa-llama3-tied", "f32", "f32", "85b83f3a99de07fb"),
        (
            "llama-gqa-llama3-tied",
            "int4:32",
            "int4",
            "11245ee14476808c",
        ),
        ("mistral-headdim", "int8", "bf16", "485665b00efa1157"),
        ("qwen2-bias", "int4:64,head=f32", "int8", "16787ac2062d0cf4"),
        ("qwen3-qknorm", "int8", "f32", "6afa18ed98119a82"),
    ];
    let mut wrong = Vec::new();
    for (name, weights, kv, expected) in expected {
        for simd in Simd::available() {
            for threads in [1, 2] {
                crate::set_threads(threads);
                let found = hash(name, weights, kv, simd);
                if found != expected {
                    wrong.push(format!("{name} in {weights}, {kv} by {simd:?}: {found}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
