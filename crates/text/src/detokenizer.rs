//! Text from token ids that arrive one at a time.
//!
//! A token is not a piece of text. It may hold half a character, and some
//! decoders drop the space before the first token of what they decode. So each
//! new id is decoded together with the few ids before it, and what that adds to
//! the text is the news: the scheme of text-generation-inference, vLLM and the
//! tokenizers library. The window holds the ids whose text was sent last (the
//! context) and those whose text is still held back, a handful in all, so that
//! the cost of a token does not grow with the answer.
//!
//! Beyond that scheme, bytes that will never become a character do not stall the
//! stream.

use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// An unfinished character has at most three bytes, and a token at least one: it
/// lies within so many ids at the end of the window.
const MAX_UNFINISHED: usize = 3;

/// Ids that may wait without giving text before the window moves on regardless.
const MAX_HELD: usize = 32;

/// Ids of the prompt that are kept as context for the first generated one.
const PROMPT_CONTEXT: usize = 6;

/// Turns the ids of one answer into text as they arrive, never splitting a
/// character. Everything [`push`](Self::push) and [`finish`](Self::finish) return,
/// joined, equals [`Tokenizer::decode`] of all the ids.
///
/// One exception: a decoder with byte fallback, as Llama 2's, decodes a run of
/// byte tokens as a whole, so that one bad byte (or a U+FFFD spelled in bytes)
/// spoils the characters around it. What was sent is never retracted, so there the
/// two may differ in how many U+FFFD stand for the bad bytes.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    skip_special: bool,
    /// Context ids, then held ids.
    window: Vec<u32>,
    /// How many ids of the window are context.
    context: usize,
    /// The text of the context alone.
    context_text: String,
    /// The text of the held ids, as far as it is known.
    held: String,
}

impl Detokenizer {
    /// For an answer that is a text of its own, as a chat message is. Special
    /// tokens give no text.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self {
            tokenizer: tokenizer.clone(),
            skip_special: true,
            window: Vec::new(),
            context: 0,
            context_text: String::new(),
            held: String::new(),
        }
    }

    /// For text that goes on where `prompt` ends: a decoder that strips the first
    /// space (Llama 2, Mistral) then keeps the one between prompt and answer.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn after_prompt(tokenizer: &Tokenizer, prompt: &[u32]) -> Result<Self> {
        let mut detokenizer = Self::new(tokenizer);
        let tail = prompt.len().saturating_sub(PROMPT_CONTEXT);
        detokenizer.window.extend(&prompt[tail..]);
        detokenizer.window.retain(|&id| !tokenizer.is_special(id));
        detokenizer.context = detokenizer.window.len();
        detokenizer.context_text = detokenizer.decode(0, detokenizer.context)?;
        Ok(detokenizer)
    }

    /// Lets special tokens appear in the text, from the next id on.
    #[must_use]
    pub fn with_special_tokens(mut self) -> Self {
        self.skip_special = false;
        self
    }

    /// Takes the next id and returns the text that became certain: often one
    /// token's, empty while a character is incomplete.
    ///
    /// # Errors
    /// [`TextError::Decode`](crate::TextError::Decode) if the tokenizer's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let silent = self.skip_special && self.tokenizer.is_special(id);
        if silent || self.tokenizer.id_to_token(id).is_none() {
            return Ok(String::new());
        }
        self.window.push(id);
        let text = self.decode(0, self.window.len())?;
        self.held = self.news(&text, self.window.len())?;
        let waiting = self.window.len() - self.context;
        if waiting >= MAX_HELD {
            return self.release(self.window.len());
        }
        if self.held.ends_with(char::REPLACEMENT_CHARACTER) {
            return if waiting > MAX_UNFINISHED {
                self.release_settled(&text)
            } else {
                Ok(String::new())
            };
        }
        if self.held.is_empty() {
            return Ok(String::new());
        }
        self.release(self.window.len())
    }

    /// Ends the answer: the text still held back, where an incomplete character
    /// shows as U+FFFD. The detokenizer is then as new, without context.
    pub fn finish(&mut self) -> String {
        self.window.clear();
        self.context = 0;
        self.context_text.clear();
        std::mem::take(&mut self.held)
    }

    /// The window ends in U+FFFD and has for longer than a character takes: invalid
    /// bytes, or text that really contains U+FFFD. Send what lies before the last
    /// boundary of ids that no character straddles, for then its two sides decoded
    /// apart are the whole. The ids that may be an unfinished character stay.
    fn release_settled(&mut self, text: &str) -> Result<String> {
        let end = self.window.len();
        for boundary in (self.context + 1..=end - MAX_UNFINISHED).rev() {
            let head = self.decode(0, boundary)?;
            let tail = self.decode(boundary, end)?;
            if text.strip_prefix(head.as_str()) == Some(tail.as_str()) {
                self.held = self.news(&head, boundary)?;
                let released = self.release(boundary)?;
                self.held = tail;
                return Ok(released);
            }
        }
        Ok(String::new())
    }

    /// Returns the held text, whose ids end at `boundary`, and makes those ids the context.
    fn release(&mut self, boundary: usize) -> Result<String> {
        let context_text = self.decode(self.context, boundary)?;
        self.window.drain(..self.context);
        self.context = boundary - self.context;
        self.context_text = context_text;
        Ok(std::mem::take(&mut self.held))
    }

    /// What `text`, the text of the window up to `boundary`, adds to the context's.
    fn news(&self, text: &str, boundary: usize) -> Result<String> {
        match text.strip_prefix(self.context_text.as_str()) {
            Some(news) => Ok(news.to_owned()),
            // The held ids changed how the context reads, which was already sent.
            None => self.decode(self.context, boundary),
        }
    }

    fn decode(&self, from: usize, to: usize) -> Result<String> {
        self.tokenizer
            .decode(&self.window[from..to], self.skip_special)
    }
}
