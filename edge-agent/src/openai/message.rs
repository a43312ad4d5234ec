//! The messages of a conversation, as chat completions have them.

use super::fields::{Fields, PassedOver, is_empty, value_of};
use crate::conversation::{CalledFunction, Message, ToolCall};
use crate::error::RequestError;
use serde_json::Value;
use serde_json::value::RawValue;
use tandem_text::TemplateValue;

/// Between the text parts of one message, as vLLM joins them.
const BETWEEN_PARTS: &str = "\n";

/// Reads the messages.
///
/// # Errors
/// The path of what is not served, such as `messages[2].content[0].type`.
pub(super) fn messages(
    list: &[Box<RawValue>],
    passed_over: &mut PassedOver,
) -> Result<Vec<Message>, RequestError> {
    list.iter()
        .enumerate()
        .map(|(at, value)| message(format!("messages[{at}]"), value, passed_over))
        .collect()
}

fn message(
    path: String,
    value: &RawValue,
    passed_over: &mut PassedOver,
) -> Result<Message, RequestError> {
    let mut fields = Fields::of(path.clone(), value)?;
    let role: String = fields.require("role")?;
    let role = match role.as_str() {
        "system" | "user" | "assistant" | "tool" => role,
        // The newer name of the same thing; no template knows it.
        "developer" => "system".to_owned(),
        other => {
            let why = format!("is {other}, must be system, developer, user, assistant or tool");
            return Err(fields.refuse("role", why));
        }
    };
    let reasoning_content = match fields.take("reasoning_content")? {
        Some(text) => Some(text),
        None => fields.take("reasoning")?,
    };
    let tool_calls = tool_calls(&mut fields, passed_over)?;
    fields.only(
        "function_call",
        is_empty,
        "is not served: write it as tool_calls",
    )?;
    fields.only("audio", |_| false, "is not served")?;
    let content = match fields.take_raw("content").map(|raw| (value_of(&raw), raw)) {
        Some((Value::String(text), _)) => text,
        Some((Value::Array(_), raw)) => text_of(&path, &raw, passed_over)?,
        Some(_) => {
            return Err(fields.refuse("content", "must be a string or an array of text parts"));
        }
        // It called something, or ended before it said anything.
        None if role == "assistant" => String::new(),
        None => return Err(fields.refuse("content", "is absent")),
    };
    let message = Message {
        content,
        name: fields.take("name")?,
        reasoning_content,
        tool_calls,
        tool_call_id: fields.take("tool_call_id")?,
        role,
    };
    // Clients send back what they were answered with.
    fields.pass_over(&["annotations", "refusal"], passed_over);
    fields.end(passed_over)?;
    Ok(message)
}

fn text_of(
    path: &str,
    parts: &RawValue,
    passed_over: &mut PassedOver,
) -> Result<String, RequestError> {
    let parts: Vec<Box<RawValue>> = serde_json::from_str(parts.get()).unwrap_or_default();
    let texts: Result<Vec<String>, RequestError> = parts
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let path = format!("{path}.content[{at}]");
            let mut fields = Fields::of(path, value)?;
            let kind: String = fields.require("type")?;
            let text = match kind.as_str() {
                "text" => fields.require("text")?,
                "refusal" => fields.require("refusal")?,
                _ => return Err(fields.refuse("type", format!("is {kind}, only text is served"))),
            };
            fields.end(passed_over)?;
            Ok(text)
        })
        .collect();
    Ok(texts?.join(BETWEEN_PARTS))
}

fn tool_calls(
    fields: &mut Fields,
    passed_over: &mut PassedOver,
) -> Result<Vec<ToolCall>, RequestError> {
    let list = fields.take_list("tool_calls")?.unwrap_or_default();
    list.iter()
        .enumerate()
        .map(|(at, value)| {
            let path = fields.path_of(&format!("tool_calls[{at}]"));
            let mut call = Fields::of(path, value)?;
            call.only("type", |kind| kind == "function", "must be function")?;
            let id = call.take("id")?.unwrap_or_default();
            let Some(raw) = call.take_raw("function") else {
                return Err(call.refuse("function", "is absent"));
            };
            let mut function = Fields::of(call.path_of("function"), &raw)?;
            let read = CalledFunction {
                name: function.require("name")?,
                arguments: arguments(&mut function)?,
            };
            function.end(passed_over)?;
            call.pass_over(&["index"], passed_over);
            call.end(passed_over)?;
            Ok(ToolCall {
                id,
                kind: "function",
                function: read,
            })
        })
        .collect()
}

