//! What an answer has to be, as requests say it and as the cloud keeps it: JSON of a schema, one of several
//! texts, calls of functions; behind what the model may think before.

use crate::parts::{CallFormat, THINKS};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::fmt::Write as _;
use tandem_proto::v1;
use tandem_proto::v1::constraint::Form as Wire;

/// White space within JSON in grammars written here. The cloud adds the same to a schema that comes alone.
const WHITE_SPACE: &str = r"[ ]|\n[ \t]{0,40}";

/// What an answer says has to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    #[default]
    Any,
    /// JSON of this schema.
    Json(String),
    /// What this regular expression matches.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A text of this grammar, in llguidance's form of Lark.
    Grammar(String),
}

/// A function that may be called.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The JSON schema of its arguments.
    pub parameters: Option<Box<RawValue>>,
    /// Whether its arguments have to keep that.
    pub strict: bool,
}

/// Which functions an answer calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// Any or none.
    #[default]
    Auto,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// The functions of a request.
#[derive(Debug, Clone, Default)]
pub struct Functions {
    /// All of them.
    pub all: Vec<Function>,
    /// Which an answer calls.
    pub choice: ToolChoice,
    /// Whether an answer calls one at most.
    pub only_one: bool,
}

/// What a model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thought {
    /// Nothing.
    None,
    /// Something or nothing.
    Possible,
    /// The prompt has begun it.
    Begun,
}

/// The most functions of one request, as OpenAI has it.
pub(crate) const MAX_TOOLS: usize = 128;

