//! Any bytes are a tokenizer.json that is loaded, and encodes and decodes without a panic, or are refused.

use crate::scratch;
use tandem_text::{Detokenizer, Tokenizer};

const TEXT: &str = " Hello, 1234 wörld!\n\n<|im_end|> <s>x</s>\u{1f980}";

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    let directory = scratch::directory(&[("tokenizer.json", data)]);
    let tokenizer = match Tokenizer::load(directory.path()) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for add_special_tokens in [false, true] {
        let Ok(ids) = tokenizer.encode(TEXT, add_special_tokens) else {
            continue;
        };
        let _ = tokenizer.decode(&ids, true);
        let mut detokenizer = Detokenizer::new(&tokenizer);
        for id in ids {
            let _ = detokenizer.push(id);
        }
    }
    let _ = tokenizer.least_tokens(TEXT);
}
