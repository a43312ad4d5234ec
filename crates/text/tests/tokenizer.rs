//! Ids equal those that transformers gives, and the files that real models ship
//! beside `tokenizer.json` mean what transformers takes them to mean.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of tests fail as tests do"
)]

mod support;

use support::{byte_fallback_tokenizer, fixture_models, model_dir, read_json};
use tandem_text::{Result, TextError, Tokenizer};

fn ids(value: &serde_json::Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn fixture_models_give_the_ids_that_transformers_gives() {
    for model in fixture_models() {
        let tokenizer = Tokenizer::load(&model).unwrap();
        let chat = read_json(&model.join("chat.json"));
        let name = model.display();

        let text = chat["text"].as_str().unwrap();
        let token_ids = ids(&chat["token_ids"]);
        assert_eq!(tokenizer.encode(text, false).unwrap(), token_ids, "{name}");
        assert_eq!(tokenizer.decode(&token_ids, false).unwrap(), text, "{name}");
        let plain = tokenizer.decode(&token_ids, true).unwrap();
        assert!(!plain.contains("<|im_start|>"), "{name}: {plain}");

        let prompt = chat["prompt"].as_str().unwrap();
        let prompt_ids = ids(&chat["prompt_token_ids"]);
        assert_eq!(
            tokenizer.encode(prompt, true).unwrap(),
            prompt_ids,
            "{name}"
        );
    }
}

#[test]
fn fixture_models_know_their_special_tokens() {
    for model in fixture_models() {
        let tokenizer = Tokenizer::load(&model).unwrap();
        let end = tokenizer.token_to_id("<|im_end|>").unwrap();
        assert!(
            tokenizer.eos_token_ids().contains(&end),
            "{}",
            model.display()
        );
        assert!(tokenizer.eos_token_ids().is_sorted());
        assert!(tokenizer.is_special(end));
        assert_eq!(tokenizer.id_to_token(end).as_deref(), Some("<|im_end|>"));
        let bos = tokenizer.bos_token().unwrap();
        assert!(tokenizer.is_special(tokenizer.token_to_id(bos).unwrap()));
        let size = tokenizer.vocabulary_size();
        assert!(tokenizer.id_to_token(size as u32 - 1).is_some());
        assert!(tokenizer.id_to_token(size as u32).is_none());
        assert!(!tokenizer.is_special(size as u32));
        assert_eq!(tokenizer.special_tokens().bos.as_deref(), Some(bos));
    }
}

#[test]
fn the_fingerprint_tells_tokenizers_apart_and_ignores_formatting() {
    let mut texts = std::collections::BTreeMap::new();
    for model in fixture_models() {
        let fingerprint = Tokenizer::load(&model).unwrap().fingerprint();
        let text = std::fs::read_to_string(model.join("tokenizer.json")).unwrap();
        let same: serde_json::Value = serde_json::from_str(&text).unwrap();
        let pretty = serde_json::to_string_pretty(&same).unwrap();
        let copy = model_dir(&[("tokenizer.json", &pretty)]);
        assert_eq!(
            Tokenizer::load(copy.path()).unwrap().fingerprint(),
            fingerprint
        );
        // Equal files and only they share a fingerprint.
        let first = texts.entry(fingerprint).or_insert_with(|| text.clone());
        assert_eq!(*first, text);
    }
    assert!(texts.len() > 1, "the fixtures have more than one tokenizer");
}

/// A tokenizer of four words; `</s>` is a word like the others, as older models have it.
const WORDS: &str = r#"{"version": "1.0", "added_tokens": [{"id": 3, "content": "<s>",
    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
    "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": POST,
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "</s>": 2, "<s>": 3}, "unk_token": "a"}}"#;

const ADDS_BOS: &str = r#"{"type": "TemplateProcessing", "single": [
    {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}}"#;

fn words(post_processor: &str, files: &[(&str, &str)]) -> Result<Tokenizer> {
    let json = WORDS.replace("POST", post_processor);
    let mut all = vec![("tokenizer.json", json.as_str())];
    all.extend(files);
    Tokenizer::load(model_dir(&all).path())
}

