//! `POST /v1/responses`: the newer of OpenAI's calls that make an answer. Nothing is stored, so that each request brings
//! its whole conversation.

use super::error::Failure;
use super::fields::{Fields, PassedOver, UnknownFields, is_empty, value_of};
use super::message::arguments;
use super::reply::Origin;
use super::request::{
    ReplyOptions, add_function, check_choice, effort, format_of, offered_tools, refuse_everywhere,
};
use super::respond::{Reply, Said};
use crate::answer::AnswerEvent;
use crate::conversation::{CalledFunction, Conversation, Message, ToolCall};
use crate::error::RequestError;
use crate::forms::{Form, Functions, ToolChoice};
use crate::parts::{Call, CallPiece, Part, Splitter};
use crate::request::Terms;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tandem_proto::v1;
use tandem_text::TemplateValue;

/// A request that was read.
#[derive(Debug)]
pub struct Asked {
    /// The model that is asked.
    pub model: String,
    /// What to go on from.
    pub conversation: Conversation,
    /// The terms of the answer.
    pub terms: Terms,
    /// How it is written.
    pub options: ReplyOptions,
    /// What the answer has to say.
    pub form: Form,
    /// The functions that may be called.
    pub functions: Functions,
    /// Fields of the request that its response repeats.
    pub repeated: Map<String, Value>,
    /// Fields that were passed over.
    pub passed_over: Vec<String>,
}

/// What says something to another server, and changes no answer where it is passed over.
const HINTS: [&str; 9] = [
    "max_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "user",
    "verbosity",
];

/// Reads a body.
///
/// # Errors
/// The first field that is malformed, or asks for what is not done.
pub fn read(body: &[u8], unknown: UnknownFields) -> Result<Asked, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let mut passed_over = PassedOver::new(unknown);
    let model = fields.require("model")?;
    let instructions: Option<String> = fields.take("instructions")?;
    let mut messages = Vec::new();
    if let Some(text) = &instructions {
        messages.push(said("system", text.clone()));
    }
    messages.extend(input(&mut fields, &mut passed_over)?);
    let metadata: Option<Map<String, Value>> = fields.take("metadata")?;
    let mut functions = Functions::default();
    let (told, tools) = tools(&mut fields, &mut functions, &mut passed_over)?;
    let mut conversation = Conversation {
        messages,
        tool_bytes: tools.iter().map(String::len).sum(),
        ..Conversation::default()
    };
    for tool in tools {
        let tool = TemplateValue::from_json(&tool);
        let too_deep = |_| fields.refuse("tools", "are nested too deeply");
        conversation.tools.push(tool.map_err(too_deep)?);
    }
    if let Some(raw) = fields.take_raw("reasoning") {
        let mut reasoning = Fields::of("reasoning".to_owned(), &raw)?;
        effort("effort", &mut reasoning, &mut conversation)?;
        reasoning.pass_over(&["summary", "generate_summary"], &mut passed_over);
        reasoning.end(&mut passed_over)?;
    }
    let mut form = Form::Any;
    let mut format = json!({"type": "text"});
    if let Some(raw) = fields.take_raw("text") {
        let mut text = Fields::of("text".to_owned(), &raw)?;
        if let Some(raw) = text.take_raw("format") {
            format = value_of(&raw);
            let mut fields = Fields::of(text.path_of("format"), &raw)?;
            form = format_of(&mut fields)?;
            fields.end(&mut passed_over)?;
        }
        text.pass_over(&["verbosity"], &mut passed_over);
        text.end(&mut passed_over)?;
    }
    let temperature: Option<f64> = fields.take("temperature")?;
    let top_p: Option<f64> = fields.take("top_p")?;
    let several_calls = fields.take("parallel_tool_calls")?.unwrap_or(true);
    functions.only_one = !several_calls;
    let terms = Terms {
        max_tokens: fields.take("max_output_tokens")?,
        stop: Vec::new(),
        cache_salt: fields.take("cache_salt")?.unwrap_or_default(),
        sampling: Some(v1::SamplingParameters {
            temperature: temperature.map(|value| value as f32),
            top_p: top_p.map(|value| value as f32),
            ..v1::SamplingParameters::default()
        }),
        ..Terms::default()
    };
    let options = ReplyOptions {
        stream: fields.take("stream")?.unwrap_or(false),
        ..ReplyOptions::default()
    };
    let off = |value: &Value| value == false;
    fields.only("background", off, "must be false: nothing is stored")?;
    for name in ["previous_response_id", "conversation", "prompt"] {
        fields.only(name, is_empty, "is not served: nothing is stored")?;
    }
    refuse_everywhere(&mut fields)?;
    let disabled = |value: &Value| value == "disabled";
    let why = "must be disabled: no message is left out";
    fields.only("truncation", disabled, why)?;
    // What is thought is in the clear here.
    let thoughts =
        |value: &Value| is_empty(value) || *value == json!(["reasoning.encrypted_content"]);
    let why = "is not served";
    fields.only("include", thoughts, why)?;
    let none = |value: &Value| value == 0;
    fields.only(
        "top_logprobs",
        none,
        "must be 0: chat completions have log probabilities",
    )?;
    fields.pass_over(&HINTS, &mut passed_over);
    fields.end(&mut passed_over)?;
    let repeated = json!({
        "instructions": instructions,
        "max_output_tokens": terms.max_tokens,
        "metadata": metadata.unwrap_or_default(),
        "parallel_tool_calls": several_calls,
        "previous_response_id": null,
        "store": false,
        "temperature": temperature,
        "text": {"format": format},
        "tool_choice": repeated_choice(&functions),
        "tools": told,
        "top_p": top_p,
        "truncation": "disabled",
    });
    let Value::Object(repeated) = repeated else {
        return Err(RequestError::Body("has no fields".to_owned()));
    };
    Ok(Asked {
        model,
        conversation,
        terms,
        options,
        form,
        functions,
        repeated,
        passed_over: passed_over.into_paths(),
    })
}

