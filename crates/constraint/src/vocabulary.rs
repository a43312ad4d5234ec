//! The tokens that forms are made of.

use toktrie::{TokRxInfo, TokTrie};

/// The bytes of each token of a model.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary(Vec<Vec<u8>>);

impl Vocabulary {
    /// Of a model of `size` tokens. None may be chosen that is not [added](Self::add).
    pub fn new(size: usize) -> Self {
        Self(vec![Vec::new(); size])
    }

    /// A token that is text.
    pub fn add(&mut self, id: u32, bytes: Vec<u8>) {
        if let Some(place) = self.0.get_mut(id as usize) {
            *place = bytes;
        }
    }

    /// A token that is no text. Grammars may name it: `<|im_end|>`.
    pub fn add_special(&mut self, id: u32, name: &str) {
        let marker = [TokTrie::SPECIAL_TOKEN_MARKER];
        self.add(id, [&marker, name.as_bytes()].concat());
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn trie(&self) -> TokTrie {
        let size = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        // Which tokens end an answer is said with each answer, not with the vocabulary.
        TokTrie::from(&TokRxInfo::new(size, toktrie::INVALID_TOKEN), &self.0)
    }
}
