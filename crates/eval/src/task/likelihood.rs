//! How likely a model finds the choices of an item.

use crate::divergence::likeliest;
use crate::error::{EvalError, Result};
use crate::pipeline::Pipeline;
use crate::score::negative_log_likelihood;
use crate::task::encode::EncodedChoice;

/// What a model says of a choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Likelihood {
    /// ln of the continuation's probability behind its context, in nats.
    pub(crate) log: f64,
    /// Whether each of its tokens is the likeliest there.
    pub(crate) greedy: bool,
}

/// Scores the choices of one item, from an empty session, so that an item's figures do not depend
/// on the items before it. What consecutive contexts have in common is run once: all of it, in most
/// tasks, with one row of logits behind it.
///
/// # Errors
/// When a step fails, or the model's arithmetic does. `item` names the item then.
pub(crate) fn score(
    pipeline: &mut Pipeline,
    item: usize,
    choices: &[EncodedChoice],
) -> Result<Vec<Likelihood>> {
    let mut context: &[u32] = &[];
    let mut behind = Vec::new();
    let mut likelihoods = Vec::with_capacity(choices.len());
    for (choice, tokens) in choices.iter().enumerate() {
        if tokens.context != context {
            let last = tokens.context.len() - 1;
            let kept = common(context, &tokens.context).min(last);
            context = &tokens.context;
            pipeline.truncate(kept)?;
            pipeline.append(&context[kept..], last, |_, logits| {
                behind = logits.to_vec();
                Ok(())
            })?;
        }
        let mut likelihood = Likelihood {
            log: 0.0,
            greedy: true,
        };
        let mut add = |logits: &[f32], token: u32| {
            likelihood.log -= negative_log_likelihood(logits, token);
            likelihood.greedy &= likeliest(logits) == token as usize;
        };
        let continuation = &tokens.continuation;
        add(&behind, continuation[0]);
        pipeline.truncate(context.len())?;
        let rows = &continuation[..continuation.len() - 1];
        pipeline.append(rows, context.len(), |position, logits| {
            add(logits, continuation[position - context.len() + 1]);
            Ok(())
        })?;
        if !likelihood.log.is_finite() {
            return Err(EvalError::Likelihood { item, choice });
        }
        likelihoods.push(likelihood);
    }
    Ok(likelihoods)
}

/// Tokens that both begin with.
fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::precision::Sides;
    use clap::Parser as _;
    use std::path::Path;
    use tandem_model::ComputeThread;

    fn pipeline(cut: &str) -> Pipeline {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        let model = fixtures.join("models/llama-gqa-llama3-tied");
        let mut words = vec![
            "tandem-eval",
            "task",
            "--task",
            "arc",
            "--data",
            "d",
            "--model",
        ];
        words.push(model.to_str().unwrap());
        words.extend(cut.split_whitespace());
        let Command::Task(args) = Cli::parse_from(words).command else {
            panic!("not a task");
        };
        let sides = Sides::open(&args.model, &args.precision).unwrap();
        Pipeline::load(&sides, &args.cut, 160).unwrap()
    }

    fn choice(context: &[u32], continuation: &[u32]) -> EncodedChoice {
        EncodedChoice {
            context: context.to_vec(),
            continuation: continuation.to_vec(),
        }
    }

    /// The whole sequence in one run, from position 0.
    fn whole(pipeline: &mut Pipeline, choice: &EncodedChoice) -> Likelihood {
        let tokens = [&choice.context[..], &choice.continuation].concat();
        let (mut log, mut greedy) = (0.0, true);
        let rows = &tokens[..tokens.len() - 1];
        let first = choice.context.len() - 1;
        let run = pipeline.run(rows, first, |position, logits| {
            log -= negative_log_likelihood(logits, tokens[position + 1]);
            greedy &= likeliest(logits) == tokens[position + 1] as usize;
            Ok(())
        });
        run.unwrap();
        Likelihood { log, greedy }
    }

    #[test]
    fn contexts_run_once_give_what_whole_sequences_give() {
        let _computing = ComputeThread::begin(1);
        let long: Vec<u32> = (0..140).map(|i| 5 + i % 90).collect();
        let choices = [
            choice(&long, &[7, 8, 9]),
            choice(&long, &[11]),
            choice(&long, &[12, 13]),
            // Another end, another length, one that the last begins with, and nothing in common.
            choice(&[&long[..100], &[3, 4]].concat(), &[7, 8]),
            choice(&long[..100], &[7, 8]),
            choice(&long[..130], &[7, 8]),
            choice(&[2], &[7, 8]),
        ];
        for cut in ["", "--split 2", "--split 1 --framing decode"] {
            let mut pipeline = pipeline(cut);
            let found = score(&mut pipeline, 0, &choices).unwrap();
            for (found, choice) in found.iter().zip(&choices) {
                let expected = whole(&mut pipeline, choice);
                let difference = (found.log - expected.log).abs();
                assert!(difference < 1e-4, "{cut}: {found:?} for {expected:?}");
                assert_eq!(found.greedy, expected.greedy, "{cut}");
            }
            assert_eq!(score(&mut pipeline, 0, &choices).unwrap(), found, "{cut}");
        }
    }

    #[test]
    fn what_is_greedy_is_what_the_model_says() {
        let _computing = ComputeThread::begin(1);
        let mut pipeline = pipeline("");
        let mut tokens = vec![5, 6, 7];
        for _ in 0..3 {
            let last = tokens.len() - 1;
            let mut next = 0;
            let logits = |_: usize, logits: &[f32]| {
                next = likeliest(logits) as u32;
                Ok(())
            };
            pipeline.run(&tokens, last, logits).unwrap();
            tokens.push(next);
        }
        let (context, said) = tokens.split_at(3);
        let other = [said[0], said[1], (said[2] + 1) % 300];
        let choices = [choice(context, said), choice(context, &other)];
        let found = score(&mut pipeline, 0, &choices).unwrap();
        assert!(found[0].greedy && !found[1].greedy);
        assert!(found[0].log > found[1].log);
    }
}
