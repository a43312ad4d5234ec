//! A text as chunks of tokens, cut as llama.cpp's perplexity tool cuts it.

use crate::error::TextError;
use crate::tokenizer::Tokenizer;
use std::path::Path;

/// The tokens of a text, in chunks that each start afresh.
#[derive(Debug)]
pub struct Corpus {
    tokens: Vec<u32>,
    /// What every chunk begins with, where the model's tokenizer begins texts with it.
    bos: Option<u32>,
    context: usize,
}

impl Corpus {
    /// Tokenises the text of a file whole, to be cut into chunks of `context` tokens.
    ///
    /// # Errors
    /// When the file cannot be read or spelled, or does not fill one chunk.
    pub fn read(path: &Path, tokenizer: &Tokenizer, context: usize) -> Result<Self, TextError> {
        let text = std::fs::read_to_string(path).map_err(|source| TextError::Read {
            path: path.to_owned(),
            source,
        })?;
        let bos = bos_added_by(tokenizer)?;
        let mut tokens: Vec<u32> = bos.into_iter().collect();
        tokens.extend(tokenizer.encode(&text, false)?);
        Self::new(tokens, bos, context)
    }

    fn new(tokens: Vec<u32>, bos: Option<u32>, context: usize) -> Result<Self, TextError> {
        if tokens.len() < context {
            return Err(TextError::TooShort {
                found: tokens.len(),
                needed: context,
            });
        }
        Ok(Self {
            tokens,
            bos,
            context,
        })
    }

    /// Whole chunks; what is left of the text is not used.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.context
    }

    /// Never: a corpus has at least one chunk.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunks in order. With a BOS, it takes the place of a chunk's first token, as in
    /// llama.cpp, so that chunk boundaries do not depend on it.
    pub fn chunks(&self) -> impl Iterator<Item = Vec<u32>> {
        self.tokens.chunks_exact(self.context).map(|chunk| {
            let mut chunk = chunk.to_vec();
            if let Some(bos) = self.bos {
                chunk[0] = bos;
            }
            chunk
        })
    }
}

/// The first token of an empty text, if it is the model's BOS.
///
/// # Errors
/// When the tokenizer fails.
pub fn bos_added_by(tokenizer: &Tokenizer) -> Result<Option<u32>, TextError> {
    let named = tokenizer.bos_token().and_then(|t| tokenizer.token_to_id(t));
    let first = tokenizer.encode("", true)?.first().copied();
    Ok(first.filter(|_| first == named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_text_is_not_used() {
        let corpus = Corpus::new((0..11).collect(), None, 4).unwrap();
        assert_eq!(corpus.len(), 2);
        let chunks: Vec<_> = corpus.chunks().collect();
        assert_eq!(chunks, [[0, 1, 2, 3], [4, 5, 6, 7]]);
    }

    #[test]
    fn every_chunk_begins_with_a_bos_where_texts_do() {
        let corpus = Corpus::new((100..108).collect(), Some(100), 4).unwrap();
        let chunks: Vec<_> = corpus.chunks().collect();
        assert_eq!(chunks, [[100, 101, 102, 103], [100, 105, 106, 107]]);
    }

    #[test]
    fn a_text_shorter_than_a_chunk_is_refused() {
        assert!(matches!(
            Corpus::new(vec![1, 2], None, 3),
            Err(TextError::TooShort {
                found: 2,
                needed: 3
            })
        ));
    }
}
