//! A conversation in a file, as OpenAI's API and what is made for it write one: `{"messages": […]}`.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use tandem_proto::v1;

/// For nobody but its owner.
const MODE: u32 = 0o600;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    messages: Vec<Message>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Message {
    role: Role,
    #[serde(default)]
    content: Content,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Role {
    #[serde(alias = "developer")]
    System,
    User,
    Assistant,
    Tool,
}

/// A text, or the parts of one.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a text, or parts of text")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
    #[default]
    None,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Part {
    Text { text: String },
}

#[derive(Debug, Serialize, Deserialize)]
struct ToolCall {
    #[serde(default)]
    id: String,
    #[serde(rename = "type")]
    kind: Function,
    function: CalledFunction,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Function {
    Function,
}

#[derive(Debug, Serialize, Deserialize)]
struct CalledFunction {
    name: String,
    arguments: String,
}

/// Writes a conversation into a file, which must be new unless it `may_replace` one.
///
/// # Errors
/// The file is there already, or cannot be written.
pub(super) fn save(
    path: &Path,
    messages: &[v1::ChatMessage],
    may_replace: bool,
) -> anyhow::Result<()> {
    let text = written(messages)?;
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    if may_replace {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let saved = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match saved {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            anyhow::bail!("{} is there already: take another name", path.display())
        }
        saved => saved.with_context(|| format!("cannot write {}", path.display())),
    }
}

/// The conversation in a file.
///
/// # Errors
/// It cannot be read, or has no conversation.
pub(super) fn load(path: &Path) -> anyhow::Result<Vec<v1::ChatMessage>> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    read(&text).with_context(|| format!("{name} has no conversation"))
}

fn written(messages: &[v1::ChatMessage]) -> anyhow::Result<String> {
    let messages: anyhow::Result<Vec<Message>> = messages.iter().map(Message::of).collect();
    let document = Document {
        messages: messages?,
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

fn read(text: &str) -> anyhow::Result<Vec<v1::ChatMessage>> {
    let begins_well = text.trim_start().starts_with('{');
    anyhow::ensure!(begins_well, "it is no JSON object with `messages`");
    let mut json = serde_json::Deserializer::from_str(text);
    let document: Document = serde_path_to_error::deserialize(&mut json)?;
    json.end()?;
    Ok(document
        .messages
        .into_iter()
        .map(Message::into_wire)
        .collect())
}

impl Message {
    fn of(message: &v1::ChatMessage) -> anyhow::Result<Self> {
        let role = match message.role.as_str() {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            other => anyhow::bail!("there is no role {other} in such a file"),
        };
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let calls = message.tool_calls.iter().map(|call| ToolCall {
            id: call.id.clone(),
            kind: Function::Function,
            function: CalledFunction {
                name: call.name.clone(),
                arguments: call.arguments.clone(),
            },
        });
        Ok(Self {
            role,
            content: Content::Text(message.content.clone()),
            name: some(&message.name),
            reasoning_content: some(&message.reasoning),
            tool_calls: Some(calls.collect()).filter(|calls: &Vec<_>| !calls.is_empty()),
            tool_call_id: some(&message.tool_call_id),
        })
    }

    fn into_wire(self) -> v1::ChatMessage {
        let calls = self.tool_calls.unwrap_or_default().into_iter();
        let content = match self.content {
            Content::Text(text) => text,
            Content::Parts(parts) => {
                let texts: Vec<String> =
                    parts.into_iter().map(|Part::Text { text }| text).collect();
                texts.join("\n")
            }
            Content::None => String::new(),
        };
        v1::ChatMessage {
            role: self.role.name().to_owned(),
            content,
            name: self.name.unwrap_or_default(),
            reasoning: self.reasoning_content.unwrap_or_default(),
            tool_calls: calls
                .map(|call| v1::ToolCall {
                    id: call.id,
                    name: call.function.name,
                    arguments: call.function.arguments,
                })
                .collect(),
            tool_call_id: self.tool_call_id.unwrap_or_default(),
        }
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{message, user};
    use std::os::unix::fs::PermissionsExt as _;

    fn conversation() -> Vec<v1::ChatMessage> {
        vec![
            message("system", "Be brief."),
            user("Warum?\n\"Darum\" \u{1F980}"),
            v1::ChatMessage {
                reasoning: "Hm.".to_owned(),
                tool_calls: vec![v1::ToolCall {
                    id: "call_1".to_owned(),
                    name: "add".to_owned(),
                    arguments: "{\"a\": 1}".to_owned(),
                }],
                ..message("assistant", "")
            },
            v1::ChatMessage {
                tool_call_id: "call_1".to_owned(),
                ..message("tool", "2")
            },
        ]
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        save(&path, &conversation(), false).unwrap();
        assert_eq!(load(&path).unwrap(), conversation());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
    }

    #[test]
    fn nothing_that_is_there_is_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        save(&path, &conversation(), false).unwrap();
        let refused = save(&path, &[], false).unwrap_err().to_string();
        assert!(
            refused.ends_with("talk.json is there already: take another name"),
            "{refused}"
        );
        assert_eq!(load(&path).unwrap(), conversation());
        save(&path, &conversation()[..2], true).unwrap();
        assert_eq!(load(&path).unwrap(), conversation()[..2]);
    }

    #[test]
    fn others_files_are_read() {
        let text = r#"{"model": "m", "temperature": 1, "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "refusal": null, "tool_calls": null}
        ]}"#;
        let expected = [message("system", "a\nb"), message("assistant", "")];
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn what_is_no_conversation_is_said() {
        for (text, said) in [
            ("", "it is no JSON object with `messages`"),
            ("[]", "it is no JSON object with `messages`"),
            ("{}", "missing field `messages`"),
            ("{", "EOF"),
            ("{\"messages\": 3}", "messages: invalid type"),
            (
                "{\"messages\": [{\"role\": \"king\", \"content\": \"a\"}]}",
                "messages[0].role: unknown variant `king`",
            ),
            (
                "{\"messages\": [{\"content\": \"a\"}]}",
                "messages[0]: missing field `role`",
            ),
            (
                "{\"messages\": [{\"role\": \"user\", \"content\": 3}]}",
                "messages[0].content: must be a text",
            ),
            ("{\"messages\": []} and more", "trailing characters"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        let missing = load(Path::new("/nowhere/talk.json")).unwrap_err();
        assert_eq!(missing.to_string(), "cannot read /nowhere/talk.json");
    }
}