impl Functions {
    /// Takes another one.
    ///
    /// # Errors
    /// Why its name cannot be.
    pub(crate) fn add(&mut self, function: Function) -> Result<&Function, &'static str> {
        if function.name.is_empty() {
            return Err("is empty");
        }
        if self.all.iter().any(|other| other.name == function.name) {
            return Err("is that of another function too");
        }
        let at = self.all.len();
        self.all.push(function);
        Ok(&self.all[at])
    }

    /// Checks that the function to be called is one of them.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn check_choice(&self) -> Result<(), String> {
        match &self.choice {
            ToolChoice::Named(name) if !self.all.iter().any(|f| f.name == *name) => {
                Err(format!("is {name}, which is none of the tools"))
            }
            ToolChoice::Required if self.all.is_empty() => {
                Err("is required, without tools".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether an answer that calls some is held to more than the request's words.
    fn are_kept(&self) -> bool {
        let strict = self.all.iter().any(|function| function.strict);
        !self.all.is_empty() && (strict || self.choice != ToolChoice::Auto)
    }

    /// Whether an answer has one call at most: it was said so, or it is a call of this function.
    pub(crate) fn one_call(&self) -> bool {
        self.only_one || matches!(self.choice, ToolChoice::Named(_))
    }

    /// Those that may be called.
    fn callable(&self) -> impl Iterator<Item = &Function> {
        self.all.iter().filter(|function| match &self.choice {
            ToolChoice::Named(name) => function.name == *name,
            ToolChoice::Auto | ToolChoice::Required => true,
        })
    }
}

/// What the cloud is to keep an answer to, where it is to keep anything.
pub(crate) fn constraint(
    form: &Form,
    functions: &Functions,
    format: CallFormat,
    thought: Thought,
) -> Option<v1::Constraint> {
    let may_call = !functions.all.is_empty();
    let calls = functions.are_kept() || (may_call && *form != Form::Any);
    let wire = match (form, thought) {
        (Form::Any, _) if !calls => return None,
        // Grammars of a request's own are its own business.
        (Form::Grammar(grammar), _) => Wire::Grammar(grammar.clone()),
        (Form::Json(schema), Thought::None) if !calls => Wire::JsonSchema(schema.clone()),
        (Form::Regex(regex), Thought::None) if !calls => Wire::Regex(regex.clone()),
        _ => Wire::Grammar(grammar(form, functions, calls, format, thought)),
    };
    Some(v1::Constraint { form: Some(wire) })
}

fn grammar(
    form: &Form,
    functions: &Functions,
    calls: bool,
    format: CallFormat,
    thought: Thought,
) -> String {
    let mut rules = String::new();
    let (begins, ends) = THINKS;
    let before = match thought {
        Thought::None => "",
        Thought::Possible => {
            let _ = writeln!(rules, "thinks[lazy]: /{begins}(.|\\n)*{}/", slashed(ends));
            "thought? "
        }
        Thought::Begun => {
            let _ = writeln!(rules, "thinks[lazy]: /(.|\\n)*{}/", slashed(ends));
            "thought "
        }
    };
    if thought != Thought::None {
        rules.push_str("thought: thinks /\\s{0,4}/\n");
    }
    let must_call = calls && functions.choice != ToolChoice::Auto;
    if calls {
        write_calls(&mut rules, functions, format);
    }
    let answer = match (calls, must_call) {
        (true, true) => "calls",
        (true, false) if *form == Form::Any => {
            write_text_and_calls(&mut rules, format);
            "text_or_calls"
        }
        (true, false) => {
            let _ = writeln!(rules, "text: {}", text(form));
            "(text | calls)"
        }
        (false, _) => {
            let _ = writeln!(rules, "text: {}", text(form));
            "text"
        }
    };
    format!("start: {before}{answer}\n{rules}")
}

/// What is said, as the right side of a rule.
fn text(form: &Form) -> String {
    match form {
        Form::Any => r"/(.|\n)*/".to_owned(),
        Form::Json(schema) => json_of(Some(schema)),
        Form::Regex(regex) => format!("/{}/", slashed(&regex.replace('\n', "\\n"))),
        Form::Choice(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
            texts.join(" | ")
        }
        Form::Grammar(_) => String::new(),
    }
}

/// The calls of an answer that is nothing else.
fn write_calls(rules: &mut String, functions: &Functions, format: CallFormat) {
    let arguments = match format {
        CallFormat::Llama3 => "parameters",
        CallFormat::Hermes | CallFormat::Mistral => "arguments",
    };
    let mut names = Vec::new();
    for (number, function) in functions.callable().enumerate() {
        let begins = format!("{{\"name\": {}, \"{arguments}\": ", json!(function.name));
        let kept = function.strict || functions.choice != ToolChoice::Auto;
        let schema = function.parameters.as_deref().filter(|_| kept);
        let schema = json_of(schema.map(RawValue::get));
        let _ = writeln!(rules, "call_{number}: {} {schema} \"}}\"", quoted(&begins));
        names.push(format!("call_{number}"));
    }
    let _ = writeln!(rules, "object: {}", names.join(" | "));
    let more = |between: &str| {
        if functions.one_call() {
            String::new()
        } else {
            format!(" ({between} call)*")
        }
    };
    let (call, calls) = match format {
        CallFormat::Hermes => (
            r#""<tool_call>\n" object "\n</tool_call>""#.to_owned(),
            format!("call{}", more(r#""\n""#)),
        ),
        CallFormat::Llama3 => ("object".to_owned(), format!("call{}", more(r#""; ""#))),
        CallFormat::Mistral => (
            "object".to_owned(),
            format!(r#""[TOOL_CALLS][" call{} "]""#, more(r#"", ""#)),
        ),
    };
    let _ = writeln!(rules, "call: {call}\ncalls: {calls}");
}

/// Text in which calls may stand, where they may, or text alone.
fn write_text_and_calls(rules: &mut String, format: CallFormat) {
    let written = match format {
        // A call begins as soon as its mark is written; before that, all is text.
        CallFormat::Hermes => {
            r#"text_or_calls: TEXT | (to_call "\n" object "\n</tool_call>")+ TEXT?
to_call[lazy]: /(.|\n)*<tool_call>/
TEXT: /(.|\n)*/ & ~/(.|\n)*<tool_call>(.|\n)*/
"#
        }
        CallFormat::Llama3 => {
            r#"text_or_calls: TEXT | calls
TEXT: /([^{\s](.|\n)*)?/
"#
        }
        CallFormat::Mistral => {
            r#"text_or_calls: TEXT | calls
TEXT: /(.|\n)*/ & ~/\[TOOL_CALLS\](.|\n)*/
"#
        }
    };
    rules.push_str(written);
}

/// JSON of a schema; without one, an object.
fn json_of(schema: Option<&str>) -> String {
    let schema = schema.and_then(|schema| serde_json::from_str(schema).ok());
    let mut schema = match schema {
        Some(Value::Bool(true)) => json!({}),
        Some(schema) => schema,
        None => json!({"type": "object"}),
    };
    if let Value::Object(fields) = &mut schema {
        let white_space = || json!({"whitespace_pattern": WHITE_SPACE});
        fields.entry("x-guidance").or_insert_with(white_space);
    }
    format!("%json {schema}")
}

/// A text in a grammar.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// A regular expression between slashes.
fn slashed(regex: &str) -> String {
    let mut slashed = String::new();
    let mut escapes = false;
    for character in regex.chars() {
        if character == '/' && !escapes {
            slashed.push('\\');
        }
        escapes = character == '\\' && !escapes;
        slashed.push(character);
    }
    slashed
}

#[cfg(test)]
mod tests;
