//! Rows, frames and draws have the same bits on every machine: the hashes below are those of x86-64 and
//! aarch64, of glibc and musl. `scripts/test-machines` runs this on the kinds that are not at hand.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is under test")]

use std::num::NonZeroU32;
use std::path::Path;
use tandem_codec::Codec;
use tandem_engine::sampler::SamplingParameters;
use tandem_engine::{
    Back, BackOpen, BackStep, Compute, FrameCodec, Half as _, ModelFiles, RowsInput, RowsStep,
    RunRequest, Want,
};

const MODEL: &str = "llama-gqa-llama3-tied";
const TOKENS: usize = 20;

fn hash(parts: impl IntoIterator<Item = Vec<u8>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&part);
    }
    format!("{:.16}", hasher.finalize().to_hex())
}

fn prompt() -> Vec<u32> {
    (0..40).map(|i| (i * 37 + 11) % 300).collect()
}

/// Draws tokens behind the prompt with everything that sampling computes.
fn draws(back: &mut Back) -> Vec<Vec<u8>> {
    let open = BackOpen {
        context: 100,
        ..BackOpen::default()
    };
    let mut session = back.session(open).unwrap();
    let parameters = SamplingParameters {
        temperature: 0.9,
        top_k: NonZeroU32::new(50),
        top_p: 0.95,
        min_p: 0.01,
        repetition_penalty: 1.1,
        frequency_penalty: 0.2,
        seed: 7,
        logprobs: Some(5),
        ..SamplingParameters::default()
    };
    let run = BackStep::Run(Box::new(RunRequest {
        parameters,
        ..RunRequest::default()
    }));
    back.step(&mut session, run).unwrap();
    let mut next = prompt();
    let mut start = 0;
    let mut drawn = Vec::new();
    for _ in 0..TOKENS {
        let count = next.len();
        let rows = BackStep::Rows(RowsStep {
            epoch: 0,
            start,
            count,
            skip: 0,
            token_ids: next.clone(),
            input: RowsInput::Tokens(next),
            want: Want::Token,
            room: None,
        });
        let token = back.step(&mut session, rows).unwrap().tokens.remove(0);
        start += count;
        // A float's shortest decimal names its bits.
        drawn.push(format!("{} {:?}", token.id, token.logprobs).into_bytes());
        next = vec![token.id];
    }
    drawn
}

#[test]
fn rows_frames_and_draws_are_the_same_on_every_machine() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models");
    let files = ModelFiles::open(&models.join(MODEL)).unwrap();
    let expected = [
        ("f32", "e02865a4a33387ca", "8382ad3c829bcc04"),
        ("int8", "0dd19e0bd9766ab1", "6b6318a9b35e1742"),
        ("int4:32", "70b250d5bf79a384", "fbb741f0c4a98683"),
    ];
    let mut found = Vec::new();
    for (weights, ..) in expected {
        let compute = Compute::configured(["plain", "cpu"], weights, "int8").unwrap();
        let mut front = files.front(1, &compute, |_| {}).unwrap();
        let mut session = front.session(100).unwrap();
        let rows = front.rows(&mut session, &prompt()).unwrap();
        let mut frames: Vec<Vec<u8>> = vec![rows.iter().flat_map(|v| v.to_le_bytes()).collect()];
        for codec in Codec::ALL {
            let codec = FrameCodec {
                codec,
                calibrated: false,
            };
            let encoded = front.encode(&rows, codec, 4096).unwrap();
            frames.extend(encoded.into_iter().map(|(bytes, _)| bytes.to_vec()));
        }
        let mut back = files.back(0, &compute, |_| {}).unwrap();
        found.push((weights, hash(frames), hash(draws(&mut back))));
    }
    let found: Vec<_> = found
        .iter()
        .map(|(weights, frames, draws)| (*weights, frames.as_str(), draws.as_str()))
        .collect();
    assert_eq!(found, expected);
}
