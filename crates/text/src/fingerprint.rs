//! The tokenizer's fingerprint: two machines that pair must mean the same text
//! by the same ids, and a fine-tune with one more token must not pair by accident.
//!
//! The hash covers what a `tokenizer.json` *says*, not how it is written: the
//! sections that decide ids or text, as JSON with sorted keys and no white space,
//! absent and null fields taken as one, and BPE merges in one spelling (older
//! files write `"a b"`, newer ones `["a", "b"]`). Truncation, padding and the
//! format version are left out: none of them changes what an id means here.
//!
//! The walk goes over raw slices of the file, one level at a time. A tree of the
//! 128,000 tokens and 280,000 merges of a Llama 3 tokenizer would cost an edge
//! device a hundred megabytes for a moment.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde_json::Error;
use serde_json::value::RawValue;

/// The sections of `tokenizer.json` that decide which ids a text has, or which text ids have.
const SECTIONS: [&str; 6] = [
    "added_tokens",
    "decoder",
    "model",
    "normalizer",
    "post_processor",
    "pre_tokenizer",
];

/// BLAKE3 `derive_key` context: no other hash in this project can collide with this one.
const CONTEXT: &str = "tandem 2025 tokenizer fingerprint v1";

/// Deeper nesting than any tokenizer has; it bounds the recursion.
const MAX_DEPTH: usize = 64;

/// The 32-byte fingerprint of the text of a `tokenizer.json`.
pub(crate) fn fingerprint(tokenizer_json: &str) -> Result<[u8; 32], Error> {
    let file: BTreeMap<String, &RawValue> = serde_json::from_str(tokenizer_json)?;
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    for section in SECTIONS {
        write_string(section, &mut hasher)?;
        hasher.update(b":");
        match file.get(section) {
            Some(raw) if section == "model" => hash_model(raw, &mut hasher)?,
            Some(raw) => canonical(raw, 0, &mut hasher)?,
            None => {
                hasher.update(b"null");
            }
        }
        hasher.update(b"\n");
    }
    Ok(*hasher.finalize().as_bytes())
}

/// The model section, whose merges have two spellings.
fn hash_model(raw: &RawValue, out: &mut blake3::Hasher) -> Result<(), Error> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get())?;
    for (name, value) in fields {
        if value.get() == "null" {
            continue;
        }
        write_string(&name, out)?;
        out.update(b":");
        if name == "merges" {
            hash_merges(value, out)?;
        } else {
            canonical(value, 1, out)?;
        }
        out.update(b"\n");
    }
    Ok(())
}

/// Each merge as the pair it is; a merge of one string is split at its only
/// space, which is how the tokenizers library reads the older spelling.
fn hash_merges(raw: &RawValue, out: &mut blake3::Hasher) -> Result<(), Error> {
    let merges: Vec<&RawValue> = serde_json::from_str(raw.get())?;
    for merge in merges {
        let (left, right) = if merge.get().starts_with('"') {
            let text: String = serde_json::from_str(merge.get())?;
            let Some((left, right)) = text.split_once(' ') else {
                return Err(Error::custom(format!("merge `{text}` is not a pair")));
            };
            (left.to_owned(), right.to_owned())
        } else {
            serde_json::from_str::<(String, String)>(merge.get())?
        };
        write_string(&left, out)?;
        write_string(&right, out)?;
    }
    Ok(())
}

/// Any JSON value with keys sorted, null fields dropped and no white space.
fn canonical(raw: &RawValue, depth: usize, out: &mut blake3::Hasher) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::custom("nested too deeply"));
    }
    match raw.get().as_bytes().first() {
        Some(b'{') => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get())?;
            out.update(b"{");
            for (name, value) in fields {
                if value.get() == "null" {
                    continue;
                }
                write_string(&name, out)?;
                out.update(b":");
                canonical(value, depth + 1, out)?;
                out.update(b",");
            }
            out.update(b"}");
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw.get())?;
            out.update(b"[");
            for item in items {
                canonical(item, depth + 1, out)?;
                out.update(b",");
            }
            out.update(b"]");
        }
        Some(b'"') => write_string(&serde_json::from_str::<String>(raw.get())?, out)?,
        _ => {
            // Numbers, booleans and null: the parser's own spelling of the value.
            let scalar: serde_json::Value = serde_json::from_str(raw.get())?;
            out.update(scalar.to_string().as_bytes());
        }
    }
    Ok(())
}

/// A string in JSON's spelling: quoted, so that neighbours cannot run together.
fn write_string(text: &str, out: &mut blake3::Hasher) -> Result<(), Error> {
    out.update(serde_json::to_string(text)?.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"version": "1.0", "truncation": null, "added_tokens": [{"id": 2, "content": "<s>"}],
        "normalizer": null, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}}"#;

    fn of(text: &str) -> [u8; 32] {
        fingerprint(text).unwrap()
    }

    #[test]
    fn formatting_key_order_and_null_fields_do_not_matter() {
        let other = r#"{"model":{"merges":[["a","b"]],"vocab":{"b":1,"\u0061":0},"type":"BPE","dropout":null},
            "padding":{"x":1},"added_tokens":[{"content":"<s>","id":2}],"decoder":null}"#;
        assert_eq!(of(FILE), of(other));
    }

    #[test]
    fn what_decides_ids_or_text_matters() {
        for (from, to) in [
            (r#""id": 2"#, r#""id": 3"#),
            (r#""b": 1"#, r#""b": 2"#),
            (r#""b": 1"#, r#""c": 1"#),
            (r#""a b""#, r#""b a""#),
            (r#"["a b"]"#, r#"[]"#),
            (r#""type": "BPE""#, r#""type": "Unigram""#),
            (
                r#""normalizer": null"#,
                r#""normalizer": {"type": "Lowercase"}"#,
            ),
            (
                r#""normalizer": null"#,
                r#""decoder": {"type": "ByteLevel"}"#,
            ),
        ] {
            let changed = FILE.replace(from, to);
            assert_ne!(changed, FILE);
            assert_ne!(of(FILE), of(&changed), "{from} -> {to}");
        }
    }

    #[test]
    fn hostile_nesting_is_refused() {
        let deep = format!(r#"{{"decoder": {}{}}}"#, "[".repeat(1000), "]".repeat(1000));
        assert!(fingerprint(&deep).is_err());
        assert!(fingerprint("[]").is_err());
    }

    #[test]
    fn the_fingerprint_is_stable_across_releases() {
        let hex: String = of(FILE).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "34e91deb150e480a36845f31bad81651bf52403a067e1ac1eebee07df8b53d4e"
        );
    }
}
