//! The messages of a conversation, as chat completions have them.

use super::fields::{Fields, is_empty};
use crate::error::RequestError;
use serde_json::Value;
use tandem_proto::v1;

/// Between the text parts of one message, as vLLM joins them.
const BETWEEN_PARTS: &str = "\n";

/// Reads the messages.
///
/// # Errors
/// The path of what is not served, such as `messages[2].content[0].type`.
pub(super) fn messages(list: Vec<Value>) -> Result<Vec<v1::ChatMessage>, RequestError> {
    list.into_iter()
        .enumerate()
        .map(|(at, value)| message(format!("messages[{at}]"), value))
        .collect()
}

fn message(path: String, value: Value) -> Result<v1::ChatMessage, RequestError> {
    let mut fields = Fields::of(path.clone(), value)?;
    let role: String = fields.require("role")?;
    let role = match role.as_str() {
        "system" | "user" | "assistant" => role,
        // The newer name of the same thing; no template knows it.
        "developer" => "system".to_owned(),
        other => {
            let why = format!("is {other}, must be system, developer, user or assistant");
            return Err(fields.refuse("role", why));
        }
    };
    // Clients send back what they were answered with, empty fields and all.
    for name in ["tool_calls", "annotations"] {
        fields.only(name, is_empty, "is not served")?;
    }
    let content = match fields.require("content")? {
        Value::String(text) => text,
        Value::Array(parts) => text_of(&path, parts)?,
        _ => return Err(fields.refuse("content", "must be a string or an array of text parts")),
    };
    fields.end()?;
    Ok(v1::ChatMessage { role, content })
}

fn text_of(path: &str, parts: Vec<Value>) -> Result<String, RequestError> {
    let texts: Result<Vec<String>, RequestError> = parts
        .into_iter()
        .enumerate()
        .map(|(at, value)| {
            let path = format!("{path}.content[{at}]");
            let mut fields = Fields::of(path.clone(), value)?;
            let kind: String = fields.require("type")?;
            if kind != "text" {
                let why = format!("is {kind}, only text is served");
                return Err(RequestError::Field {
                    path: format!("{path}.type"),
                    problem: why,
                });
            }
            let text = fields.require("text")?;
            fields.end()?;
            Ok(text)
        })
        .collect();
    Ok(texts?.join(BETWEEN_PARTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(list: Value) -> Result<Vec<(String, String)>, String> {
        let Value::Array(list) = list else {
            panic!("a list")
        };
        messages(list)
            .map(|list| list.into_iter().map(|m| (m.role, m.content)).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn text_comes_as_a_string_or_in_parts_and_a_developer_is_the_system() {
        let read = read(json!([
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "refusal": null, "tool_calls": [], "annotations": []},
        ]));
        let expected = [
            ("system", "Be brief."),
            ("user", "a\nb"),
            ("assistant", "c"),
        ];
        assert_eq!(
            read.unwrap(),
            expected.map(|(role, content)| (role.to_owned(), content.to_owned()))
        );
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_path() {
        for (message, said) in [
            (json!("hello"), "messages[0]: must be an object"),
            (json!({"content": "x"}), "messages[0].role: is absent"),
            (json!({"role": "user"}), "messages[0].content: is absent"),
            (
                json!({"role": "tool", "content": "x"}),
                "messages[0].role: is tool, must be system, developer, user or assistant",
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
                json!({"role": "user", "content": "x", "name": "Ann"}),
                "messages[0].name: is not served",
            ),
            (
                json!({"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}),
                "messages[0].tool_calls: is not served",
            ),
        ] {
            assert_eq!(read(json!([message])).unwrap_err(), said);
        }
    }
}
