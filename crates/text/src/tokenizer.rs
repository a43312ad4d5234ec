//! The tokenizer of a Hugging Face model directory: text to ids and back, the ids
//! that end an answer, and the fingerprint that keeps two tokenizers from pairing.
//!
//! Truncation and padding that a `tokenizer.json` may carry from training are
//! switched off: a prompt is either taken whole or refused by its length.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::AddedToken;

use crate::error::{Result, TextError};
use crate::fingerprint::fingerprint;
use crate::model_files::{bad_field, read_json};
use crate::post_processor::missing_token;
use crate::special_tokens::SpecialTokens;
use crate::token_bound::TokenBound;
use crate::token_bytes::{Spelling, TokenText};

/// A loaded tokenizer. Cloning is cheap: clones share one vocabulary.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tokenizer: tokenizers::Tokenizer,
    vocabulary_size: usize,
    /// Ids that are special, by the file or because the model names them so.
    special_ids: BTreeSet<u32>,
    special: SpecialTokens,
    eos_ids: Vec<u32>,
    bos_rule: BosRule,
    fingerprint: [u8; 32],
    bound: TokenBound,
}

/// Who decides whether a plain prompt begins with BOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BosRule {
    /// `tokenizer.json`'s post-processor, as with current transformers.
    PostProcessor,
    /// `add_bos_token: true`: one BOS, also where the post-processor adds none.
    Always(u32),
    /// `add_bos_token: false`: none, whatever the post-processor says.
    Never,
}

impl Tokenizer {
    /// Loads `tokenizer.json` and, where they are there, `tokenizer_config.json`,
    /// `special_tokens_map.json`, `generation_config.json` and `config.json`.
    ///
    /// # Errors
    /// A missing or unreadable `tokenizer.json`, a file that is not JSON, a field of
    /// the wrong type, an EOS (or a required BOS) token outside the vocabulary.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).map_err(|source| TextError::Read {
            path: path.clone(),
            source,
        })?;
        let fingerprint = fingerprint(&text).map_err(|source| TextError::Json {
            path: path.clone(),
            source,
        })?;
        let unusable = |error: tokenizers::Error| TextError::Tokenizer {
            path: path.clone(),
            detail: error.to_string(),
        };
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(&text).map_err(unusable)?;
        let missing = missing_token(&text).map_err(|source| TextError::Json {
            path: path.clone(),
            source,
        })?;
        if let Some(token) = missing {
            return Err(unusable(
                format!(
                    "post_processor: its template has {token:.80?}, its special_tokens have not"
                )
                .into(),
            ));
        }
        tokenizer.with_truncation(None).map_err(unusable)?;
        tokenizer.with_padding(None);

        let special = SpecialTokens::load(dir)?;
        mark_special(&mut tokenizer, &special).map_err(unusable)?;
        let vocabulary = tokenizer.get_vocab(true);
        let vocabulary_size = vocabulary
            .values()
            .max()
            .map_or(0, |&highest| highest as usize + 1);
        let bound = TokenBound::new(&text, &vocabulary).map_err(|source| TextError::Json {
            path: path.clone(),
            source,
        })?;
        drop((text, vocabulary));
        let special_ids = tokenizer
            .get_added_tokens_decoder()
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(&id, _)| id)
            .collect();
        let eos_ids = eos_ids(dir, &tokenizer, &special)?;
        let bos_rule = bos_rule(dir, &tokenizer, &special)?;
        Ok(Self {
            inner: Arc::new(Inner {
                tokenizer,
                vocabulary_size,
                special_ids,
                special,
                eos_ids,
                bos_rule,
                fingerprint,
                bound,
            }),
        })
    }

    /// Tokens that a text takes at least: told from its bytes, in no time. 0 where nothing is known.
    pub fn least_tokens(&self, text: &str) -> usize {
        self.inner.bound.least_tokens(text)
    }

    /// Bytes of the longest token: a text of more than so many times a number of tokens takes more of them.
    pub fn longest_token_bytes(&self) -> usize {
        self.inner.bound.longest()
    }

    /// The ids of `text`. The text of a special token becomes its id wherever it
    /// stands, because that is how a rendered chat template names them; so text
    /// from strangers can speak for other roles, here as in every HF tokenizer.
    ///
    /// With `add_special_tokens` the model's own beginning and end are put around
    /// the text (for a plain prompt). Rendered chat templates already hold them:
    /// pass `false` there, or the prompt begins with BOS twice. `add_bos_token` of
    /// `tokenizer_config.json`, where it is set, overrules the post-processor.
    ///
    /// # Errors
    /// [`TextError::Encode`] if the model cannot spell the text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let post_process = add_special_tokens && self.inner.bos_rule != BosRule::Never;
        let encoding = self
            .inner
            .tokenizer
            .encode_fast(text, post_process)
            .map_err(|error| TextError::Encode {
                detail: error.to_string(),
            })?;
        let mut ids = encoding.get_ids().to_vec();
        if let BosRule::Always(bos) = self.inner.bos_rule
            && add_special_tokens
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// The text of `ids`, without special tokens if `skip_special`. Bytes that are
    /// not UTF-8 become U+FFFD, and ids outside the vocabulary (a model's head may
    /// be padded) become nothing. `clean_up_tokenization_spaces` is not applied: it
    /// rewrites text that the model generated.
    ///
    /// For text that is still growing use [`Detokenizer`](crate::Detokenizer).
    ///
    /// # Errors
    /// [`TextError::Decode`] if the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner
            .tokenizer
            .decode(ids, skip_special)
            .map_err(|error| TextError::Decode {
                detail: error.to_string(),
            })
    }

    /// One more than the highest id: the rows a model's embedding must at least
    /// have. Where ids have no gaps, the number of tokens.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.vocabulary_size
    }

    /// The token as the vocabulary spells it (byte-level models write a space as
    /// `Ġ`), or `None` outside the vocabulary.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.tokenizer.id_to_token(id)
    }

    /// The id of a token as the vocabulary spells it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.tokenizer.token_to_id(token)
    }

    /// What each token is, by its id; `None` for a tokenizer whose decoder makes other text of tokens together than of each
    /// alone. Ids that are no token of it, or spelled otherwise than the others, are left out.
    pub fn token_texts(&self) -> Option<Vec<(u32, TokenText)>> {
        let decoder = self.inner.tokenizer.get_decoder();
        let decoder = serde_json::to_value(decoder?).ok()?;
        let spelling = Spelling::of_decoder(&decoder)?;
        let added = self.inner.tokenizer.get_added_tokens_decoder();
        let texts = (0..u32::try_from(self.inner.vocabulary_size).ok()?).filter_map(|id| {
            let token = self.id_to_token(id)?;
            let text = match added.get(&id) {
                _ if self.is_special(id) => TokenText::Special(token),
                Some(added) => TokenText::Bytes(added.content.clone().into_bytes()),
                None => TokenText::Bytes(spelling.bytes(&token)?),
            };
            Some((id, text))
        });
        Some(texts.collect())
    }

    /// The ids that end an answer, ascending: `eos_token_id` of
    /// `generation_config.json` and of `config.json` (a number or a list), and
    /// `eos_token` of `tokenizer_config.json`. The files of real models disagree,
    /// and an answer that runs past any of them runs into the next speaker's turn.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.inner.eos_ids
    }

    /// The text of the token that begins a sequence, if the model has one.
    pub fn bos_token(&self) -> Option<&str> {
        self.inner.special.bos.as_deref()
    }

    /// The texts of the named special tokens.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.inner.special
    }

    /// Whether `id` is a special token, which [`decode`](Self::decode) can skip.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.special_ids.contains(&id)
    }

    /// 32 bytes that are equal where two tokenizers give every text the same ids
    /// and every id the same text, however their files are formatted.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.inner.fingerprint
    }
}