/// Which functions may be called, as the response repeats it.
fn repeated_choice(functions: &Functions) -> Value {
    match &functions.choice {
        _ if functions.all.is_empty() => "none".into(),
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({"type": "function", "name": name}),
    }
}

fn said(role: &str, content: String) -> Message {
    Message {
        role: role.to_owned(),
        content,
        ..Message::default()
    }
}

/// The conversation: a text of the user's, or a list of items.
fn input(fields: &mut Fields, passed_over: &mut PassedOver) -> Result<Vec<Message>, RequestError> {
    let Some(raw) = fields.take_raw("input") else {
        return Err(fields.refuse("input", "is absent"));
    };
    if let Value::String(text) = value_of(&raw) {
        return Ok(vec![said("user", text)]);
    }
    let items: Result<Vec<Box<RawValue>>, _> = serde_json::from_str(raw.get());
    let items = items.map_err(|_| fields.refuse("input", "must be a string or an array"))?;
    let mut messages: Vec<Message> = Vec::new();
    for (at, raw) in items.iter().enumerate() {
        let mut item = Fields::of(format!("input[{at}]"), raw)?;
        let kind: Option<String> = item.take("type")?;
        match kind.as_deref() {
            None | Some("message") => messages.push(message(&mut item, passed_over)?),
            Some("function_call") => {
                let call = ToolCall {
                    id: item.require("call_id")?,
                    kind: "function",
                    function: CalledFunction {
                        name: item.require("name")?,
                        arguments: arguments(&mut item)?,
                    },
                };
                // Calls of one turn belong to one message, and to what was said before them.
                match messages.last_mut() {
                    Some(last) if last.role == "assistant" => last.tool_calls.push(call),
                    _ => messages.push(Message {
                        tool_calls: vec![call],
                        ..said("assistant", String::new())
                    }),
                }
            }
            Some("function_call_output") => {
                let id = item.require("call_id")?;
                let output = match item.take_raw("output") {
                    Some(raw) => content(&item, "output", &raw, passed_over)?,
                    None => return Err(item.refuse("output", "is absent")),
                };
                messages.push(Message {
                    tool_call_id: Some(id),
                    ..said("tool", output)
                });
            }
            // What a model thought before an earlier answer: templates leave it out.
            Some("reasoning") => {
                item.pass_over(&["summary", "content", "encrypted_content"], passed_over);
            }
            Some(other) => {
                let why = format!("is {other}, which is not served");
                return Err(item.refuse("type", why));
            }
        }
        item.pass_over(&["id", "status", "phase"], passed_over);
        item.end(passed_over)?;
    }
    Ok(messages)
}

