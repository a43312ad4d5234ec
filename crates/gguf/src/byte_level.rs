//! Byte-level BPE (GGUF's tokenizer model "gpt2"): one recipe for each known pre-tokenizer.

use std::collections::HashMap;

use crate::error::{GgufError, refuse};
use crate::python_json::{Json, quoted};
use crate::vocabulary::Vocabulary;

// The splitting expressions, as the models' own tokenizer.json files publish them.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How one family splits text before BPE, and what else differs between the families.
#[derive(Clone, Copy)]
struct Recipe {
    /// The splitting expression; `None` for GPT-2's own, which ByteLevel brings.
    split: Option<&'static str>,
    /// Whether each digit is a piece of its own.
    digits: bool,
    nfc: bool,
    /// A piece that is a token as it stands is taken whole, whatever the merges say.
    whole_words_first: bool,
    /// What a file means that does not say `add_bos_token`.
    adds_bos: bool,
}

const PLAIN: Recipe = Recipe {
    split: None,
    digits: false,
    nfc: false,
    whole_words_first: false,
    adds_bos: false,
};
const LLAMA3_RECIPE: Recipe = Recipe {
    split: Some(LLAMA3),
    whole_words_first: true,
    adds_bos: true,
    ..PLAIN
};

/// The names that GGUF has for pre-tokenizers, with their recipes.
const RECIPES: [(&str, Recipe); 7] = [
    ("gpt-2", PLAIN),
    (
        "smollm",
        Recipe {
            digits: true,
            ..PLAIN
        },
    ),
    ("llama3", LLAMA3_RECIPE),
    ("llama-v3", LLAMA3_RECIPE),
    ("llama-bpe", LLAMA3_RECIPE),
    (
        "qwen2",
        Recipe {
            split: Some(QWEN2),
            nfc: true,
            ..PLAIN
        },
    ),
    (
        "tekken",
        Recipe {
            split: Some(TEKKEN),
            whole_words_first: true,
            adds_bos: true,
            ..PLAIN
        },
    ),
];

/// tokenizer.json without its post-processor, and whether a BOS goes first by default.
pub(crate) fn byte_level_tokenizer<'a>(
    vocabulary: &Vocabulary<'a>,
) -> Result<(Json<'a>, bool), GgufError> {
    let metadata = vocabulary.metadata;
    const PRE: &str = "tokenizer.ggml.pre";
    const MERGES: &str = "tokenizer.ggml.merges";
    let name = metadata.text(PRE)?.ok_or_else(|| GgufError::MissingKey {
        path: metadata.path().to_path_buf(),
        key: PRE.into(),
        consequence: ", so how text is split is unknown",
    })?;
    let Some((_, recipe)) = RECIPES.into_iter().find(|(known, _)| *known == name) else {
        let known = RECIPES.map(|(known, _)| known).join(", ");
        return refuse(format!("pre-tokenizer {name}: not supported ({known} are)"));
    };
    if metadata
        .bool("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(false)
    {
        return refuse(format!(
            "pre-tokenizer {name} with add_space_prefix: not supported"
        ));
    }
    let merges = metadata
        .texts(MERGES)?
        .ok_or_else(|| metadata.missing(MERGES))?;
    for merge in &merges {
        if let Some(part) = part_that_is_no_token(merge, &vocabulary.ids) {
            return refuse(format!(
                "{MERGES}: {} speaks of {}, which is no token",
                quoted(merge),
                quoted(&part)
            ));
        }
    }

    let tokenizer = Json::map([
        ("version", "1.0".into()),
        ("truncation", Json::Null),
        ("padding", Json::Null),
        ("added_tokens", vocabulary.added()),
        (
            "normalizer",
            if recipe.nfc {
                Json::map([("type", "NFC".into())])
            } else {
                Json::Null
            },
        ),
        (
            "pre_tokenizer",
            Json::map([
                ("type", "Sequence".into()),
                ("pretokenizers", Json::List(split_steps(recipe))),
            ]),
        ),
        ("post_processor", Json::Null),
        ("decoder", byte_level(true)),
        (
            "model",
            Json::map([
                ("type", "BPE".into()),
                ("dropout", Json::Null),
                ("unk_token", Json::Null),
                ("continuing_subword_prefix", Json::Null),
                ("end_of_word_suffix", Json::Null),
                ("fuse_unk", false.into()),
                ("byte_fallback", false.into()),
                ("ignore_merges", recipe.whole_words_first.into()),
                ("vocab", vocabulary.to_json()),
                (
                    "merges",
                    Json::List(merges.into_iter().map(Json::from).collect()),
                ),
            ]),
        ),
    ]);
    Ok((tokenizer, recipe.adds_bos))
}

/// The first of a merge's two parts and their union that is not in the vocabulary.
fn part_that_is_no_token(merge: &str, ids: &HashMap<&str, usize>) -> Option<String> {
    let (left, right) = merge.split_once(' ').unwrap_or((merge, ""));
    let union = [left, right].concat();
    [left, right, &union]
        .into_iter()
        .find(|part| !ids.contains_key(part))
        .map(str::to_owned)
}

fn split_steps(recipe: Recipe) -> Vec<Json<'static>> {
    let mut steps = Vec::new();
    if recipe.digits {
        steps.push(Json::map([
            ("type", "Digits".into()),
            ("individual_digits", true.into()),
        ]));
    }
    if let Some(expression) = recipe.split {
        steps.push(Json::map([
            ("type", "Split".into()),
            ("pattern", Json::map([("Regex", expression.into())])),
            ("behavior", "Isolated".into()),
            ("invert", false.into()),
        ]));
    }
    steps.push(byte_level(recipe.split.is_none()));
    steps
}

fn byte_level(use_regex: bool) -> Json<'static> {
    Json::map([
        ("type", "ByteLevel".into()),
        ("add_prefix_space", false.into()),
        ("trim_offsets", true.into()),
        ("use_regex", use_regex.into()),
    ])
}
