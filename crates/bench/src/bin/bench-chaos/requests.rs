//! What clients ask: a fixed list of requests, half of them greedy, half of them drawn.

use tandem_proto::v1::{self, SamplingParameters};
use tandem_tests::client::{greedy_parameters, text_request};

/// Of these the prompts are made. One has about 20 tokens.
const SENTENCES: [&str; 12] = [
    "The lighthouse keeper wrote down every ship that passed, with its name, its flag and the hour.",
    "Nobody in the village remembered when the bridge was built, but all of them knew who had paid for it.",
    "A good map says as much about the one who drew it as about the country that it shows.",
    "In the spring the river rose by two metres and carried the old mill away in a single night.",
    "She had learned to repair clocks from her grandmother, who had never owned one herself.",
    "The second train was late again, and the passengers began to tell each other stories.",
    "When the harvest failed for the third time, the council met in the school to decide what to do.",
    "Most of the letters were never answered, although each one was read aloud in the kitchen.",
    "The astronomer kept two notebooks: one for what she saw, and one for what she expected to see.",
    "They sold bread, salt and candles, and in winter also boots that had been mended twice.",
    "Every machine in the hall had a name, and the oldest one was called the minister.",
    "The boy counted the steps to the top of the tower and came to a different number each time.",
];

/// A list of so many; the same for the same number.
pub(crate) fn list(count: usize) -> Vec<v1::GenerateRequest> {
    (0..count).map(request).collect()
}

/// Prompts of 20 to about 300 tokens, answers of 40 to 120.
fn request(number: usize) -> v1::GenerateRequest {
    let sentences = 1 + number * 5 % 13;
    let prompt: Vec<&str> = (0..sentences)
        .map(|at| SENTENCES[(number * 7 + at) % SENTENCES.len()])
        .collect();
    let tokens = 40 + (number * 37 % 81) as u32;
    let mut request = text_request(&prompt.join(" "), tokens);
    let sampling = if number.is_multiple_of(2) {
        greedy_parameters()
    } else {
        SamplingParameters {
            temperature: Some(0.8),
            top_p: Some(0.95),
            seed: Some(number as u64),
            repetition_penalty: Some(1.1),
            presence_penalty: Some(0.4),
            frequency_penalty: Some(0.3),
            ..greedy_parameters()
        }
    };
    request.sampling = Some(SamplingParameters {
        ignore_eos: true,
        // None, the token's own, and the two most likely ones.
        logprobs: [None, Some(0), Some(2)][number / 2 % 3],
        ..sampling
    });
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn requests_differ_and_are_of_every_sort() {
        let list = list(24);
        let distinct: HashSet<String> = list.iter().map(|request| format!("{request:?}")).collect();
        assert_eq!(distinct.len(), list.len());
        let sampling = |request: &v1::GenerateRequest| request.sampling.clone().unwrap();
        let drawn = list
            .iter()
            .filter(|request| sampling(request).seed.is_some());
        assert_eq!(drawn.count(), 12);
        for logprobs in [None, Some(0), Some(2)] {
            assert!(
                list.iter()
                    .any(|request| sampling(request).logprobs == logprobs)
            );
        }
        assert!(
            list.iter()
                .all(|request| (40..=120).contains(&request.max_tokens.unwrap()))
        );
    }
}
