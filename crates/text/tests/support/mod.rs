//! Where the tests find models: the fixtures, the default model, and tokenizers
//! written for one test.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};

use tandem_text::Tokenizer;

/// `tests/fixtures/<name>` of the repository.
pub(crate) fn fixture(name: &str) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    repository.join("tests/fixtures").join(name)
}

/// The fixture models that have a tokenizer, sorted by name.
pub(crate) fn fixture_models() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixture("models")).expect("tests/fixtures/models");
    let mut models: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("tokenizer.json").exists())
        .collect();
    models.sort();
    assert!(
        !models.is_empty(),
        "no tokenizer under tests/fixtures/models"
    );
    models
}

/// The default model's directory, which `scripts/test` puts there.
pub(crate) fn default_model() -> PathBuf {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tandem/models/smollm2-135m-instruct");
    assert!(
        path.join("tokenizer.json").exists(),
        "the default model is not at {}: run scripts/setup, or all tests through scripts/test",
        path.display()
    );
    path
}

pub(crate) fn read_json(path: &Path) -> serde_json::Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A model directory of the given files.
pub(crate) fn model_dir(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// A `tokenizer.json` as Llama 2's: white space is `▁`, what has no token is bytes
/// `<0x00>` to `<0xFF>` (ids 3 to 258), and decoding drops the first space.
pub(crate) const BYTE_FALLBACK_WORDS: [&str; 6] = ["▁", "▁Hello", "▁world", "▁the", "a", "b"];

pub(crate) fn byte_fallback_tokenizer() -> (Tokenizer, tempfile::TempDir) {
    let mut vocab = serde_json::Map::new();
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let tokens = ["<unk>", "<s>", "</s>"]
        .map(str::to_owned)
        .into_iter()
        .chain(bytes);
    let words = BYTE_FALLBACK_WORDS.map(str::to_owned);
    for (id, token) in tokens.chain(words).enumerate() {
        vocab.insert(token, id.into());
    }
    let special = |id: u32, content: &str| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    let json = serde_json::json!({
        "version": "1.0",
        "truncation": {"max_length": 2, "stride": 0, "strategy": "LongestFirst", "direction": "Right"},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"},
        "added_tokens": [special(0, "<unk>"), special(1, "<s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>",
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": true, "vocab": vocab, "merges": []},
    });
    let config = r#"{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}"#;
    let dir = model_dir(&[
        ("tokenizer.json", &json.to_string()),
        ("tokenizer_config.json", config),
    ]);
    (Tokenizer::load(dir.path()).unwrap(), dir)
}