fn message(item: &mut Fields, passed_over: &mut PassedOver) -> Result<Message, RequestError> {
    let role: String = item.require("role")?;
    let role = match role.as_str() {
        "system" | "user" | "assistant" => role.as_str(),
        "developer" => "system",
        other => {
            let why = format!("is {other}, must be system, developer, user or assistant");
            return Err(item.refuse("role", why));
        }
    };
    match item.take_raw("content") {
        Some(raw) => Ok(said(role, content(item, "content", &raw, passed_over)?)),
        None => Err(item.refuse("content", "is absent")),
    }
}

/// A text, or its parts.
fn content(
    item: &Fields,
    name: &str,
    raw: &RawValue,
    passed_over: &mut PassedOver,
) -> Result<String, RequestError> {
    if let Value::String(text) = value_of(raw) {
        return Ok(text);
    }
    let parts: Result<Vec<Box<RawValue>>, _> = serde_json::from_str(raw.get());
    let wrong = |_| item.refuse(name, "must be a string or an array of text parts");
    let mut texts = Vec::new();
    for (at, raw) in parts.map_err(wrong)?.iter().enumerate() {
        let mut part = Fields::of(item.path_of(&format!("{name}[{at}]")), raw)?;
        let kind: String = part.require("type")?;
        let text: String = match kind.as_str() {
            "input_text" | "output_text" | "text" => part.require("text")?,
            "refusal" => part.require("refusal")?,
            _ => return Err(part.refuse("type", format!("is {kind}, only text is served"))),
        };
        texts.push(text);
        part.pass_over(&["annotations", "logprobs"], passed_over);
        part.end(passed_over)?;
    }
    Ok(texts.join("\n"))
}

/// The functions as they came, and in the form in which templates know them.
fn tools(
    fields: &mut Fields,
    functions: &mut Functions,
    passed_over: &mut PassedOver,
) -> Result<(Value, Vec<String>), RequestError> {
    let tools = offered_tools(fields, functions)?;
    let mut written = Vec::new();
    for (at, raw) in tools.iter().enumerate() {
        let mut tool = Fields::of(format!("tools[{at}]"), raw)?;
        tool.only(
            "type",
            |kind| kind == "function",
            "must be function: no other tool is here",
        )?;
        let description = tool.take_raw("description");
        let function = add_function(functions, &mut tool)?;
        let mut text = format!("{{\"name\": {}", json!(function.name));
        let parts = [
            ("description", &description),
            ("parameters", &function.parameters),
        ];
        for (part, raw) in parts {
            if let Some(raw) = raw {
                text += &format!(", \"{part}\": {}", raw.get());
            }
        }
        written.push(format!(
            "{{\"type\": \"function\", \"function\": {text}}}}}"
        ));
        tool.end(passed_over)?;
    }
    check_choice(functions, fields)?;
    let told = tools.iter().map(|raw| value_of(raw)).collect();
    Ok((Value::Array(told), written))
}

/// Writes one response.
#[derive(Debug)]
pub(super) struct Writer {
    id: String,
    created: u64,
    model: String,
    repeated: Map<String, Value>,
    parts: Splitter,
    /// Items that have ended.
    output: Vec<Value>,
    /// The one that has not.
    open: Option<Item>,
    /// Tokens of the prompt that were not computed again.
    cached: u32,
    finished: Option<v1::Finished>,
    /// Tokens of the answer that are reasoning.
    reasoning_tokens: usize,
    number: u64,
}

/// An item under way.
#[derive(Debug)]
struct Item {
    kind: Kind,
    id: String,
    /// Its text, or a call's arguments.
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Message,
    Reasoning,
    Call { call_id: String, name: String },
}

