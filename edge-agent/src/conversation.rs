//! A conversation as a chat template reads it, with the functions that may be called.

use serde::Serialize;
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

impl From<Vec<v1::ChatMessage>> for Conversation {
    fn from(messages: Vec<v1::ChatMessage>) -> Self {
        let message = |message: v1::ChatMessage| Message {
            role: message.role,
            content: message.content,
            ..Message::default()
        };
        Self {
            messages: messages.into_iter().map(message).collect(),
            ..Self::default()
        }
    }
}

impl Conversation {
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

impl Message {
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
            ..Conversation::from(vec![v1::ChatMessage {
                role: "user".to_owned(),
                content: "x".to_owned(),
            }])
        };
        let text = conversation.render(&template("{{ mood }}{{ messages[0].content }}"));
        assert_eq!(text.unwrap(), "goodx");
    }
}
