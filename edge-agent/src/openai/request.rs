//! The bodies of the two calls that make answers. docs/openai.md has the table of what is served.

use super::fields::{Fields, is_empty};
use super::message::messages;
use crate::error::RequestError;
use crate::request::Terms;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tandem_proto::v1;

/// The most tokens of a completion that does not say, as OpenAI has it. A chat goes on to its end.
const COMPLETION_TOKENS: u32 = 16;
/// The most alternatives a token's log probabilities come with.
const MAX_TOP_LOGPROBS: u32 = 20;

/// Which call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
}

/// A request that was read.
#[derive(Debug)]
pub struct Request {
    /// The model that is asked.
    pub model: String,
    /// What to go on from.
    pub prompt: Prompt,
    /// The terms of the answer.
    pub terms: Terms,
    /// How the answer is written.
    pub options: ReplyOptions,
}

/// What to go on from.
#[derive(Debug, PartialEq)]
pub enum Prompt {
    /// A conversation.
    Messages(Vec<v1::ChatMessage>),
    /// Text.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplyOptions {
    /// Piece by piece.
    pub stream: bool,
    /// With a last piece that says what it cost.
    pub include_usage: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Reads a body.
///
/// # Errors
/// The first field that is malformed or not served.
pub fn read(endpoint: Endpoint, body: &[u8]) -> Result<Request, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let model = fields.require("model")?;
    let prompt = match endpoint {
        Endpoint::Chat => Prompt::Messages(messages(fields.require("messages")?)?),
        Endpoint::Completion => completion_prompt(&mut fields)?,
    };
    let terms = Terms {
        max_tokens: max_tokens(endpoint, &mut fields)?,
        stop: stop(&mut fields)?,
        cache_salt: fields.take("cache_salt")?.unwrap_or_default(),
        sampling: Some(sampling(endpoint, &mut fields)?),
    };
    let options = reply_options(&mut fields)?;
    refuse_others(endpoint, &mut fields)?;
    fields.end()?;
    Ok(Request {
        model,
        prompt,
        terms,
        options,
    })
}

fn completion_prompt(fields: &mut Fields) -> Result<Prompt, RequestError> {
    let wrong = "must be one string, or one array of token ids";
    let value: Value = fields.require("prompt")?;
    let several = |list: &[Value]| list.iter().any(|v| v.is_string() || v.is_array());
    let value = match value {
        Value::Array(mut list) if list.len() == 1 && several(&list) => list.remove(0),
        Value::Array(list) if several(&list) => {
            let why = format!("has {} prompts, {wrong}", list.len());
            return Err(fields.refuse("prompt", why));
        }
        value => value,
    };
    match value {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(ids) => {
            let ids: Option<Vec<u32>> = ids
                .iter()
                .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
                .collect();
            ids.map(Prompt::Ids)
                .ok_or_else(|| fields.refuse("prompt", wrong))
        }
        _ => Err(fields.refuse("prompt", wrong)),
    }
}