impl Kind {
    /// Ids of such items begin so.
    fn id_prefix(&self) -> &'static str {
        match self {
            Self::Message => "msg",
            Self::Reasoning => "rs",
            Self::Call { .. } => "fc",
        }
    }

    /// Events of its text are called so.
    fn event(&self) -> &'static str {
        match self {
            Self::Message => "output_text",
            Self::Reasoning => "reasoning_text",
            Self::Call { .. } => "function_call_arguments",
        }
    }

    /// The only part of an item with this text; a call has none.
    fn part(&self, text: &str) -> Option<Value> {
        match self {
            Self::Message => Some(
                json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []}),
            ),
            Self::Reasoning => Some(json!({"type": "reasoning_text", "text": text})),
            Self::Call { .. } => None,
        }
    }
}

impl Item {
    fn value(&self, status: &str) -> Value {
        let content: Vec<Value> = match status {
            "in_progress" => Vec::new(),
            _ => self.kind.part(&self.text).into_iter().collect(),
        };
        match &self.kind {
            Kind::Message => json!({
                "type": "message", "id": self.id, "status": status, "role": "assistant", "content": content,
            }),
            Kind::Reasoning => json!({
                "type": "reasoning", "id": self.id, "status": status, "summary": [], "content": content,
            }),
            Kind::Call { call_id, name } => json!({
                "type": "function_call", "id": self.id, "call_id": call_id, "name": name, "arguments": self.text,
                "status": status,
            }),
        }
    }

    /// What names it in an event of its text.
    fn place(&self, at: usize) -> Value {
        match self.kind {
            Kind::Call { .. } => json!({"item_id": self.id, "output_index": at}),
            Kind::Message | Kind::Reasoning => {
                json!({"item_id": self.id, "output_index": at, "content_index": 0})
            }
        }
    }
}

fn new_id(prefix: &str) -> String {
    format!("{prefix}_{:032x}", rand::random::<u128>())
}

impl Writer {
    /// For an answer that begins now.
    pub(super) fn new(origin: &Origin, repeated: Map<String, Value>, parts: Splitter) -> Self {
        Self {
            id: new_id("resp"),
            created: super::unix_seconds(),
            model: origin.model.clone(),
            repeated,
            parts,
            output: Vec::new(),
            open: None,
            cached: 0,
            finished: None,
            reasoning_tokens: 0,
            number: 0,
        }
    }

