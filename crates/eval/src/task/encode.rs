//! Items as tokens.

use crate::error::{EvalError, Result};
use crate::task::item::{Choice, Item};
use tandem_text::{Tokenizer, bos_added_by};

/// The tokens of a context, and of what is scored behind it. Neither is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncodedChoice {
    pub(crate) context: Vec<u32>,
    pub(crate) continuation: Vec<u32>,
}

impl EncodedChoice {
    /// Rows that a model runs: all tokens but for the last, which is only predicted.
    pub(crate) fn rows(&self) -> usize {
        self.context.len() + self.continuation.len() - 1
    }
}

/// Encodes items for a model of `positions` positions, a list of choices each.
///
/// # Errors
/// When a text cannot be spelled, or a choice has no tokens or too many.
pub(crate) fn encode(
    items: &[Item],
    tokenizer: &Tokenizer,
    positions: usize,
) -> Result<Vec<Vec<EncodedChoice>>> {
    let bos = bos_added_by(tokenizer)?;
    let encoded = items.iter().enumerate().map(|(item, of)| {
        let choices = of.choices.iter().enumerate().map(|(choice, text)| {
            let pair = pair(text, |text| Ok(tokenizer.encode(text, false)?))?;
            fit(pair, bos, positions).map_err(|unfit| match unfit {
                Unfit::Empty => EvalError::NothingScored { item, choice },
                Unfit::Long(found) => EvalError::LongChoice {
                    item,
                    choice,
                    found,
                    most: positions,
                },
            })
        });
        choices.collect()
    });
    encoded.collect()
}

/// Where the context ends among the tokens, as in the harness (`_encode_pair` of `lm_eval/api/model.py`):
/// spaces at the context's end belong to the continuation, both texts are encoded in one, and what
/// is longer than the context by itself is the continuation.
fn pair(
    choice: &Choice,
    encode: impl Fn(&str) -> Result<Vec<u32>>,
) -> Result<(Vec<u32>, Vec<u32>)> {
    let context = choice.context.trim_end();
    let whole = format!("{}{}", choice.context, choice.continuation);
    let context = encode(context)?;
    let whole = encode(&whole)?;
    let continuation = whole.get(context.len()..).unwrap_or_default().to_vec();
    Ok((context, continuation))
}

enum Unfit {
    Empty,
    Long(usize),
}

/// Puts the BOS before a context, and drops what is too long for the model from the left, as the
/// harness does (`_loglikelihood_tokens` of `lm_eval/models/huggingface.py`).
fn fit(
    (mut context, continuation): (Vec<u32>, Vec<u32>),
    bos: Option<u32>,
    positions: usize,
) -> std::result::Result<EncodedChoice, Unfit> {
    context.splice(0..0, bos);
    if context.is_empty() || continuation.is_empty() {
        return Err(Unfit::Empty);
    }
    if continuation.len() > positions {
        return Err(Unfit::Long(continuation.len()));
    }
    let mut fitting = EncodedChoice {
        context,
        continuation,
    };
    let excess = fitting.rows().saturating_sub(positions);
    fitting.context.drain(..excess);
    Ok(fitting)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token a letter, but that "ab" and a space with its letter are one.
    fn letters(text: &str) -> Result<Vec<u32>> {
        let merged = text.replace("ab", "X").replace(" c", "Y");
        Ok(merged.chars().map(u32::from).collect())
    }

    fn paired(context: &str, continuation: &str) -> (String, String) {
        let choice = Choice {
            context: context.to_owned(),
            continuation: continuation.to_owned(),
            characters: 1,
        };
        let (context, continuation) = pair(&choice, letters).unwrap();
        let text = |ids: Vec<u32>| ids.into_iter().filter_map(char::from_u32).collect();
        (text(context), text(continuation))
    }

    #[test]
    fn a_continuation_begins_behind_the_tokens_of_its_context() {
        let of = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(paired("d", " cd"), of("d", "Yd"));
        // A space at the end goes over, and so makes one token with what follows.
        assert_eq!(paired("d ", "cd"), of("d", "Yd"));
        // A token across the border counts as the context's, whose own last token stays.
        assert_eq!(paired("da", "bd"), of("da", "d"));
        assert_eq!(paired("a", "b"), of("a", ""));
    }

    #[test]
    fn what_is_too_long_is_dropped_from_the_left() {
        let fitted = |positions| fit((vec![1, 2, 3], vec![4, 5]), Some(9), positions);
        let context = |positions| fitted(positions).ok().map(|f| f.context);
        assert_eq!(context(5), Some(vec![9, 1, 2, 3]));
        assert_eq!(context(4), Some(vec![1, 2, 3]));
        assert_eq!(context(2), Some(vec![3]));
        assert!(matches!(fitted(1), Err(Unfit::Long(2))));
        assert!(matches!(fit((vec![1], vec![]), None, 9), Err(Unfit::Empty)));
        assert!(matches!(fit((vec![], vec![1]), None, 9), Err(Unfit::Empty)));
    }
}
