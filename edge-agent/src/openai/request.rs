//! The bodies of `/v1/chat/completions` and `/v1/completions`. docs/openai.md has a table of the fields that are served, one
//! of those that are passed over and one of those that are refused; the tests read the last two.

use super::fields::{Fields, PassedOver, UnknownFields, is_empty, value_of};
use super::message::messages;
use crate::conversation::Conversation;
use crate::error::RequestError;
use crate::forms::{Form, Function, Functions, MAX_TOOLS, ToolChoice};
use crate::request::Terms;
use crate::several::MAX_ANSWERS;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use tandem_proto::v1;
use tandem_text::TemplateValue;

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
    /// What to go on from: at least one.
    pub prompts: Vec<Prompt>,
    /// How many answers to each.
    pub answers: usize,
    /// The terms of the answers.
    pub terms: Terms,
    /// How the answers are written.
    pub options: ReplyOptions,
    /// What an answer has to say.
    pub form: Form,
    /// The functions that may be called.
    pub functions: Functions,
    /// Fields that were passed over.
    pub passed_over: Vec<String>,
}

/// What to go on from.
#[derive(Debug)]
pub enum Prompt {
    /// A conversation.
    Conversation(Conversation),
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
    /// With pieces that say what each step took.
    pub include_split: bool,
    /// With its prompt before it.
    pub echo: bool,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    #[serde(default)]
    include_split: bool,
}

/// Reads a body.
///
/// # Errors
/// The first field that is malformed, or asks for what is not done.
pub fn read(
    endpoint: Endpoint,
    body: &[u8],
    unknown: UnknownFields,
) -> Result<Request, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let mut passed_over = PassedOver::new(unknown);
    let model = fields.require("model")?;
    let mut functions = Functions::default();
    let prompts = match endpoint {
        Endpoint::Chat => {
            let conversation = conversation(&mut fields, &mut functions, &mut passed_over)?;
            vec![Prompt::Conversation(conversation)]
        }
        Endpoint::Completion => completion_prompts(&mut fields)?,
    };
    let answers = answers(&mut fields, prompts.len())?;
    if endpoint == Endpoint::Chat {
        functions.only_one = !fields.take("parallel_tool_calls")?.unwrap_or(true);
    }
    let form = form(&mut fields, &mut passed_over)?;
    let mut terms = Terms {
        max_tokens: max_tokens(endpoint, &mut fields)?,
        stop: stop(&mut fields)?,
        cache_salt: fields.take("cache_salt")?.unwrap_or_default(),
        sampling: Some(sampling(endpoint, &mut fields)?),
        ..Terms::default()
    };
    let options = reply_options(endpoint, &mut fields, &terms)?;
    terms.tells_steps = options.include_split;
    refuse_what_is_not_done(endpoint, answers, &mut fields)?;
    fields.pass_over(&HINTS, &mut passed_over);
    fields.end(&mut passed_over)?;
    Ok(Request {
        model,
        prompts,
        answers,
        terms,
        options,
        form,
        functions,
        passed_over: passed_over.into_paths(),
    })
}

/// What says something to another server, and changes no answer where it is passed over.
const HINTS: [&str; 9] = [
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
];

/// The messages, the functions, and what else a template is handed.
pub(super) fn conversation(
    fields: &mut Fields,
    functions: &mut Functions,
    passed_over: &mut PassedOver,
) -> Result<Conversation, RequestError> {
    let Some(list) = fields.take_list("messages")? else {
        return Err(fields.refuse("messages", "is absent"));
    };
    let messages = messages(&list, passed_over)?;
    let tools = tools(fields, functions)?;
    let mut conversation = Conversation {
        messages,
        tool_bytes: tools.iter().map(|raw| raw.get().len()).sum(),
        ..Conversation::default()
    };
    for raw in &tools {
        let tool = TemplateValue::from_json(raw.get());
        let too_deep = |_| fields.refuse("tools", "are nested too deeply");
        conversation.tools.push(tool.map_err(too_deep)?);
    }
    if let Some(raw) = fields.take_raw("chat_template_kwargs") {
        conversation.variables = serde_json::from_str(raw.get())
            .map_err(|_| fields.refuse("chat_template_kwargs", "must be an object"))?;
    }
    effort("reasoning_effort", fields, &mut conversation)?;
    Ok(conversation)
}

