//! The default model, SmolLM2-135M-Instruct, as `scripts/setup` imports it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of tests fail as tests do"
)]

mod support;

use support::default_model;
use tandem_text::{ChatMessage, ChatTemplate, Detokenizer, RenderOptions, Tokenizer};

#[test]
fn the_default_model_speaks_chatml() {
    let model = default_model();
    let tokenizer = Tokenizer::load(&model).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 49_152);
    let end = tokenizer.token_to_id("<|im_end|>").unwrap();
    assert!(tokenizer.eos_token_ids().contains(&end));
    assert!(tokenizer.is_special(end));

    let template = ChatTemplate::load(&model).unwrap();
    let messages = [
        ChatMessage::new("system", "Be brief."),
        ChatMessage::new("user", "Why is the sky blue?"),
    ];
    let prompt = template
        .render(&messages, &RenderOptions::default())
        .unwrap();
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n\
        <|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(prompt, expected);
    let ids = tokenizer.encode(&prompt, false).unwrap();
    assert_eq!(ids.iter().filter(|&&id| id == end).count(), 2);
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), expected);
}

#[test]
fn the_default_model_adds_no_bos_and_round_trips_text() {
    let tokenizer = Tokenizer::load(&default_model()).unwrap();
    let text =
        "In 1984, naïve Zoë paid 12.50 € for 日本茶 🍵\n\n\tdef f(x):\r\n  return x**2 — ok?  ";
    let ids = tokenizer.encode(text, true).unwrap();
    assert_eq!(ids, tokenizer.encode(text, false).unwrap());
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    let mut detokenizer = Detokenizer::new(&tokenizer);
    let mut joined = String::new();
    for id in ids {
        joined += &detokenizer.push(id).unwrap();
    }
    assert_eq!(joined + &detokenizer.finish(), text);
}
