//! What the sampler promises, whatever the logits and parameters, against the naive [`reference`].

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

mod distribution;
mod reference;

/// A small row: steps of a quarter, so that ties are common, with some tokens masked.
fn logits(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        12 => (-60_i8..20).prop_map(|quarters| f32::from(quarters) / 4.0),
        1 => Just(f32::NEG_INFINITY),
    ];
    (
        prop::collection::vec(logit, len),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut logits, possible)| {
            let index = possible.index(logits.len());
            logits[index] = logits[index].max(0.0);
            logits
        })
}

/// Any temperature and truncations that are not greedy.
fn random_parameters() -> impl Strategy<Value = SamplingParameters> {
    (
        prop_oneof![Just(1.0_f32), 0.1_f32..3.0],
        prop_oneof![Just(0_u32), 1_u32..60],
        prop_oneof![Just(1.0_f32), 0.05_f32..1.0],
        prop_oneof![Just(0.0_f32), 0.001_f32..0.5],
        any::<u64>(),
    )
        .prop_map(
            |(temperature, top_k, top_p, min_p, seed)| SamplingParameters {
                temperature,
                top_k: NonZeroU32::new(top_k),
                top_p,
                min_p,
                seed,
                ..Default::default()
            },
        )
}

fn sample(logits: &[f32], parameters: &SamplingParameters, position: u64) -> u32 {
    let history = TokenHistory::new();
    Sampler::new()
        .sample(logits, parameters, &history, position)
        .unwrap()
        .id
}

fn greedy(logits: &[f32]) -> u32 {
    sample(logits, &SamplingParameters::default(), 0)
}

/// What the truncations leave, by id.
fn survivors(logits: &[f32], parameters: &SamplingParameters) -> Vec<u32> {
    let softmax = Softmax::new(Peak::of(logits).unwrap().logit, parameters.temperature);
    let mut kept = Vec::new();
    truncation::keep(logits, softmax, parameters, &mut Vec::new(), &mut kept);
    let mut ids: Vec<_> = kept.iter().map(Candidate::id).collect();
    ids.sort_unstable();
    ids
}

