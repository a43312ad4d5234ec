//! The text side of the edge: what lies between a client's words and token ids.
//!
//! ```text
//!   messages ──ChatTemplate──► prompt ──Tokenizer──► ids ──► (the model)
//!                                                             │ one id at a time
//!   client ◄── text ◄──StopMatcher◄── text ◄──Detokenizer◄────┘
//! ```
//!
//! The edge owns text: the cloud sees ids at most, and never a template. All of
//! it is pure computation over the files of a Hugging Face model directory; there
//! is no async code and no model here.
//!
//! - [`ChatTemplate`] renders messages to a prompt exactly as transformers'
//!   `apply_chat_template` does.
//! - [`Tokenizer`] turns text into ids and back, knows the ids that end an answer,
//!   and has a [fingerprint](Tokenizer::fingerprint) that both halves compare
//!   before they pair.
//! - [`Detokenizer`] turns ids into text as they arrive and never splits a character.
//! - [`TokenText`] is what a token stands for, byte by byte.
//! - [`Corpus`] cuts a long text into chunks of ids, for measuring and calibrating.
//! - [`StopStrings`] and its [`StopMatcher`] end an answer at a string, without
//!   letting a part of one through.
//!
//! ```no_run
//! use tandem_text::{
//!     ChatMessage, ChatTemplate, Detokenizer, RenderOptions, StopOutcome, StopStrings, Tokenizer,
//! };
//!
//! # fn answer(_prompt: &[u32]) -> Vec<u32> { Vec::new() }
//! # fn main() -> Result<(), tandem_text::TextError> {
//! let model = std::path::Path::new("models/smollm2-135m-instruct");
//! let tokenizer = Tokenizer::load(model)?;
//! let template = ChatTemplate::load(model)?;
//!
//! let messages = [ChatMessage::new("user", "Why is the sky blue?")];
//! let prompt = template.render(&messages, &RenderOptions::default())?;
//! // The template has written the special tokens: add none.
//! let ids = tokenizer.encode(&prompt, false)?;
//!
//! let mut detokenizer = Detokenizer::new(&tokenizer);
//! let mut stops = StopStrings::new(vec!["\n\n".into()])?.matcher();
//! for id in answer(&ids) {
//!     match stops.push(&detokenizer.push(id)?) {
//!         StopOutcome::Continue(text) => print!("{text}"),
//!         StopOutcome::Stopped { text, .. } => {
//!             print!("{text}");
//!             return Ok(());
//!         }
//!     }
//! }
//! // The end may complete a stop string too.
//! if let StopOutcome::Continue(text) = stops.push(&detokenizer.finish()) {
//!     print!("{text}{}", stops.finish());
//! }
//! # Ok(())
//! # }
//! ```

mod chat_template;
mod clock;
mod corpus;
mod detokenizer;
mod error;
mod fingerprint;
mod generation_blocks;
mod jinja_builtins;
mod model_files;
mod post_processor;
mod python_json;
mod python_methods;
mod special_tokens;
mod stop_strings;
mod template_value;
mod token_bound;
mod token_bytes;
mod tokenizer;

pub use chat_template::{ChatMessage, ChatTemplate, RenderOptions};
pub use clock::Clock;
pub use corpus::{Corpus, bos_added_by};
pub use detokenizer::Detokenizer;
pub use error::{Result, TextError};
pub use special_tokens::SpecialTokens;
pub use stop_strings::{
    MAX_STOP_STRING_BYTES, MAX_STOP_STRINGS, StopMatcher, StopOutcome, StopStrings,
};
pub use template_value::TemplateValue;
pub use token_bytes::TokenText;
pub use tokenizer::Tokenizer;
