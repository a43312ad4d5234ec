//! GGUF's vocabulary, and tokenizer.json with its companions rebuilt from it.

use std::collections::HashMap;

use crate::architecture::EMBEDDING;
use crate::byte_level::byte_level_tokenizer;
use crate::container::Container;
use crate::error::{GgufError, refuse};
use crate::metadata::Metadata;
use crate::own_keys::OwnKeys;
use crate::python_json::Json;
use crate::sentencepiece::sentencepiece_tokenizer;

/// GGUF's token types.
pub(crate) const NORMAL: i128 = 1;
pub(crate) const UNKNOWN: i128 = 2;
const CONTROL: i128 = 3;
const USER_DEFINED: i128 = 4;
const UNUSED: i128 = 5;
pub(crate) const BYTE: i128 = 6;

const TOKENS: &str = "tokenizer.ggml.tokens";

/// Control tokens that end a turn or a text wherever they occur: llama.cpp's list for these families.
const ENDS: [&str; 5] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
];

/// The tokens with their types and the ids that have a role.
pub(crate) struct Vocabulary<'a> {
    pub(crate) metadata: &'a Metadata,
    pub(crate) tokens: Vec<&'a str>,
    pub(crate) types: Vec<i128>,
    /// Ids by token, without the fillers for rows that the original tokenizer has no token for.
    pub(crate) ids: HashMap<&'a str, usize>,
    model: &'a str,
    bos: Option<usize>,
    eos: Option<usize>,
    unknown: Option<usize>,
    padding: Option<usize>,
}

impl<'a> Vocabulary<'a> {
    fn read(container: &'a Container) -> Result<Self, GgufError> {
        let metadata = &container.metadata;
        const MODEL: &str = "tokenizer.ggml.model";
        const TYPES: &str = "tokenizer.ggml.token_type";
        let model = metadata
            .text(MODEL)?
            .ok_or_else(|| metadata.missing(MODEL))?;
        let tokens = metadata
            .texts(TOKENS)?
            .ok_or_else(|| metadata.missing(TOKENS))?;
        let count = tokens.len();
        let stated = metadata.list_len(TYPES)?.unwrap_or(count as u64);
        if stated != count as u64 {
            return refuse(format!("{TYPES} has {stated} entries for {count} tokens"));
        }
        let types = metadata.ints(TYPES)?.unwrap_or_else(|| vec![NORMAL; count]);
        let rows = container
            .tensors
            .get(EMBEDDING)
            .and_then(|tensor| tensor.dimensions.last())
            .copied();
        let rows = rows.unwrap_or(0);
        if count as u64 > rows {
            return refuse(format!(
                "{TOKENS} has {count} entries, {EMBEDDING} only {rows} rows"
            ));
        }
        let mut ids = HashMap::with_capacity(count);
        for (id, token) in tokens.iter().enumerate() {
            if types[id] != UNUSED && ids.insert(*token, id).is_some() {
                return refuse(format!("{TOKENS} holds a token twice"));
            }
        }
        let role = |name: &str| role(metadata, name, count);
        let (bos, eos, unknown, padding) = (
            role("bos")?,
            role("eos")?,
            role("unknown")?,
            role("padding")?,
        );
        Ok(Self {
            metadata,
            tokens,
            types,
            ids,
            model,
            bos,
            eos,
            unknown,
            padding,
        })
    }

    /// The tokens with their ids, without fillers.
    pub(crate) fn to_json(&self) -> Json<'a> {
        let kept = self
            .tokens
            .iter()
            .enumerate()
            .filter(|(id, _)| self.types[*id] != UNUSED);
        Json::Map(
            kept.map(|(id, token)| ((*token).into(), id.into()))
                .collect(),
        )
    }

    /// The tokens that are matched whole, before the text is split.
    pub(crate) fn added(&self) -> Json<'a> {
        let with_id = |id: usize| {
            let mut entries = vec![("id".into(), id.into())];
            entries.extend(self.added_token(id).map(|(key, value)| (key.into(), value)));
            Json::Map(entries)
        };
        Json::List(self.added_ids().map(with_id).collect())
    }

    /// The same tokens as tokenizer_config.json has them: by their id.
    fn added_by_id(&self) -> Json<'a> {
        let entry = |id: usize| (id.to_string().into(), Json::map(self.added_token(id)));
        Json::Map(self.added_ids().map(entry).collect())
    }

    fn added_ids(&self) -> impl Iterator<Item = usize> {
        (0..self.tokens.len())
            .filter(|id| matches!(self.types[*id], UNKNOWN | CONTROL | USER_DEFINED))
    }

    fn added_token(&self, id: usize) -> [(&'static str, Json<'a>); 6] {
        [
            ("content", self.tokens[id].into()),
            ("single_word", false.into()),
            ("lstrip", false.into()),
            ("rstrip", false.into()),
            ("normalized", false.into()),
            ("special", (self.types[id] != USER_DEFINED).into()),
        ]
    }

    /// The ids that end a generation, the declared one first.
    fn ends(&self) -> Result<Vec<usize>, GgufError> {
        let role = |name: &str| role(self.metadata, name, self.tokens.len());
        let declared = [self.eos, role("eot")?, role("eom")?];
        let by_name = ENDS.map(|name| {
            self.ids
                .get(name)
                .copied()
                .filter(|id| self.types[*id] == CONTROL)
        });
        let mut ends = Vec::new();
        for id in declared.into_iter().chain(by_name).flatten() {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
        Ok(ends)
    }

    fn named(&self, id: Option<usize>) -> Json<'a> {
        id.map(|id| self.tokens[id]).into()
    }
}