fn max_tokens(endpoint: Endpoint, fields: &mut Fields) -> Result<Option<u32>, RequestError> {
    let older = fields.take("max_tokens")?;
    if endpoint == Endpoint::Completion {
        return Ok(Some(older.unwrap_or(COMPLETION_TOKENS)));
    }
    match (older, fields.take("max_completion_tokens")?) {
        (Some(older), Some(newer)) if older != newer => {
            let why = format!("is {newer}, and max_tokens, its older name, {older}");
            Err(fields.refuse("max_completion_tokens", why))
        }
        (older, newer) => Ok(newer.or(older)),
    }
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, RequestError> {
    match fields.take("stop")? {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(list) => serde_json::from_value(list)
            .map_err(|_| fields.refuse("stop", "must be a string or an array of strings")),
    }
}

fn sampling(
    endpoint: Endpoint,
    fields: &mut Fields,
) -> Result<v1::SamplingParameters, RequestError> {
    // Negative seeds are seeds too.
    let seed: Option<i64> = fields.take("seed")?;
    Ok(v1::SamplingParameters {
        temperature: fields.take("temperature")?,
        top_k: top_k(fields)?,
        top_p: fields.take("top_p")?,
        min_p: fields.take("min_p")?,
        repetition_penalty: fields.take("repetition_penalty")?,
        presence_penalty: fields.take("presence_penalty")?,
        frequency_penalty: fields.take("frequency_penalty")?,
        seed: seed.map(i64::cast_unsigned),
        logit_bias: logit_bias(fields)?,
        logprobs: logprobs(endpoint, fields)?,
        ignore_eos: fields.take("ignore_eos")?.unwrap_or(false),
    })
}

/// vLLM's: both 0 and -1 keep all tokens.
fn top_k(fields: &mut Fields) -> Result<Option<u32>, RequestError> {
    let top_k: Option<i64> = fields.take("top_k")?;
    match top_k {
        None | Some(-1) => Ok(None),
        Some(k) => u32::try_from(k)
            .map(Some)
            .map_err(|_| fields.refuse("top_k", format!("is {k}, must be -1, 0 or more"))),
    }
}

fn logit_bias(fields: &mut Fields) -> Result<Vec<v1::LogitBias>, RequestError> {
    let biases: BTreeMap<String, f32> = fields.take("logit_bias")?.unwrap_or_default();
    biases
        .into_iter()
        .map(|(id, bias)| match id.parse() {
            Ok(token_id) => Ok(v1::LogitBias { token_id, bias }),
            Err(_) => Err(fields.refuse("logit_bias", format!("'{id}' is no token id"))),
        })
        .collect()
}

/// How many alternatives to tell with each token's log probability; none tells nothing.
fn logprobs(endpoint: Endpoint, fields: &mut Fields) -> Result<Option<u32>, RequestError> {
    let (name, count) = match endpoint {
        Endpoint::Completion => ("logprobs", fields.take("logprobs")?),
        Endpoint::Chat => {
            let asked = fields.take("logprobs")?.unwrap_or(false);
            let top: Option<u32> = fields.take("top_logprobs")?;
            if top.is_some_and(|top| top > 0) && !asked {
                return Err(fields.refuse("top_logprobs", "needs logprobs: true"));
            }
            ("top_logprobs", asked.then(|| top.unwrap_or(0)))
        }
    };
    match count {
        Some(count) if count > MAX_TOP_LOGPROBS => {
            let why = format!("is {count}, must be at most {MAX_TOP_LOGPROBS}");
            Err(fields.refuse(name, why))
        }
        count => Ok(count),
    }
}

fn reply_options(fields: &mut Fields) -> Result<ReplyOptions, RequestError> {
    let stream = fields.take("stream")?.unwrap_or(false);
    let stream_options: Option<StreamOptions> = fields.take("stream_options")?;
    if stream_options.is_some() && !stream {
        return Err(fields.refuse("stream_options", "needs stream: true"));
    }
    Ok(ReplyOptions {
        stream,
        include_usage: stream_options.unwrap_or_default().include_usage,
    })
}

/// What is known and not served: the values that ask for nothing pass.
fn refuse_others(endpoint: Endpoint, fields: &mut Fields) -> Result<(), RequestError> {
    let one = |value: &Value| value == 1;
    let off = |value: &Value| value == false;
    fields.only("n", one, "must be 1: one answer a request")?;
    fields.only("store", off, "must be false: nothing is stored")?;
    let tier = |value: &Value| value == "auto" || value == "default";
    fields.only("service_tier", tier, "must be auto or default")?;
    fields.leave(&["user", "metadata", "safety_identifier", "prompt_cache_key"]);
    match endpoint {
        Endpoint::Completion => {
            fields.only("best_of", one, "must be 1: one answer a request")?;
            fields.only("echo", off, "must be false: the prompt is not repeated")?;
            fields.only("suffix", is_empty, "is not served: text is only continued")
        }
        Endpoint::Chat => {
            let mut choice = None;
            fields.only(
                "tool_choice",
                |value| {
                    choice = value.as_str().map(str::to_owned);
                    matches!(choice.as_deref(), Some("none" | "auto"))
                },
                "must be none: tools are not served",
            )?;
            let unused = choice.as_deref() == Some("none");
            let tools = |value: &Value| unused || is_empty(value);
            fields.only("tools", tools, "are not served unless tool_choice is none")?;
            fields.leave(&["parallel_tool_calls"]);
            fields.only("functions", is_empty, "are not served")?;
            let none = |value: &Value| value == "none";
            fields.only("function_call", none, "must be none")?;
            let text = |value: &Value| value.get("type").is_some_and(|kind| kind == "text");
            fields.only("response_format", text, "must be of type text")?;
            let texts = |value: &Value| *value == serde_json::json!(["text"]);
            fields.only("modalities", texts, "must be [\"text\"]")
        }
    }
}

#[cfg(test)]
mod tests;