/// How much the model is to think, which its template may read.
pub(super) fn effort(
    name: &str,
    fields: &mut Fields,
    conversation: &mut Conversation,
) -> Result<(), RequestError> {
    if let Some(effort) = fields.take::<String>(name)? {
        let effort = TemplateValue::from(effort.as_str());
        let name = "reasoning_effort".to_owned();
        conversation.variables.insert(name, effort);
    }
    Ok(())
}

/// The functions as they came, none where none may be called, and what is to be known of them.
fn tools(
    fields: &mut Fields,
    functions: &mut Functions,
) -> Result<Vec<Box<RawValue>>, RequestError> {
    let tools = offered_tools(fields, functions)?;
    for (at, raw) in tools.iter().enumerate() {
        let mut tool = Fields::of(format!("tools[{at}]"), raw)?;
        tool.only("type", |kind| kind == "function", "must be function")?;
        let Some(function) = tool.take_raw("function") else {
            return Err(tool.refuse("function", "is absent"));
        };
        let mut function = Fields::of(tool.path_of("function"), &function)?;
        add_function(functions, &mut function)?;
    }
    check_choice(functions, fields)?;
    Ok(tools)
}

/// Takes the fields of a function that are not the template's alone.
pub(super) fn add_function<'a>(
    functions: &'a mut Functions,
    function: &mut Fields,
) -> Result<&'a Function, RequestError> {
    let added = Function {
        name: function.require("name")?,
        parameters: function.take_raw("parameters"),
        strict: function.take("strict")?.unwrap_or(false),
    };
    let added = functions.add(added);
    added.map_err(|why| function.refuse("name", why))
}

/// Checks that the function to be called is one of those there are.
pub(super) fn check_choice(functions: &Functions, fields: &Fields) -> Result<(), RequestError> {
    let checked = functions.check_choice();
    checked.map_err(|why| fields.refuse("tool_choice", why))
}

/// The tools that an answer may call, as they came; none with a `tool_choice` of none.
pub(super) fn offered_tools(
    fields: &mut Fields,
    functions: &mut Functions,
) -> Result<Vec<Box<RawValue>>, RequestError> {
    let tools = fields.take_list("tools")?.unwrap_or_default();
    let choice = fields.take_raw("tool_choice").map(|raw| value_of(&raw));
    functions.choice = match choice.as_ref() {
        None => ToolChoice::Auto,
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => return Ok(Vec::new()),
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            _ => {
                let why = "must be auto, none, required or a function";
                return Err(fields.refuse("tool_choice", why));
            }
        },
        Some(choice) => {
            // The two calls write it in different depths.
            let name = choice["function"]["name"].as_str();
            match name.or(choice["name"].as_str()) {
                Some(name) if choice["type"] == "function" => ToolChoice::Named(name.to_owned()),
                _ => return Err(fields.refuse("tool_choice", "must be of type function")),
            }
        }
    };
    if tools.len() > MAX_TOOLS {
        let why = format!("has {} functions, may have {MAX_TOOLS}", tools.len());
        return Err(fields.refuse("tools", why));
    }
    Ok(tools)
}

/// One prompt or several, each a text or token ids.
fn completion_prompts(fields: &mut Fields) -> Result<Vec<Prompt>, RequestError> {
    let wrong = "must be a string, an array of token ids, or an array of such";
    let of = |value: Value| match value {
        Value::String(text) => Some(Prompt::Text(text)),
        Value::Array(ids) => ids
            .iter()
            .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<Vec<u32>>>()
            .map(Prompt::Ids),
        _ => None,
    };
    let value: Value = fields.require("prompt")?;
    let several = |list: &[Value]| list.iter().any(|v| v.is_string() || v.is_array());
    let prompts: Option<Vec<Prompt>> = match value {
        Value::Array(list) if several(&list) => list.into_iter().map(of).collect(),
        value => of(value).map(|prompt| vec![prompt]),
    };
    prompts.ok_or_else(|| fields.refuse("prompt", wrong))
}