#[test]
fn a_plain_prompt_begins_with_bos_where_the_model_says_so() {
    for (post_processor, config, expected) in [
        ("null", r#"{"bos_token": "<s>"}"#, &[0][..]),
        (ADDS_BOS, r#"{"bos_token": "<s>"}"#, &[3, 0]),
        (ADDS_BOS, "{}", &[3, 0]),
        (
            "null",
            r#"{"bos_token": "<s>", "add_bos_token": true}"#,
            &[3, 0],
        ),
        (
            ADDS_BOS,
            r#"{"bos_token": "<s>", "add_bos_token": true}"#,
            &[3, 0],
        ),
        (
            ADDS_BOS,
            r#"{"bos_token": "<s>", "add_bos_token": false}"#,
            &[0],
        ),
        (
            "null",
            r#"{"bos_token": null, "add_bos_token": true}"#,
            &[0],
        ),
        (
            ADDS_BOS,
            r#"{"bos_token": "<s>", "add_bos_token": null}"#,
            &[3, 0],
        ),
    ] {
        let tokenizer = words(post_processor, &[("tokenizer_config.json", config)]).unwrap();
        assert_eq!(tokenizer.encode("a", true).unwrap(), expected, "{config}");
        assert_eq!(tokenizer.encode("a", false).unwrap(), [0], "{config}");
        assert_eq!(
            tokenizer.encode("<s> a", false).unwrap(),
            [3, 0],
            "{config}"
        );
    }
}

#[test]
fn every_file_that_names_an_end_is_heard() {
    let ids = |generation: &str, config: &str, tokenizer: &str| {
        words(
            "null",
            &[
                ("generation_config.json", generation),
                ("config.json", config),
                ("tokenizer_config.json", tokenizer),
            ],
        )
        .map(|tokenizer| tokenizer.eos_token_ids().to_vec())
    };
    let eos = r#"{"eos_token": {"content": "</s>"}}"#;
    assert_eq!(
        ids(r#"{"eos_token_id": [1, 0]}"#, "{}", eos).unwrap(),
        [0, 1, 2]
    );
    assert_eq!(
        ids(r#"{"eos_token_id": 2}"#, r#"{"eos_token_id": 1}"#, eos).unwrap(),
        [1, 2]
    );
    assert_eq!(
        ids(r#"{"eos_token_id": null}"#, "{}", "{}").unwrap(),
        [0u32; 0]
    );
    assert_eq!(words("null", &[]).unwrap().eos_token_ids(), [0u32; 0]);
    for wrong in [r#"{"eos_token_id": -1}"#, r#"{"eos_token_id": ["</s>"]}"#] {
        let error = ids(wrong, "{}", "{}").unwrap_err();
        assert!(
            matches!(
                error,
                TextError::Field {
                    field: "eos_token_id",
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error.to_string().contains("generation_config.json"),
            "{error}"
        );
    }
    let error = ids("{}", "{}", r#"{"eos_token": "<end>"}"#).unwrap_err();
    assert!(
        matches!(&error, TextError::UnknownSpecialToken { role: "eos", token, .. } if token == "<end>"),
        "{error}"
    );
}

#[test]
fn a_word_that_the_model_names_special_is_special_under_its_id() {
    let plain = words("null", &[]).unwrap();
    assert!(!plain.is_special(2));
    assert_eq!(plain.decode(&[0, 2, 1], true).unwrap(), "a </s> b");
    let config = (
        "tokenizer_config.json",
        r#"{"eos_token": "</s>", "pad_token": "[PAD]"}"#,
    );
    let named = words("null", &[config]).unwrap();
    assert!(named.is_special(2));
    assert_eq!(named.decode(&[0, 2, 1], true).unwrap(), "a b");
    assert_eq!(named.encode("b</s>", false).unwrap(), [1, 2]);
    // A padding token outside the vocabulary adds no id.
    assert_eq!(named.vocabulary_size(), 4);
    assert_eq!(named.token_to_id("[PAD]"), None);
}

/// The bound that long texts are refused by holds for whatever text, by whatever tokenizer.
#[test]
fn no_text_has_fewer_tokens_than_its_bytes_say() {
    let mut models = fixture_models();
    models.push(support::default_model());
    let texts = [
        "1".repeat(1000),
        " ".repeat(1000),
        "\n \t".repeat(300),
        "the quick brown fox ".repeat(50),
        "Zürich, naïve, Ελλάδα, 東京, 🦀, e\u{301}e\u{301}".repeat(20),
        "<|im_start|>user\n".repeat(40),
        "====----====".repeat(60),
    ];
    for model in models {
        let tokenizer = Tokenizer::load(&model).unwrap();
        for text in &texts {
            let tokens = tokenizer.encode(text, false).unwrap().len();
            let least = tokenizer.least_tokens(text);
            assert!(
                least <= tokens,
                "{}: {least} of {tokens}: {text:.20}",
                model.display()
            );
            assert!(text.len() <= tokens * tokenizer.longest_token_bytes());
        }
    }
    let tokenizer = Tokenizer::load(&support::default_model()).unwrap();
    assert_eq!(tokenizer.least_tokens(&"1".repeat(1000)), 1000);
}

#[test]
fn a_prompt_is_neither_cut_nor_padded() {
    let (tokenizer, _dir) = byte_fallback_tokenizer();
    let ids = tokenizer.encode("a b a b", true).unwrap();
    assert!(ids.len() > 2, "truncation to 2 is in the file");
    assert!(!ids.contains(&0), "padding with 0 is in the file");
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "a b a b");
}

#[test]
fn ids_outside_the_vocabulary_have_no_text() {
    let tokenizer = words("null", &[]).unwrap();
    assert_eq!(
        tokenizer.decode(&[0, 9, u32::MAX, 1], false).unwrap(),
        "a b"
    );
}

#[test]
fn a_directory_that_is_no_model_is_named() {
    let load = |files: &[(&str, &str)]| Tokenizer::load(model_dir(files).path()).unwrap_err();
    let error = load(&[]);
    assert!(matches!(&error, TextError::Read { path, .. } if path.ends_with("tokenizer.json")));
    let error = load(&[("tokenizer.json", "{\"model\":")]);
    assert!(matches!(error, TextError::Json { .. }), "{error}");
    let error = load(&[("tokenizer.json", "{\"model\": {\"type\": \"Magic\"}}")]);
    assert!(matches!(error, TextError::Tokenizer { .. }), "{error}");
    let error = words(
        "null",
        &[("tokenizer_config.json", r#"{"add_bos_token": 1}"#)],
    )
    .unwrap_err();
    assert!(
        matches!(
            error,
            TextError::Field {
                field: "add_bos_token",
                ..
            }
        ),
        "{error}"
    );
    let config = r#"{"add_bos_token": true, "bos_token": "<x>"}"#;
    let error = words("null", &[("tokenizer_config.json", config)]).unwrap_err();
    assert!(
        matches!(error, TextError::UnknownSpecialToken { role: "bos", .. }),
        "{error}"
    );
}

#[test]
fn one_of_each_serves_many_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Tokenizer>();
    shared::<tandem_text::ChatTemplate>();
    shared::<tandem_text::Detokenizer>();
    shared::<tandem_text::StopMatcher>();
}
