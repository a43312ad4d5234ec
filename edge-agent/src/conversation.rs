//! A conversation as a chat template reads it, with the functions that may be called.

use crate::error::RequestError;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tandem_proto::v1;
use tandem_text::{ChatTemplate, RenderOptions, TemplateValue, TextError};

/// What a chat template makes a prompt of.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    /// What was said.
    pub messages: Vec<Message>,
    /// The functions that the model may call, each as `{"type": "function", "function": {…}}`.
    pub tools: Vec<TemplateValue>,
    /// What else this model's template reads, such as `enable_thinking`.
    pub variables: BTreeMap<String, TemplateValue>,
    /// Bytes of the functions, as they came.
    pub tool_bytes: usize,
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Message {
    /// Who speaks.
    pub role: String,
    /// What is said.
    pub content: String,
    /// The speaker's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the model thought before it said this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The functions that the model called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Of a function's result: the call that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolCall {
    /// What its result names.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is called.
    pub function: CalledFunction,
}

/// What is called, and with what.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalledFunction {
    /// The function.
    pub name: String,
    /// An object of the arguments by name.
    pub arguments: TemplateValue,
}

impl Conversation {
    /// Of what gRPC's clients send.
    ///
    /// # Errors
    /// The field that is not what it has to be.
    pub fn new(messages: Vec<v1::ChatMessage>, tools: &[v1::Tool]) -> Result<Self, RequestError> {
        let messages = messages.into_iter().enumerate();
        let messages = messages.map(|(at, message)| Message::new(at, message));
        let bytes = |tool: &v1::Tool| tool.description.len() + tool.parameters.len();
        Ok(Self {
            messages: messages.collect::<Result<_, _>>()?,
            tool_bytes: tools.iter().map(bytes).sum(),
            tools: (tools.iter().enumerate())
                .map(|(at, tool)| written(at, tool))
                .collect::<Result<_, _>>()?,
            variables: BTreeMap::new(),
        })
    }

    /// Bytes of all that a template writes of it, at least. Some leave out what was thought.
    pub fn bytes(&self) -> usize {
        let of_messages = self.messages.iter().map(|message| message.content.len());
        of_messages.sum::<usize>() + self.tool_bytes
    }

    /// The prompt that a template makes of it.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`] says.
    pub fn render(self, template: &ChatTemplate) -> Result<String, TextError> {
        let told = self.for_template(template);
        let mut options = RenderOptions {
            variables: told.variables,
            ..RenderOptions::default()
        };
        if !told.tools.is_empty() {
            let tools = TemplateValue::from(told.tools);
            options.variables.insert("tools".to_owned(), tools);
        }
        template.render(&told.messages, &options)
    }

    /// In words for a template that knows no functions: the first message says which there are, calls are written as the
    /// model is told to write them, and results come from the user.
    fn for_template(mut self, template: &ChatTemplate) -> Self {
        if !template.reads("tools") && !self.tools.is_empty() {
            let told = in_words(&self.tools);
            self.tools = Vec::new();
            match self.messages.first_mut() {
                Some(first) if first.role == "system" => {
                    first.content = format!("{}\n\n{told}", first.content);
                }
                _ => {
                    let first = Message {
                        role: "system".to_owned(),
                        content: told,
                        ..Message::default()
                    };
                    self.messages.insert(0, first);
                }
            }
        }
        if !template.source().contains("tool_calls") {
            self.messages.iter_mut().for_each(Message::say_calls);
        }
        self
    }
}

/// A tool in the form that templates read.
fn written(at: usize, tool: &v1::Tool) -> Result<TemplateValue, RequestError> {
    let mut function = json!({"name": tool.name});
    if !tool.description.is_empty() {
        function["description"] = json!(tool.description);
    }
    if !tool.parameters.is_empty() {
        let parameters: Result<Value, _> = serde_json::from_str(&tool.parameters);
        function["parameters"] = parameters.ok().filter(Value::is_object).ok_or_else(|| {
            RequestError::field(format!("tools[{at}].parameters"), "is no JSON object")
        })?;
    }
    let written = json!({"type": "function", "function": function});
    let read = TemplateValue::from_json(&written.to_string());
    read.map_err(|_| RequestError::field(format!("tools[{at}]"), "is nested too deeply"))
}

impl Message {
    /// What gRPC's clients send as the message of that place.
    fn new(at: usize, message: v1::ChatMessage) -> Result<Self, RequestError> {
        let calls = message.tool_calls.into_iter().enumerate();
        let calls = calls.map(|(of, call)| {
            let arguments = TemplateValue::from_json(&call.arguments).ok();
            let is_object = call.arguments.trim_start().starts_with('{');
            let path = || format!("messages[{at}].tool_calls[{of}].arguments");
            Ok::<_, RequestError>(ToolCall {
                id: call.id,
                kind: "function",
                function: CalledFunction {
                    name: call.name,
                    arguments: arguments
                        .filter(|_| is_object)
                        .ok_or_else(|| RequestError::field(path(), "is no JSON object"))?,
                },
            })
        });
        let given = |text: String| (!text.is_empty()).then_some(text);
        Ok(Self {
            tool_calls: calls.collect::<Result<_, _>>()?,
            role: message.role,
            content: message.content,
            name: given(message.name),
            reasoning_content: given(message.reasoning),
            tool_call_id: given(message.tool_call_id),
        })
    }

    /// Writes calls and results into the text.
    fn say_calls(&mut self) {
        for call in std::mem::take(&mut self.tool_calls) {
            let written = serde_json::to_string(&call.function).unwrap_or_default();
            if !self.content.is_empty() {
                self.content.push('\n');
            }
            self.content += &format!("<tool_call>\n{written}\n</tool_call>");
        }
        if self.role == "tool" {
            self.role = "user".to_owned();
            self.content = format!("<tool_response>\n{}\n</tool_response>", self.content);
        }
    }
}