/// The id that has a role, checked to be one of `count` tokens.
fn role(metadata: &Metadata, role: &str, count: usize) -> Result<Option<usize>, GgufError> {
    let key = format!("tokenizer.ggml.{role}_token_id");
    let Some(id) = metadata.int(&key)? else {
        return Ok(None);
    };
    match usize::try_from(id) {
        Ok(id) if id < count => Ok(Some(id)),
        _ => refuse(format!("{key} is {id}, but there are {count} tokens")),
    }
}

/// The tokenizer's files by name: tokenizer.json, tokenizer_config.json, generation_config.json.
pub(crate) fn read_tokenizer<'a>(
    container: &'a Container,
) -> Result<[(&'static str, Json<'a>); 3], GgufError> {
    let metadata = &container.metadata;
    let vocabulary = Vocabulary::read(container)?;
    let (mut tokenizer, adds_bos) = match vocabulary.model {
        "gpt2" => byte_level_tokenizer(&vocabulary)?,
        "llama" => sentencepiece_tokenizer(&vocabulary)?,
        other => {
            return refuse(format!(
                "tokenizer model {other}: not supported (gpt2 and llama are)"
            ));
        }
    };
    let adds_bos = metadata
        .bool("tokenizer.ggml.add_bos_token")?
        .unwrap_or(adds_bos);
    const ADDS_EOS: &str = "tokenizer.ggml.add_eos_token";
    if metadata.bool(ADDS_EOS)?.unwrap_or(false) {
        return refuse(format!(
            "{ADDS_EOS} is true: a tokenizer that ends every prompt is not supported"
        ));
    }
    let first = vocabulary.bos.filter(|_| adds_bos);
    if let (Some(id), Json::Map(entries)) = (first, &mut tokenizer) {
        let place = entries.iter_mut().find(|(key, _)| key == "post_processor");
        if let Some((_, value)) = place {
            *value = prepend(vocabulary.tokens[id], id);
        }
    }

    let own = OwnKeys::of(metadata)?;
    let context = own.required("context_length", own.int("context_length")?)?;
    let mut config = vec![
        ("add_bos_token", first.is_some().into()),
        ("add_eos_token", false.into()),
        ("added_tokens_decoder", vocabulary.added_by_id()),
        ("bos_token", vocabulary.named(vocabulary.bos)),
        ("clean_up_tokenization_spaces", false.into()),
        ("eos_token", vocabulary.named(vocabulary.eos)),
        ("model_max_length", context.into()),
        ("pad_token", vocabulary.named(vocabulary.padding)),
        ("tokenizer_class", "PreTrainedTokenizerFast".into()),
        ("unk_token", vocabulary.named(vocabulary.unknown)),
    ];
    if let Some(template) = metadata.text("tokenizer.chat_template")? {
        config.push(("chat_template", template.into()));
    }

    let mut generation: Vec<(&str, Json<'a>)> = Vec::new();
    if let Some(id) = vocabulary.bos {
        generation.push(("bos_token_id", id.into()));
    }
    match vocabulary.ends()?.as_slice() {
        [] => {}
        [only] => generation.push(("eos_token_id", (*only).into())),
        several => {
            generation.push((
                "eos_token_id",
                Json::List(several.iter().map(|id| (*id).into()).collect()),
            ));
        }
    }
    if let Some(id) = vocabulary.padding {
        generation.push(("pad_token_id", id.into()));
    }
    Ok([
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", document(config)),
        ("generation_config.json", document(generation)),
    ])
}

fn document<'a>(entries: Vec<(&'a str, Json<'a>)>) -> Json<'a> {
    Json::Map(
        entries
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect(),
    )
}

/// A post-processor that puts one special token before every text.
fn prepend(token: &str, id: usize) -> Json<'_> {
    let special = |type_id: i128| {
        let parts = Json::map([("id", token.into()), ("type_id", type_id.into())]);
        Json::map([("SpecialToken", parts)])
    };
    let sequence = |name: &'static str, type_id: i128| {
        let parts = Json::map([("id", name.into()), ("type_id", type_id.into())]);
        Json::map([("Sequence", parts)])
    };
    let of_token = Json::map([
        ("id", token.into()),
        ("ids", Json::List(vec![id.into()])),
        ("tokens", Json::List(vec![token.into()])),
    ]);
    Json::map([
        ("type", "TemplateProcessing".into()),
        ("single", Json::List(vec![special(0), sequence("A", 0)])),
        (
            "pair",
            Json::List(vec![
                special(0),
                sequence("A", 0),
                special(1),
                sequence("B", 1),
            ]),
        ),
        ("special_tokens", Json::Map(vec![(token.into(), of_token)])),
    ])
}
