//! What clients of `Chat` ask for: a conversation with its tools, and what the answer has to be.

use crate::conversation::Conversation;
use crate::edge::Edge;
use crate::error::{AnswerError, RequestError};
use crate::forms::{Form, Function, Functions, MAX_TOOLS, ToolChoice};
use crate::marks::Marks;
use crate::parts::Splitter;
use crate::prompts::Prompted;
use crate::request::Terms;
use serde_json::Value;
use serde_json::value::RawValue;
use tandem_proto::v1;
use tandem_proto::v1::constraint::Form as Wire;

/// A chat as the edge takes it up.
#[derive(Debug)]
pub(crate) struct ChatCall {
    /// The conversation's ids, opened for an answer.
    pub(crate) prompt: Vec<u32>,
    /// The terms of its answers.
    pub(crate) terms: Terms,
    /// What tells the parts of its answers apart, where they are.
    pub(crate) parts: Option<Splitter>,
}

/// Reads what a chat asks of this edge.
///
/// # Errors
/// The first field that cannot be, or the conversation makes no prompt.
pub(crate) async fn read(
    edge: &Edge,
    mut request: v1::ChatRequest,
) -> Result<ChatCall, AnswerError> {
    let (conversation, telling) = fields(&mut request)?;
    let mut terms = Terms {
        sampling: request.sampling,
        max_tokens: request.max_tokens,
        stop: request.stop,
        constraint: request.constraint,
        cache_salt: request.cache_salt,
        tells_steps: request.tells_steps,
        ..Terms::default()
    };
    let prompted = edge.prompt_of(conversation).await?;
    let parts = telling.splitter(edge.marks, &prompted, &mut terms)?;
    Ok(ChatCall {
        prompt: prompted.ids,
        terms,
        parts,
    })
}

/// The conversation with its tools, and how the answers to it are told.
fn fields(request: &mut v1::ChatRequest) -> Result<(Conversation, Telling), RequestError> {
    let tools = std::mem::take(&mut request.tools);
    let tools = offered(request, tools)?;
    let messages = std::mem::take(&mut request.messages);
    let conversation = Conversation::new(messages, &tools)?;
    let functions = functions(request, tools)?;
    let telling = Telling {
        tells_parts: request.tells_reasoning || !functions.all.is_empty(),
        functions,
    };
    Ok((conversation, telling))
}

/// How answers are told, and what they have to be.
#[derive(Debug)]
struct Telling {
    functions: Functions,
    /// Whether what is thought, said and called is told apart.
    tells_parts: bool,
}

impl Telling {
    /// What tells the parts of an answer to this prompt apart, if they are to be; its terms are told what it has to be.
    ///
    /// # Errors
    /// The constraint cannot be.
    fn splitter(
        &self,
        marks: Marks,
        prompted: &Prompted,
        terms: &mut Terms,
    ) -> Result<Option<Splitter>, RequestError> {
        if !self.tells_parts {
            return Ok(None);
        }
        let thought = marks.thought(prompted.thinks);
        if let Some(form) = form(terms.constraint.as_ref())? {
            terms.constraint = marks.constraint(&form, &self.functions, thought);
        }
        Ok(Some(marks.splitter(thought, &self.functions)))
    }
}

/// The form that a constraint asks for; none where it has one that is not known, which is refused with the other terms.
fn form(constraint: Option<&v1::Constraint>) -> Result<Option<Form>, RequestError> {
    Ok(match constraint.map(|constraint| &constraint.form) {
        None => Some(Form::Any),
        Some(None) => None,
        Some(Some(Wire::JsonSchema(schema))) => {
            if serde_json::from_str::<Value>(schema).is_err() {
                return Err(RequestError::Constraint("is no JSON"));
            }
            Some(Form::Json(schema.clone()))
        }
        Some(Some(Wire::Regex(regex))) => Some(Form::Regex(regex.clone())),
        Some(Some(Wire::Grammar(grammar))) => Some(Form::Grammar(grammar.clone())),
    })
}

/// The tools that may be called.
fn offered(request: &v1::ChatRequest, tools: Vec<v1::Tool>) -> Result<Vec<v1::Tool>, RequestError> {
    let mode = v1::ToolMode::try_from(request.tool_mode)
        .map_err(|_| RequestError::field("tool_mode", "is of no known kind"))?;
    if tools.len() > MAX_TOOLS {
        let why = format!("has {} functions, may have {MAX_TOOLS}", tools.len());
        return Err(RequestError::field("tools", why));
    }
    match mode {
        v1::ToolMode::None if !request.tool_name.is_empty() => Err(RequestError::field(
            "tool_name",
            "cannot be with TOOL_MODE_NONE",
        )),
        v1::ToolMode::None => Ok(Vec::new()),
        v1::ToolMode::Unspecified | v1::ToolMode::Required => Ok(tools),
    }
}

