//! How often tokens come, and which, at the size of real vocabularies.

use super::*;

/// A row shaped like a language model's: a few likely tokens over a wide, uneven floor.
fn model_like(vocabulary: usize, row: u64) -> Vec<f32> {
    let mut logits: Vec<f32> = (0..vocabulary as u64)
        .map(|token| {
            // The sum of four numbers from one draw is bell-shaped enough.
            let bits = draw::bits(row, token, 0);
            let sum: u64 = (0..4).map(|part| bits >> (13 * part) & 0x1fff).sum();
            (sum as f32 / 8192.0 - 2.0) * 4.0
        })
        .collect();
    for peak in 0..20 {
        let token = draw::scaled(draw::bits(row, peak, 7), vocabulary as u64);
        logits[token as usize] += 14.0 - peak as f32 / 2.0;
    }
    logits
}

/// Draws at 20,000 positions and compares the counts with the reference's probabilities.
fn assert_distribution(name: &str, parameters: &SamplingParameters) {
    const DRAWS: u64 = 20_000;
    let row: Vec<f32> = (0..30).map(|id| ((id * 7) % 30) as f32 / 5.0).collect();
    let exact: Vec<f64> = row.iter().map(|&logit| f64::from(logit)).collect();
    let expected = reference::distribution(&exact, parameters).unwrap();
    let mut counts = vec![0_u32; row.len()];
    let mut sampler = Sampler::new();
    let history = TokenHistory::new();
    for position in 0..DRAWS {
        let sampled = sampler
            .sample(&row, parameters, &history, position)
            .unwrap();
        counts[sampled.id as usize] += 1;
    }
    let mut chi_square = 0.0;
    let mut freedom = -1.0_f64;
    for (count, probability) in counts.into_iter().zip(expected) {
        if probability == 0.0 {
            assert_eq!(count, 0, "{name}");
        } else {
            let mean = probability * DRAWS as f64;
            chi_square += (f64::from(count) - mean).powi(2) / mean;
            freedom += 1.0;
        }
    }
    // Wilson and Hilferty's approximation of the 0.999 quantile.
    let spread = 2.0 / (9.0 * freedom);
    let bound = freedom * (1.0 - spread + 3.09 * spread.sqrt()).powi(3);
    assert!(chi_square < bound, "{name}: {chi_square} >= {bound}");
}

#[test]
fn tokens_come_as_often_as_the_softmax_says() {
    let plain = SamplingParameters {
        temperature: 1.0,
        seed: 11,
        ..Default::default()
    };
    let with = |change: fn(&mut SamplingParameters)| {
        let mut parameters = plain.clone();
        change(&mut parameters);
        parameters
    };
    assert_distribution("temperature 1", &plain);
    assert_distribution("temperature 0.6", &with(|p| p.temperature = 0.6));
    assert_distribution("temperature 3", &with(|p| p.temperature = 3.0));
    assert_distribution("top-k", &with(|p| p.top_k = NonZeroU32::new(7)));
    assert_distribution("top-p", &with(|p| p.top_p = 0.8));
    assert_distribution("min-p", &with(|p| p.min_p = 0.1));
    let all = with(|p| {
        p.top_k = NonZeroU32::new(20);
        p.top_p = 0.9;
        p.min_p = 0.02;
    });
    assert_distribution("all three", &all);
}

#[test]
fn truncations_match_full_sorts_on_a_whole_vocabulary() {
    for (row, vocabulary) in [(1, 49_152), (2, 151_936)] {
        let logits = model_like(vocabulary, row);
        let exact: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        for (temperature, top_k, top_p, min_p) in [
            (0.7, 0, 0.9, 0.0),
            (1.0, 0, 0.95, 0.0),
            (1.0, 50, 0.9, 0.0),
            (1.0, 50_000, 0.99, 0.0),
            (5.0, 0, 0.9, 0.0),
            (100.0, 0, 0.5, 0.0),
            (1.0, 0, 1.0, 0.05),
            (1.5, 1000, 0.8, 1e-4),
        ] {
            let parameters = SamplingParameters {
                temperature,
                top_k: NonZeroU32::new(top_k),
                top_p,
                min_p,
                ..Default::default()
            };
            let expected = reference::distribution(&exact, &parameters);
            let expected: Option<Vec<u32>> = expected.map(|probabilities| {
                let ids = 0..vocabulary as u32;
                ids.filter(|&id| probabilities[id as usize] > 0.0).collect()
            });
            assert_eq!(
                Some(survivors(&logits, &parameters)),
                expected,
                "{parameters:?}"
            );
        }
    }
}

/// Seeds are kept by users: a change here changes the text that they get.
#[test]
fn the_tokens_of_a_seed_are_pinned() {
    let row: Vec<f32> = (0..1000)
        .map(|id| ((id * 37) % 101) as f32 / 16.0)
        .collect();
    let plain = SamplingParameters {
        temperature: 0.8,
        seed: 2026,
        ..Default::default()
    };
    let truncated = SamplingParameters {
        top_k: NonZeroU32::new(40),
        top_p: 0.9,
        ..plain.clone()
    };
    let ids = |parameters| {
        (0..6)
            .map(|p| sample(&row, parameters, p))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&plain), [68, 218, 311, 958, 655, 898]);
    assert_eq!(ids(&truncated), [60, 191, 292, 969, 595, 898]);
}