/// An object, which clients send as a text.
pub(super) fn arguments(function: &mut Fields) -> Result<TemplateValue, RequestError> {
    let Some(raw) = function.take_raw("arguments") else {
        return Err(function.refuse("arguments", "is absent"));
    };
    let text = match value_of(&raw) {
        Value::String(text) if text.trim().is_empty() => "{}".to_owned(),
        Value::String(text) => text,
        _ => raw.get().to_owned(),
    };
    let is_object = text.trim_start().starts_with('{');
    let read = TemplateValue::from_json(&text).ok().filter(|_| is_object);
    read.ok_or_else(|| function.refuse("arguments", "must be a JSON object, or one as a text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::fields::UnknownFields;
    use serde_json::json;

    fn read_as(
        unknown: UnknownFields,
        list: &Value,
    ) -> Result<(Vec<Message>, Vec<String>), String> {
        let list: Vec<Box<RawValue>> = serde_json::from_str(&list.to_string()).unwrap();
        let mut passed_over = PassedOver::new(unknown);
        let read = messages(&list, &mut passed_over).map_err(|error| error.to_string())?;
        Ok((read, passed_over.into_paths()))
    }

    fn read(list: &Value) -> Result<Vec<Message>, String> {
        read_as(UnknownFields::Ignore, list).map(|(messages, _)| messages)
    }

    fn said(role: &str, content: &str) -> Message {
        Message {
            role: role.to_owned(),
            content: content.to_owned(),
            ..Message::default()
        }
    }

    #[test]
    fn text_comes_as_a_string_or_in_parts_and_a_developer_is_the_system() {
        let read = read(&json!([
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "refusal": null, "tool_calls": [], "annotations": [],
             "reasoning_content": "d"},
        ]));
        let expected = [
            said("system", "Be brief."),
            Message {
                name: Some("Ann".to_owned()),
                ..said("user", "a\nb")
            },
            Message {
                reasoning_content: Some("d".to_owned()),
                ..said("assistant", "c")
            },
        ];
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn calls_and_their_results_are_read() {
        let called = |arguments: Value| {
            json!([
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "1", "type": "function", "index": 0, "function": {"name": "add", "arguments": arguments}},
                ]},
                {"role": "tool", "tool_call_id": "1", "content": "3"},
            ])
        };
        for arguments in [json!("{\"b\": 1, \"a\": 2}"), json!({"b": 1, "a": 2})] {
            let read = read(&called(arguments)).unwrap();
            let call = &read[0].tool_calls[0];
            assert_eq!((&*call.id, &*call.function.name), ("1", "add"));
            let expected = Message {
                tool_call_id: Some("1".to_owned()),
                ..said("tool", "3")
            };
            assert_eq!(read[1], expected);
        }
        // In the order in which they came.
        let ordered = read(&called(json!("{\"b\": 1, \"a\": 2}"))).unwrap();
        let arguments = &ordered[0].tool_calls[0].function.arguments;
        assert_eq!(
            serde_json::to_string(arguments).unwrap(),
            "{\"b\":1,\"a\":2}"
        );
        for wrong in [json!("[1]"), json!("{"), json!(3)] {
            let refused = read(&called(wrong)).unwrap_err();
            assert_eq!(
                refused,
                "messages[0].tool_calls[0].function.arguments: must be a JSON object, or one as a text"
            );
        }
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_path() {
        for (message, said) in [
            (json!("hello"), "messages[0]: must be an object"),
            (json!({"content": "x"}), "messages[0].role: is absent"),
            (json!({"role": "user"}), "messages[0].content: is absent"),
            (
                json!({"role": "critic", "content": "x"}),
                "messages[0].role: is critic, must be system, developer, user, assistant or tool",
            ),
            (
                json!({"role": "user", "content": 3}),
                "messages[0].content: must be a string or an array of text parts",
            ),
            (
                json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
                "messages[0].content[0].type: is image_url, only text is served",
            ),
            (
                json!({"role": "assistant", "tool_calls": [{"id": "1"}]}),
                "messages[0].tool_calls[0].function: is absent",
            ),
        ] {
            assert_eq!(read(&json!([message])).unwrap_err(), said);
        }
    }

    #[test]
    fn unknown_fields_are_told() {
        let strange = json!([
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}], "mood": "good"},
            {"role": "user", "content": "b", "mood": "bad"},
        ]);
        let (_, paths) = read_as(UnknownFields::Ignore, &strange).unwrap();
        assert_eq!(
            paths,
            ["messages[].content[].cache_control", "messages[].mood"]
        );
        let refused = read_as(UnknownFields::Refuse, &strange).unwrap_err();
        assert_eq!(
            refused,
            "messages[0].content[0].cache_control: is not served"
        );
    }
}