proptest! {
    #[test]
    fn top_k_of_one_is_greedy(logits in logits(1..400), mut parameters in random_parameters()) {
        parameters.top_k = NonZeroU32::new(1);
        prop_assert_eq!(sample(&logits, &parameters, 3), greedy(&logits));
    }

    #[test]
    fn a_tiny_top_p_is_greedy(logits in logits(1..400), mut parameters in random_parameters()) {
        parameters.top_p = 1e-6;
        prop_assert_eq!(sample(&logits, &parameters, 3), greedy(&logits));
    }

    #[test]
    fn greedy_ignores_seed_position_and_truncations(
        logits in logits(1..400),
        mut parameters in random_parameters(),
        position: u64,
    ) {
        parameters.temperature = 0.0;
        prop_assert_eq!(sample(&logits, &parameters, position), greedy(&logits));
    }

    #[test]
    fn what_may_be_drawn_is_what_full_sorts_leave(
        logits in logits(1..400),
        parameters in random_parameters(),
        position: u64,
    ) {
        let exact: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        if let Some(expected) = reference::distribution(&exact, &parameters) {
            let id = sample(&logits, &parameters, position);
            prop_assert!(expected[id as usize] > 0.0);
            // Below this a weight rounds to 0 or not.
            let certain = |id: &u32| expected[*id as usize] > 1e-12;
            let found = survivors(&logits, &parameters);
            prop_assert!(found.iter().all(|id| expected[*id as usize] > 0.0));
            let found: Vec<_> = found.into_iter().filter(certain).collect();
            let expected: Vec<_> = (0..logits.len() as u32).filter(certain).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_position_gets_the_same_token_whatever_the_sampler_did_before(
        rows in prop::collection::vec((logits(1..2000), random_parameters()), 1..6),
        position: u64,
    ) {
        let mut used = Sampler::new();
        let history = TokenHistory::new();
        for (logits, mut parameters) in rows {
            parameters.logit_bias = vec![(0, 1.0)];
            parameters.logprobs = Some(3);
            let again = used.sample(&logits, &parameters, &history, position);
            let fresh = Sampler::new().sample(&logits, &parameters, &history, position);
            prop_assert_eq!(again, fresh);
        }
    }

    #[test]
    fn greedy_follows_bias_and_penalties_as_naively_counted(
        logits in logits(8..100),
        prompt in prop::collection::vec(0_u32..8, 0..30),
        generated in prop::collection::vec(0_u32..8, 0..30),
        repetition in prop_oneof![Just(1.0_f32), 0.1_f32..10.0],
        presence in prop_oneof![Just(0.0_f32), -2.0_f32..2.0],
        frequency in prop_oneof![Just(0.0_f32), -2.0_f32..2.0],
        bias in -10_f32..10.0,
    ) {
        let parameters = SamplingParameters {
            repetition_penalty: repetition,
            presence_penalty: presence,
            frequency_penalty: frequency,
            logit_bias: vec![(3, bias)],
            ..Default::default()
        };
        let history = reference::history(&prompt, &generated);
        let expected = reference::adjusted(&logits, &parameters, &prompt, &generated);
        let mut found = logits.clone();
        penalties::apply(&mut found, &parameters, &history).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!(
                f64::from(*found) == *expected
                    || (f64::from(*found) - expected).abs() < 1e-5 * (1.0 + expected.abs())
            );
        }
        let id = Sampler::new().sample(&logits, &parameters, &history, 0).unwrap().id;
        let first = found.iter().position(|logit| *logit == peak::highest(&found));
        prop_assert_eq!(Some(id as usize), first);
    }

    #[test]
    fn a_masked_token_is_never_drawn(
        masked in prop::collection::vec(any::<bool>(), 2..600),
        mut parameters in random_parameters(),
        position: u64,
    ) {
        let mut masked = masked;
        masked[0] = false;
        parameters.temperature = 100.0;
        let row: Vec<f32> =
            masked.iter().map(|&masked| if masked { f32::NEG_INFINITY } else { 0.0 }).collect();
        prop_assert!(!masked[sample(&row, &parameters, position) as usize]);
    }
}

#[test]
fn ties_go_to_the_lowest_id() {
    let flat = vec![0.5; 3000];
    assert_eq!(greedy(&flat), 0);
    let mut parameters = SamplingParameters {
        temperature: 1.0,
        top_k: NonZeroU32::new(3),
        ..Default::default()
    };
    assert_eq!(survivors(&flat, &parameters), [0, 1, 2]);
    parameters.top_k = None;
    parameters.top_p = 0.001;
    assert_eq!(survivors(&flat, &parameters).last(), Some(&3));
    parameters.top_p = 0.000_9;
    assert_eq!(survivors(&flat, &parameters), [0, 1, 2]);
}

#[test]
fn a_min_p_of_one_leaves_the_highest_logits_only() {
    let row = [1.0, 2.0, f32::NEG_INFINITY, 2.0, 1.999];
    let mut parameters = SamplingParameters {
        temperature: 1.0,
        min_p: 1.0,
        ..Default::default()
    };
    assert_eq!(survivors(&row, &parameters), [1, 3]);
    parameters.top_k = NonZeroU32::new(4);
    assert_eq!(survivors(&row, &parameters), [1, 3]);
}

#[test]
fn rows_without_a_distribution_are_refused() {
    let history = TokenHistory::new();
    let error = |logits: &[f32]| {
        let parameters = SamplingParameters::default();
        Sampler::new()
            .sample(logits, &parameters, &history, 0)
            .unwrap_err()
    };
    assert_eq!(error(&[]), SampleError::NoLogits);
    assert_eq!(error(&[f32::NEG_INFINITY; 9]), SampleError::AllMasked);
    let nan = SampleError::NonFiniteLogits { index: 1 };
    assert_eq!(error(&[0.0, f32::NAN, f32::INFINITY]), nan);
    assert_eq!(error(&[0.0, f32::INFINITY]), nan);
    let found = MAX_VOCABULARY + 1;
    assert_eq!(
        error(&vec![0.0; found]),
        SampleError::TooManyLogits { found }
    );
}

#[test]
fn parameters_that_were_never_validated_do_no_harm() {
    let row = [0.0, 1.0, 2.0];
    let history = reference::history(&[0], &[1]);
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 0.0, 1e30] {
        for field in 0..6 {
            let mut parameters = SamplingParameters {
                temperature: 1.0,
                logprobs: Some(u32::MAX),
                ..Default::default()
            };
            let fields = [
                &mut parameters.temperature,
                &mut parameters.top_p,
                &mut parameters.min_p,
                &mut parameters.repetition_penalty,
                &mut parameters.presence_penalty,
                &mut parameters.frequency_penalty,
            ];
            for (index, place) in fields.into_iter().enumerate() {
                if index == field {
                    *place = value;
                }
            }
            if let Ok(sampled) = Sampler::new().sample(&row, &parameters, &history, 0) {
                assert!(sampled.id < 3);
            }
        }
    }
}

#[test]
fn logprobs_are_of_the_raw_logits() {
    let row = [0.0, 1.0, 2.0];
    let parameters = SamplingParameters {
        temperature: 0.5,
        top_k: NonZeroU32::new(1),
        logit_bias: vec![(0, 100.0)],
        logprobs: Some(1),
        ..Default::default()
    };
    let sampled = Sampler::new()
        .sample(&row, &parameters, &TokenHistory::new(), 0)
        .unwrap();
    assert_eq!(sampled.id, 0);
    let logprobs = sampled.logprobs.unwrap();
    let log_sum = (1.0_f32 + 1_f32.exp() + 2_f32.exp()).ln();
    assert!((logprobs.logprob + log_sum).abs() < 1e-6);
    assert_eq!(logprobs.top[0].id, 2);
    assert!((logprobs.top[0].logprob - (2.0 - log_sum)).abs() < 1e-6);
}