/// What a model is told of its functions, where its template says nothing of them.
fn in_words(tools: &[TemplateValue]) -> String {
    let lines: Vec<String> = tools
        .iter()
        .map(|tool| serde_json::to_string(tool).unwrap_or_default())
        .collect();
    format!(
        "You can call these functions, one JSON object a line:\n{}\n\nWhere one of them helps, call it by this and nothing \
         else, once for each call:\n<tool_call>\n{{\"name\": \"its name\", \"arguments\": {{\"argument\": \"value\"}}}}\n\
         </tool_call>\nIts result follows in the next message.",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_text::SpecialTokens;

    const PLAIN: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new(source, SpecialTokens::default()).unwrap()
    }

    fn said(role: &str, content: &str) -> v1::ChatMessage {
        v1::ChatMessage {
            role: role.to_owned(),
            content: content.to_owned(),
            ..v1::ChatMessage::default()
        }
    }

    fn message(role: &str, content: &str) -> Message {
        Message {
            role: role.to_owned(),
            content: content.to_owned(),
            ..Message::default()
        }
    }

    fn with_tools() -> Conversation {
        let call = ToolCall {
            id: "1".to_owned(),
            kind: "function",
            function: CalledFunction {
                name: "add".to_owned(),
                arguments: TemplateValue::from_json("{\"b\": 1, \"a\": 2}").unwrap(),
            },
        };
        Conversation {
            messages: vec![
                message("user", "1 + 2?"),
                Message {
                    tool_calls: vec![call],
                    ..message("assistant", "")
                },
                message("tool", "3"),
            ],
            tools: vec![TemplateValue::from_json("{\"type\": \"function\"}").unwrap()],
            ..Conversation::default()
        }
    }

    #[test]
    fn a_template_that_knows_no_functions_is_told_of_them_in_words() {
        let text = with_tools().render(&template(PLAIN)).unwrap();
        assert!(text.starts_with("[system]You can call"), "{text}");
        assert!(text.contains("{\"type\":\"function\"}"), "{text}");
        let said = "[user]1 + 2?[assistant]<tool_call>\n{\"name\":\"add\",\"arguments\":{\"b\":1,\"a\":2}}\n</tool_call>\
                    [user]<tool_response>\n3\n</tool_response>";
        assert!(text.ends_with(said), "{text}");
    }

    #[test]
    fn what_the_system_said_goes_before_the_functions() {
        let mut conversation = with_tools();
        let brief = message("system", "Be brief.");
        conversation.messages.insert(0, brief);
        let text = conversation.render(&template(PLAIN)).unwrap();
        let begins = "[system]Be brief.\n\nYou can call";
        assert!(text.starts_with(begins), "{text}");
        assert_eq!(text.matches("[system]").count(), 1);
    }

    #[test]
    fn a_template_that_knows_functions_writes_them_itself() {
        let template = template(
            "{% for t in tools %}{{ t.type }} {% endfor %}{% for m in messages %}{{ m.role }}{% for c in m.tool_calls or \
             [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}",
        );
        let text = with_tools().render(&template).unwrap();
        let expected = "function userassistantadd{\"b\": 1, \"a\": 2}tool";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_template_reads_what_it_is_handed_besides() {
        let conversation = Conversation {
            variables: BTreeMap::from([("mood".to_owned(), TemplateValue::from("good"))]),
            ..Conversation::new(vec![said("user", "x")], &[]).unwrap()
        };
        let text = conversation.render(&template("{{ mood }}{{ messages[0].content }}"));
        assert_eq!(text.unwrap(), "goodx");
    }

    #[test]
    fn calls_and_tools_of_grpc_are_those_of_the_other_door() {
        let call = v1::ToolCall {
            id: "1".to_owned(),
            name: "add".to_owned(),
            arguments: "{\"b\": 1, \"a\": 2}".to_owned(),
        };
        let messages = vec![
            said("user", "1 + 2?"),
            v1::ChatMessage {
                tool_calls: vec![call.clone()],
                ..said("assistant", "")
            },
            v1::ChatMessage {
                tool_call_id: "1".to_owned(),
                ..said("tool", "3")
            },
        ];
        let tool = v1::Tool {
            name: "add".to_owned(),
            description: "Adds.".to_owned(),
            parameters: "{\"type\": \"object\", \"properties\": {}}".to_owned(),
            strict: true,
        };
        let read = Conversation::new(messages, std::slice::from_ref(&tool)).unwrap();
        let expected = with_tools().messages;
        assert_eq!(read.messages[..2], expected[..2]);
        assert_eq!(read.messages[2].tool_call_id.as_deref(), Some("1"));
        assert_eq!(
            serde_json::to_string(&read.tools[0]).unwrap(),
            "{\"type\":\"function\",\"function\":{\"name\":\"add\",\"description\":\"Adds.\",\"parameters\":\
             {\"type\":\"object\",\"properties\":{}}}}"
        );
        for arguments in ["", "[1]", "{"] {
            let call = v1::ToolCall {
                arguments: arguments.to_owned(),
                ..call.clone()
            };
            let message = v1::ChatMessage {
                tool_calls: vec![call],
                ..said("assistant", "")
            };
            let refused = Conversation::new(vec![message], &[]).unwrap_err();
            assert_eq!(
                refused.to_string(),
                "messages[0].tool_calls[0].arguments: is no JSON object"
            );
        }
        let tool = v1::Tool {
            parameters: "[]".to_owned(),
            ..tool
        };
        let refused = Conversation::new(Vec::new(), &[tool]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "tools[0].parameters: is no JSON object"
        );
    }
}
