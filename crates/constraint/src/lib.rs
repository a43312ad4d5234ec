//! Answers that keep a form: a JSON schema, a regular expression, or a grammar.
//!
//! [`Compiler`] makes a [`Form`] ready for answers, once for many of them; what it [begins](Compiler::begin) says before
//! each token which ones may come next. The llguidance crate does the work: a token may come next where the text so far
//! and its bytes can still become one of the form.
//!
//! What a mask allows is a function of the form and of the answer's tokens so far alone. So an answer that goes on in
//! another cloud is the one that it would have been.

mod compiler;
mod error;
mod form;
mod vocabulary;

pub use compiler::Compiler;
pub use error::FormError;
pub use form::{Form, WHITE_SPACE};
pub use vocabulary::Vocabulary;

#[cfg(test)]
mod tests;
