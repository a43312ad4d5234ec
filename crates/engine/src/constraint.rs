//! Which tokens an answer may have.

use std::fmt::Debug;

/// What an answer has to keep: before each token, it says which ones may come.
///
/// What it says is a function of the answer's tokens so far alone, so that an answer is the same whatever runs with it and
/// wherever it goes on.
pub trait Constraint: Debug + Send {
    /// The tokens that may come next. One that ends the answer is among them where the answer may end.
    ///
    /// # Errors
    /// It takes more than it may.
    fn mask(&mut self) -> Result<&TokenMask, ConstraintError>;

    /// Takes note of the token that came.
    ///
    /// # Errors
    /// It may not come, or takes more than it may.
    fn accept(&mut self, id: u32) -> Result<(), ConstraintError>;
}

/// An answer cannot go on within the bounds of what it has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the answer has to keep takes more than it may")]
pub struct ConstraintError;

/// A set of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMask {
    /// Bit `id % 32` of word `id / 32`.
    words: Vec<u32>,
}

impl TokenMask {
    /// No token of so many.
    pub fn new(vocabulary: usize) -> Self {
        Self {
            words: vec![0; vocabulary.div_ceil(32)],
        }
    }

    /// Takes all tokens out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Puts a token in, or takes it out.
    pub fn set(&mut self, id: u32, is_in: bool) {
        if let Some(word) = self.words.get_mut(id as usize / 32) {
            let bit = 1 << (id % 32);
            *word = if is_in { *word | bit } else { *word & !bit };
        }
    }

    /// Whether a token is in it.
    pub fn has(&self, id: u32) -> bool {
        let word = self.words.get(id as usize / 32);
        word.is_some_and(|word| word & (1 << (id % 32)) != 0)
    }

    /// Takes the tokens of `words`, of which it ignores those behind its own.
    pub fn copy(&mut self, words: &[u32]) {
        let shared = words.len().min(self.words.len());
        self.words[..shared].copy_from_slice(&words[..shared]);
        self.words[shared..].fill(0);
    }

    /// Makes the logits of all other tokens −∞.
    pub fn apply(&self, logits: &mut [f32]) {
        let mut words = self.words.iter().copied();
        for logits in logits.chunks_mut(32) {
            match words.next().unwrap_or(0) {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                word => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        if word & (1 << bit) == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tokens_but_those_of_the_mask_become_impossible() {
        let mut mask = TokenMask::new(70);
        for id in [0, 33, 69] {
            mask.set(id, true);
        }
        mask.set(33, false);
        assert!(mask.has(0) && mask.has(69) && !mask.has(33) && !mask.has(700));
        // The head may have more rows than the tokenizer has tokens.
        let mut logits = vec![1.0; 100];
        mask.apply(&mut logits);
        let possible: Vec<usize> = (0..100).filter(|&id| logits[id] == 1.0).collect();
        assert_eq!(possible, [0, 69]);
        mask.copy(&[u32::MAX; 5]);
        assert!(mask.has(69));
        mask.copy(&[1]);
        assert!(mask.has(0) && !mask.has(40));
    }
}