/// How many answers to each of so many prompts.
fn answers(fields: &mut Fields, prompts: usize) -> Result<usize, RequestError> {
    let answers: usize = fields.take("n")?.unwrap_or(1);
    if answers == 0 {
        return Err(fields.refuse("n", "is 0, must be at least 1"));
    }
    let all = answers.saturating_mul(prompts);
    if all > MAX_ANSWERS {
        let name = if prompts > 1 { "prompt" } else { "n" };
        let why = format!("asks for {all} answers, may ask for {MAX_ANSWERS}");
        return Err(fields.refuse(name, why));
    }
    Ok(answers)
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

fn reply_options(
    endpoint: Endpoint,
    fields: &mut Fields,
    terms: &Terms,
) -> Result<ReplyOptions, RequestError> {
    let stream = fields.take("stream")?.unwrap_or(false);
    let stream_options: Option<StreamOptions> = fields.take("stream_options")?;
    let echo = match endpoint {
        Endpoint::Chat => false,
        Endpoint::Completion => fields.take("echo")?.unwrap_or(false),
    };
    let sampling = terms.sampling.as_ref();
    if echo && sampling.is_some_and(|sampling| sampling.logprobs.is_some()) {
        let why = "has no log probabilities of the prompt: not with logprobs";
        return Err(fields.refuse("echo", why));
    }
    let asked = stream_options.unwrap_or_default();
    Ok(ReplyOptions {
        stream,
        include_usage: stream && asked.include_usage,
        include_split: stream && asked.include_split,
        echo,
    })
}

/// What an answer has to say: OpenAI's `response_format`, or what vLLM and llama.cpp have for it.
fn form(fields: &mut Fields, passed_over: &mut PassedOver) -> Result<Form, RequestError> {
    let mut asked: Vec<(&'static str, Form)> = Vec::new();
    if let Some(raw) = fields.take_raw("response_format") {
        let mut format = Fields::of("response_format".to_owned(), &raw)?;
        let form = format_of(&mut format)?;
        format.end(passed_over)?;
        asked.push(("response_format", form));
    }
    if let Some(raw) = fields.take_raw("structured_outputs") {
        let mut outputs = Fields::of("structured_outputs".to_owned(), &raw)?;
        let names = ["json", "regex", "choice", "grammar"];
        for (_, form) in forms_named(names, &mut outputs)? {
            asked.push(("structured_outputs", form));
        }
        if outputs.take("json_object")? == Some(true) {
            asked.push(("structured_outputs", json_object()));
        }
        for name in ["structural_tag", "whitespace_pattern"] {
            outputs.only(name, is_empty, "is not served")?;
        }
        for name in ["disable_any_whitespace", "disable_additional_properties"] {
            outputs.only(name, |value| value == false, "must be false")?;
        }
        outputs.end(passed_over)?;
    }
    let names = [
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
    ];
    asked.extend(forms_named(names, fields)?);
    if let Some(raw) = fields
        .take_raw("json_schema")
        .filter(|raw| !is_empty(&value_of(raw)))
    {
        asked.push(("json_schema", Form::Json(raw.get().to_owned())));
    }
    asked.retain(|(_, form)| *form != Form::Any);
    match (asked.pop(), asked.pop()) {
        (Some((name, _)), Some((other, _))) => Err(fields.refuse(
            name,
            format!("comes beside {other}: an answer has one form"),
        )),
        (Some((_, form)), None) => Ok(form),
        (None, _) => Ok(Form::Any),
    }
}

fn json_object() -> Form {
    Form::Json(r#"{"type": "object"}"#.to_owned())
}

/// The form of a `response_format`, or of a response's `text.format`, whose schema is a level higher.
pub(super) fn format_of(format: &mut Fields) -> Result<Form, RequestError> {
    let kind: String = format.require("type")?;
    let mut within = match kind.as_str() {
        "text" => return Ok(Form::Any),
        // With a schema, as llama.cpp has it.
        "json_object" => {
            let schema = format.take_raw("schema");
            let form = |schema: Box<RawValue>| Form::Json(schema.get().to_owned());
            return Ok(schema.map_or_else(json_object, form));
        }
        "json_schema" => format
            .take_raw("json_schema")
            .map(|raw| Fields::of(format.path_of("json_schema"), &raw))
            .transpose()?,
        _ => {
            let why = format!("is {kind}, must be text, json_object or json_schema");
            return Err(format.refuse("type", why));
        }
    };
    let fields = within.as_mut().unwrap_or(format);
    let Some(schema) = fields.take_raw("schema") else {
        return Err(fields.refuse("schema", "is absent"));
    };
    // Whatever it says: no answer keeps a schema by halves.
    let _: Option<bool> = fields.take("strict")?;
    for name in ["name", "description"] {
        let _: Option<String> = fields.take(name)?;
    }
    Ok(Form::Json(schema.get().to_owned()))
}

/// vLLM's four fields: a schema, as an object or its text, a regular expression, a list of texts, a grammar.
fn forms_named(
    [json, regex, choice, grammar]: [&'static str; 4],
    fields: &mut Fields,
) -> Result<Vec<(&'static str, Form)>, RequestError> {
    let mut forms = Vec::new();
    if let Some(raw) = fields.take_raw(json) {
        let schema = match value_of(&raw) {
            Value::String(text) => text,
            _ => raw.get().to_owned(),
        };
        forms.push((json, Form::Json(schema)));
    }
    let some = |text: &String| !text.is_empty();
    if let Some(text) = fields.take::<String>(regex)?.filter(some) {
        forms.push((regex, Form::Regex(text)));
    }
    let texts: Option<Vec<String>> = fields.take(choice)?;
    if let Some(texts) = texts.filter(|texts| !texts.is_empty()) {
        forms.push((choice, Form::Choice(texts)));
    }
    if let Some(text) = fields.take::<String>(grammar)?.filter(some) {
        forms.push((grammar, Form::Grammar(text)));
    }
    Ok(forms)
}

/// Fields that ask for what is not done, here or by vLLM's and llama.cpp's servers, in no call: values that ask for nothing
/// pass.
pub(super) fn refuse_everywhere(fields: &mut Fields) -> Result<(), RequestError> {
    let why = "is not served: guided_grammar takes one in Lark's syntax";
    fields.only("grammar", is_empty, why)?;
    for name in ["allowed_token_ids", "bad_words", "stop_token_ids"] {
        fields.only(name, is_empty, "is not served")?;
    }
    let (none, off) = (|value: &Value| value == 0, |value: &Value| value == false);
    let why = "must be 0: an answer ends where the model ends it";
    fields.only("min_tokens", none, why)?;
    fields.only("use_beam_search", off, "must be false: tokens are drawn")?;
    let why = "must be false: an answer ends before them";
    fields.only("include_stop_str_in_output", off, why)?;
    for name in ["prompt_logprobs", "truncate_prompt_tokens"] {
        fields.only(name, |_| false, "is not served")?;
    }
    Ok(())
}

/// The same of what a conversation is made a prompt by.
pub(super) fn refuse_of_conversations(fields: &mut Fields) -> Result<(), RequestError> {
    let (off, on) = (
        |value: &Value| value == false,
        |value: &Value| value == true,
    );
    let why = "is not served: the model's own is used";
    fields.only("chat_template", |_| false, why)?;
    let why = "is not served: write them in chat_template_kwargs";
    fields.only("documents", is_empty, why)?;
    let why = "must be false: a message is begun";
    fields.only("continue_final_message", off, why)?;
    let why = "must be true: a message is begun";
    fields.only("add_generation_prompt", on, why)
}

/// The same of one call.
fn refuse_what_is_not_done(
    endpoint: Endpoint,
    answers: usize,
    fields: &mut Fields,
) -> Result<(), RequestError> {
    refuse_everywhere(fields)?;
    match endpoint {
        Endpoint::Completion => {
            let best_of = |value: &Value| *value == answers;
            let why = "must be as many as n: all answers are returned";
            fields.only("best_of", best_of, why)?;
            let why = "is not served: text is only continued";
            fields.only("suffix", is_empty, why)
        }
        Endpoint::Chat => {
            refuse_of_conversations(fields)?;
            let why = "are not served: write them as tools";
            fields.only("functions", is_empty, why)?;
            let none = |value: &Value| value == "none" || value == "auto";
            let why = "is not served: write it as tool_choice";
            fields.only("function_call", none, why)?;
            let texts = |value: &Value| *value == serde_json::json!(["text"]);
            fields.only("modalities", texts, "must be [\"text\"]")?;
            fields.only("audio", |_| false, "is not served")?;
            fields.only("web_search_options", |_| false, "is not served")
        }
    }
}

#[cfg(test)]
mod tests;