    fn response(&self) -> Value {
        let (status, reason) = match &self.finished {
            None => ("in_progress", None),
            Some(finished) if finished.finish_reason() == v1::FinishReason::Length => {
                ("incomplete", Some("max_output_tokens"))
            }
            Some(_) => ("completed", None),
        };
        let mut response = self.repeated.clone();
        let own = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": reason.map(|reason| json!({"reason": reason})),
            "model": self.model,
            "output": self.output,
            "usage": self.finished.as_ref().map(|finished| json!({
                "input_tokens": finished.prompt_tokens,
                "input_tokens_details": {"cached_tokens": self.cached},
                "output_tokens": finished.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
                "total_tokens": finished.prompt_tokens + finished.completion_tokens,
            })),
        });
        if let Value::Object(own) = own {
            response.extend(own);
        }
        Value::Object(response)
    }

    fn event(&mut self, name: &str, fields: Value) -> Said {
        let mut event = Map::from_iter([
            ("type".to_owned(), Value::from(name)),
            ("sequence_number".to_owned(), self.number.into()),
        ]);
        self.number += 1;
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        Said {
            name: Some(name.to_owned()),
            data: Value::Object(event).to_string(),
        }
    }

    /// Another item begins. The one before has ended.
    fn begin_item(&mut self, kind: Kind, said: &mut Vec<Said>) {
        self.end_item("completed", said);
        let at = self.output.len();
        let item = Item {
            id: new_id(kind.id_prefix()),
            kind,
            text: String::new(),
        };
        let added = json!({"output_index": at, "item": item.value("in_progress")});
        said.push(self.event("response.output_item.added", added));
        if let Some(part) = item.kind.part("") {
            let mut added = item.place(at);
            added["part"] = part;
            said.push(self.event("response.content_part.added", added));
        }
        self.open = Some(item);
    }

    /// More text of the item under way.
    fn go_on(&mut self, text: &str, said: &mut Vec<Said>) {
        let at = self.output.len();
        let Some(open) = &mut self.open else { return };
        open.text += text;
        let name = format!("response.{}.delta", open.kind.event());
        let mut delta = open.place(at);
        delta["delta"] = text.into();
        if open.kind == Kind::Message {
            delta["logprobs"] = json!([]);
        }
        said.push(self.event(&name, delta));
    }

    /// More text of a kind, in the item under way or in a new one.
    fn text(&mut self, kind: Kind, text: &str, said: &mut Vec<Said>) {
        if self.open.as_ref().is_none_or(|open| open.kind != kind) {
            self.begin_item(kind, said);
        }
        self.go_on(text, said);
    }

    fn end_item(&mut self, status: &str, said: &mut Vec<Said>) {
        let Some(open) = self.open.take() else { return };
        let at = self.output.len();
        let name = format!("response.{}.done", open.kind.event());
        let mut done = open.place(at);
        match &open.kind {
            Kind::Message => {
                done["text"] = open.text.as_str().into();
                done["logprobs"] = json!([]);
            }
            Kind::Reasoning => done["text"] = open.text.as_str().into(),
            Kind::Call { name, .. } => {
                done["name"] = name.as_str().into();
                done["arguments"] = open.text.as_str().into();
            }
        }
        said.push(self.event(&name, done));
        if let Some(part) = open.kind.part(&open.text) {
            let mut done = open.place(at);
            done["part"] = part;
            said.push(self.event("response.content_part.done", done));
        }
        let item = open.value(status);
        said.push(self.event(
            "response.output_item.done",
            json!({"output_index": at, "item": item}),
        ));
        self.output.push(item);
    }

    fn parts(&mut self, parts: Vec<Part>, said: &mut Vec<Said>) {
        for part in parts {
            match part {
                Part::Content(text) => self.text(Kind::Message, &text, said),
                Part::Reasoning(text) => self.text(Kind::Reasoning, &text, said),
                Part::Call(Call {
                    id,
                    name,
                    arguments,
                }) => {
                    self.begin_item(Kind::Call { call_id: id, name }, said);
                    self.go_on(&arguments, said);
                    // One that was cut ends with the answer.
                    if serde_json::from_str::<Map<String, Value>>(&arguments).is_ok() {
                        self.end_item("completed", said);
                    }
                }
                Part::CallPiece(CallPiece::Begins { id, name }) => {
                    self.begin_item(Kind::Call { call_id: id, name }, said);
                }
                Part::CallPiece(CallPiece::Arguments(text)) => self.go_on(&text, said),
                Part::CallPiece(CallPiece::Ends) => self.end_item("completed", said),
            }
        }
    }
}

impl Reply for Writer {
    fn is_done(&self) -> bool {
        self.finished.is_some()
    }

    fn pieces(&mut self, _: usize, event: AnswerEvent) -> Vec<Said> {
        let mut said = Vec::new();
        match event {
            AnswerEvent::Started(started) => {
                self.cached = started.reused_tokens;
                let response = self.response();
                for name in ["response.created", "response.in_progress"] {
                    said.push(self.event(name, json!({"response": response})));
                }
            }
            AnswerEvent::Delta(delta) => {
                let parts = self.parts.feed(&delta.text);
                if self.parts.thinks() {
                    self.reasoning_tokens += delta.token_ids.len();
                }
                self.parts(parts, &mut said);
            }
            // Nobody asks for them here.
            AnswerEvent::Step(_) => {}
            AnswerEvent::Finished(finished) => {
                let cut = finished.finish_reason() == v1::FinishReason::Length;
                let parts = self.parts.end(cut);
                self.parts(parts, &mut said);
                let status = if cut { "incomplete" } else { "completed" };
                self.end_item(status, &mut said);
                let name = &format!("response.{status}");
                self.finished = Some(finished);
                let response = self.response();
                said.push(self.event(name, json!({"response": response})));
            }
        }
        said
    }

    fn gather(&mut self, index: usize, event: AnswerEvent) {
        // What it would say on the way makes up the whole.
        self.pieces(index, event);
    }

    fn whole(self) -> String {
        self.response().to_string()
    }

    fn failure(&mut self, failure: &Failure) -> Said {
        let failure: Value = serde_json::from_str(&failure.json()).unwrap_or_default();
        let error = &failure["error"];
        let fields =
            json!({"code": error["code"], "message": error["message"], "param": error["param"]});
        self.event("error", fields)
    }
}

#[cfg(test)]
mod tests;