/// Older models name special tokens that are plain vocabulary entries in
/// `tokenizer.json`; like transformers, make them special, under the id they have.
fn mark_special(
    tokenizer: &mut tokenizers::Tokenizer,
    special: &SpecialTokens,
) -> tokenizers::Result<()> {
    let added = tokenizer.get_added_vocabulary().get_vocab();
    let plain: Vec<AddedToken> = special
        .iter()
        .filter(|token| !added.contains_key(*token) && tokenizer.token_to_id(token).is_some())
        .map(|token| AddedToken::from(token, true))
        .collect();
    tokenizer.add_special_tokens(plain)?;
    Ok(())
}

fn eos_ids(
    dir: &Path,
    tokenizer: &tokenizers::Tokenizer,
    special: &SpecialTokens,
) -> Result<Vec<u32>> {
    let mut ids = BTreeSet::new();
    for name in ["generation_config.json", "config.json"] {
        let json = read_json(dir, name)?;
        let value = &json["eos_token_id"];
        let bad = || {
            let expected = "a token id, a list of token ids, or null";
            bad_field(dir, name, "eos_token_id", expected, value)
        };
        match value {
            Value::Null => {}
            Value::Array(list) => {
                for id in list {
                    ids.insert(token_id(id).ok_or_else(bad)?);
                }
            }
            single => {
                ids.insert(token_id(single).ok_or_else(bad)?);
            }
        }
    }
    if let Some(token) = &special.eos {
        ids.insert(named_id(dir, tokenizer, "eos", token)?);
    }
    Ok(ids.into_iter().collect())
}

fn bos_rule(
    dir: &Path,
    tokenizer: &tokenizers::Tokenizer,
    special: &SpecialTokens,
) -> Result<BosRule> {
    let name = "tokenizer_config.json";
    let json = read_json(dir, name)?;
    match (&json["add_bos_token"], &special.bos) {
        (Value::Null, _) => Ok(BosRule::PostProcessor),
        (Value::Bool(false), _) => Ok(BosRule::Never),
        (Value::Bool(true), Some(bos)) => {
            Ok(BosRule::Always(named_id(dir, tokenizer, "bos", bos)?))
        }
        // Nothing to add: transformers too then leaves the text as it is.
        (Value::Bool(true), None) => Ok(BosRule::PostProcessor),
        (other, _) => {
            let expected = "true, false or null";
            Err(bad_field(dir, name, "add_bos_token", expected, other))
        }
    }
}

fn token_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn named_id(
    dir: &Path,
    tokenizer: &tokenizers::Tokenizer,
    role: &'static str,
    token: &str,
) -> Result<u32> {
    tokenizer
        .token_to_id(token)
        .ok_or_else(|| TextError::UnknownSpecialToken {
            dir: dir.to_owned(),
            role,
            token: token.to_owned(),
        })
}