fn functions(request: &v1::ChatRequest, tools: Vec<v1::Tool>) -> Result<Functions, RequestError> {
    let choice = match (&*request.tool_name, request.tool_mode()) {
        ("", v1::ToolMode::Required) => ToolChoice::Required,
        ("", _) => ToolChoice::Auto,
        (name, _) => ToolChoice::Named(name.to_owned()),
    };
    let mut functions = Functions {
        all: Vec::new(),
        choice,
        only_one: request.one_tool_call,
    };
    for (at, tool) in tools.into_iter().enumerate() {
        let parameters = (!tool.parameters.is_empty())
            .then(|| RawValue::from_string(tool.parameters))
            .transpose();
        let added = Function {
            name: tool.name,
            parameters: parameters.map_err(|_| {
                RequestError::field(format!("tools[{at}].parameters"), "is no JSON object")
            })?,
            strict: tool.strict,
        };
        let added = functions.add(added);
        added.map_err(|why| RequestError::field(format!("tools[{at}].name"), why))?;
    }
    let field = match functions.choice {
        ToolChoice::Named(_) => "tool_name",
        ToolChoice::Auto | ToolChoice::Required => "tool_mode",
    };
    let checked = functions.check_choice();
    checked.map_err(|why| RequestError::field(field, why))?;
    Ok(functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, parameters: &str) -> v1::Tool {
        v1::Tool {
            name: name.to_owned(),
            parameters: parameters.to_owned(),
            ..v1::Tool::default()
        }
    }

    fn read_it(mut request: v1::ChatRequest) -> Result<(Conversation, Telling), String> {
        fields(&mut request).map_err(|error| error.to_string())
    }

    #[test]
    fn tools_are_offered_as_the_request_says() {
        let request = v1::ChatRequest {
            tools: vec![tool("add", ""), tool("weather", "{\"type\": \"object\"}")],
            one_tool_call: true,
            ..v1::ChatRequest::default()
        };
        let (conversation, telling) = read_it(request.clone()).unwrap();
        assert_eq!(conversation.tools.len(), 2);
        assert_eq!(telling.functions.choice, ToolChoice::Auto);
        assert!(telling.functions.only_one && telling.tells_parts);
        let named = read_it(v1::ChatRequest {
            tool_name: "add".to_owned(),
            ..request.clone()
        });
        let choice = named.unwrap().1.functions.choice;
        assert_eq!(choice, ToolChoice::Named("add".to_owned()));
        let none = read_it(v1::ChatRequest {
            tool_mode: v1::ToolMode::None.into(),
            ..request.clone()
        });
        let (conversation, telling) = none.unwrap();
        assert!(conversation.tools.is_empty() && telling.functions.all.is_empty());
        assert!(!telling.tells_parts);
        let (_, plain) = read_it(v1::ChatRequest::default()).unwrap();
        assert!(!plain.tells_parts);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_field() {
        let with = |tools: Vec<v1::Tool>| v1::ChatRequest {
            tools,
            ..v1::ChatRequest::default()
        };
        let one = || with(vec![tool("add", "")]);
        let many = (0..=MAX_TOOLS).map(|at| tool(&at.to_string(), ""));
        for (request, said) in [
            (
                with(vec![tool("add", ""), tool("add", "")]),
                "tools[1].name: is that of another function too",
            ),
            (with(vec![tool("", "")]), "tools[0].name: is empty"),
            (
                with(vec![tool("add", "{")]),
                "tools[0].parameters: is no JSON object",
            ),
            (
                with(many.collect()),
                "tools: has 129 functions, may have 128",
            ),
            (
                v1::ChatRequest {
                    tool_name: "sub".to_owned(),
                    ..one()
                },
                "tool_name: is sub, which is none of the tools",
            ),
            (
                v1::ChatRequest {
                    tool_name: "add".to_owned(),
                    tool_mode: v1::ToolMode::None.into(),
                    ..one()
                },
                "tool_name: cannot be with TOOL_MODE_NONE",
            ),
            (
                v1::ChatRequest {
                    tool_mode: v1::ToolMode::Required.into(),
                    ..with(Vec::new())
                },
                "tool_mode: is required, without tools",
            ),
            (
                v1::ChatRequest {
                    tool_mode: 77,
                    ..one()
                },
                "tool_mode: is of no known kind",
            ),
        ] {
            assert_eq!(read_it(request).unwrap_err(), said);
        }
    }

    #[test]
    fn a_schema_that_is_no_json_is_refused_where_a_grammar_is_written_around_it() {
        let constraint = |schema: &str| v1::Constraint {
            form: Some(Wire::JsonSchema(schema.to_owned())),
        };
        assert!(form(Some(&constraint("{}"))).unwrap().is_some());
        assert!(form(Some(&constraint("{"))).is_err());
        assert!(
            form(Some(&v1::Constraint { form: None }))
                .unwrap()
                .is_none()
        );
    }
}
