//! SentencePiece BPE (GGUF's tokenizer model "llama": Llama 2, TinyLlama, Mistral 7B).
//!
//! GGUF keeps no merges for these but a score for each piece: the pair whose union scores highest is
//! merged first. Listing every pair that forms a piece, best union first, gives the same order.

use std::collections::HashMap;

use crate::error::{GgufError, refuse};
use crate::python_json::Json;
use crate::vocabulary::{BYTE, NORMAL, UNKNOWN, Vocabulary};

const SPACE: &str = "\u{2581}";

/// tokenizer.json without its post-processor, and whether a BOS goes first by default.
pub(crate) fn sentencepiece_tokenizer<'a>(
    vocabulary: &Vocabulary<'a>,
) -> Result<(Json<'a>, bool), GgufError> {
    let metadata = vocabulary.metadata;
    const SCORES: &str = "tokenizer.ggml.scores";
    let count = vocabulary.tokens.len();
    let scores = metadata
        .list_len(SCORES)?
        .ok_or_else(|| metadata.missing(SCORES))?;
    if scores != count as u64 {
        return refuse(format!("{SCORES} has {scores} entries for {count} tokens"));
    }
    let scores = metadata.floats(SCORES)?.unwrap_or_default();
    if scores.iter().any(|score| score.is_nan()) {
        return refuse(format!("{SCORES} holds values that are no numbers"));
    }
    let bytes = vocabulary
        .types
        .iter()
        .filter(|kind| **kind == BYTE)
        .count();
    if bytes != 256 {
        return refuse(format!(
            "a SentencePiece vocabulary with {bytes} of 256 byte tokens: not supported"
        ));
    }
    const STRIPS: &str = "tokenizer.ggml.remove_extra_whitespaces";
    if metadata.bool(STRIPS)?.unwrap_or(false) {
        return refuse(format!("{STRIPS} is true: not supported"));
    }
    const NORMALISES: &str = "tokenizer.ggml.precompiled_charsmap";
    if metadata.has(NORMALISES) {
        return refuse(format!(
            "{NORMALISES}: normalising SentencePiece models are not supported"
        ));
    }
    let prefix = metadata
        .bool("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let unknown = vocabulary.types.iter().position(|kind| *kind == UNKNOWN);

    let mut to_text = vec![replace(SPACE, " "), typed("ByteFallback"), typed("Fuse")];
    let mut normalizer = replace(" ", SPACE);
    if prefix {
        let first = Json::map([("type", "Prepend".into()), ("prepend", SPACE.into())]);
        normalizer = Json::map([
            ("type", "Sequence".into()),
            ("normalizers", Json::List(vec![first, normalizer])),
        ]);
        to_text.push(Json::map([
            ("type", "Strip".into()),
            ("content", " ".into()),
            ("start", 1_i128.into()),
            ("stop", 0_i128.into()),
        ]));
    }
    let tokenizer = Json::map([
        ("version", "1.0".into()),
        ("truncation", Json::Null),
        ("padding", Json::Null),
        ("added_tokens", vocabulary.added()),
        ("normalizer", normalizer),
        ("pre_tokenizer", Json::Null),
        ("post_processor", Json::Null),
        (
            "decoder",
            Json::map([
                ("type", "Sequence".into()),
                ("decoders", Json::List(to_text)),
            ]),
        ),
        (
            "model",
            Json::map([
                ("type", "BPE".into()),
                ("dropout", Json::Null),
                ("unk_token", unknown.map(|id| vocabulary.tokens[id]).into()),
                ("continuing_subword_prefix", Json::Null),
                ("end_of_word_suffix", Json::Null),
                ("fuse_unk", true.into()),
                ("byte_fallback", true.into()),
                ("ignore_merges", false.into()),
                ("vocab", vocabulary.to_json()),
                ("merges", Json::List(merges(vocabulary, &scores)?)),
            ]),
        ),
    ]);
    Ok((tokenizer, true))
}

/// Every pair of pieces whose union is a piece, best union first and pairs of one union by their ids.
fn merges<'a>(vocabulary: &Vocabulary<'a>, scores: &[f64]) -> Result<Vec<Json<'a>>, GgufError> {
    let normal =
        |(id, token): (usize, &&'a str)| (vocabulary.types[id] == NORMAL).then_some((*token, id));
    let pieces: HashMap<&str, usize> = vocabulary
        .tokens
        .iter()
        .enumerate()
        .filter_map(normal)
        .collect();
    let mut ranked = Vec::new();
    for (token, id) in &pieces {
        if token.len() > MAX_PIECE {
            return refuse(format!(
                "a SentencePiece vocabulary with a piece of {} bytes: not supported",
                token.len()
            ));
        }
        for (cut, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(cut);
            if let (Some(left), Some(right)) = (pieces.get(left), pieces.get(right)) {
                ranked.push((scores[*id], *id, *left, *right));
            }
        }
    }
    ranked.sort_by(|one, other| {
        // Scores that are no numbers were refused; -0.0 and 0.0 are equal.
        let by_score = other
            .0
            .partial_cmp(&one.0)
            .unwrap_or(std::cmp::Ordering::Equal);
        by_score.then_with(|| (one.1, one.2, one.3).cmp(&(other.1, other.2, other.3)))
    });
    let pair = |left: usize, right: usize| {
        format!("{} {}", vocabulary.tokens[left], vocabulary.tokens[right])
    };
    Ok(ranked
        .into_iter()
        .map(|(_, _, left, right)| Json::Text(pair(left, right).into()))
        .collect())
}

/// Cutting a piece everywhere takes time that grows with the square of its length; real ones have tens of bytes.
const MAX_PIECE: usize = 4096;

fn replace(pattern: &'static str, content: &'static str) -> Json<'static> {
    Json::map([
        ("type", "Replace".into()),
        ("pattern", Json::map([("String", pattern.into())])),
        ("content", content.into()),
    ])
}

fn typed(name: &'static str) -> Json<'static> {
    Json::map([("type", name.into())])
}
