//! Messages to a prompt, by the template that the model was trained with.
//!
//! Templates are Jinja programs written for Hugging Face transformers, so the
//! environment is the one transformers gives them: blocks trimmed, loop controls,
//! Python's string and dictionary methods, `raise_exception`, `strftime_now`,
//! `tojson` as `json.dumps`, and `generation` blocks. One wrong newline here and
//! the model answers a little worse, without any error; hence the fixtures made
//! by transformers itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::error::{Result, TextError};
use crate::generation_blocks;
use crate::jinja_builtins;
use crate::model_files::{bad_field, read_json, read_text};
use crate::python_json::tojson;
use crate::python_methods::{print, unknown_method};
use crate::special_tokens::SpecialTokens;
use crate::template_value::TemplateValue;

/// The template's own file; where it exists, transformers takes no other.
const TEMPLATE_FILE: &str = "chat_template.jinja";
const CONFIG_FILE: &str = "tokenizer_config.json";

/// Steps that a rendering may take: a hundred for each of many thousand messages, and less than a second.
/// Who sends messages must not be able to keep a template busy.
const FUEL: u64 = 5_000_000;

/// Bytes of a template: ten times those of the longest that are published.
const MAX_SOURCE: usize = 256 << 10;

/// Stack for a template. What is nested, in its source or in a value that it makes, is walked by recursion, and a process
/// whose stack is short ends. Memory is taken of it only as it is used.
const STACK: usize = 512 << 20;

/// The only template of the environment.
const NAME: &str = "chat_template";

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message by `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// What a caller may choose about a rendering.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// End with the words that begin the assistant's turn, so that the model
    /// answers rather than going on for the user. On by default.
    pub add_generation_prompt: bool,
    /// Further variables that this model's template knows: `enable_thinking` of
    /// Qwen3, `date_string` of Llama 3, `tools`, `documents`. They go before the
    /// model's special tokens, but not before what the other arguments say.
    pub variables: BTreeMap<String, TemplateValue>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            variables: BTreeMap::new(),
        }
    }
}

/// A model's chat template, compiled.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: SpecialTokens,
    source: String,
    /// The variables that it reads.
    variables: BTreeSet<String>,
}

impl ChatTemplate {
    /// Loads `chat_template.jinja` or else `chat_template` of
    /// `tokenizer_config.json` (a text, or a list of named ones of which `default`
    /// is taken), and the special tokens it may print.
    ///
    /// # Errors
    /// [`TextError::NoChatTemplate`] or [`TextError::NoDefaultChatTemplate`] if
    /// there is none to take, [`TextError::ChatTemplateSyntax`] if it does not
    /// compile, or an unreadable file.
    pub fn load(dir: &Path) -> Result<Self> {
        let special = SpecialTokens::load(dir)?;
        let (file, source) = match read_text(dir, TEMPLATE_FILE)? {
            Some(source) => (TEMPLATE_FILE, source),
            None => (CONFIG_FILE, configured(dir)?),
        };
        Self::compile(&source, special, &dir.join(file).display().to_string())
    }

    /// A template from its text.
    ///
    /// # Errors
    /// [`TextError::ChatTemplateSyntax`] if it does not compile.
    pub fn new(source: &str, special: SpecialTokens) -> Result<Self> {
        Self::compile(source, special, "this model")
    }

    /// Takes the time for `strftime_now` from `clock` instead of the machine's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        set_clock(&mut self.environment, clock);
        self
    }

    /// The prompt for these messages. It holds the special tokens as text: encode
    /// it without adding any. A message is a [`ChatMessage`], or whatever else
    /// serialises to an object with the fields this template reads (`tool_calls`,
    /// content in parts), for which there is [`TemplateValue`].
    ///
    /// # Errors
    /// [`TextError::ChatTemplateRaised`] with the template's own words if it
    /// refuses the messages, [`TextError::ChatTemplateRender`] if it fails.
    pub fn render(&self, messages: &[impl Serialize], options: &RenderOptions) -> Result<String> {
        let mut variables =
            BTreeMap::from([("tools", Value::from(())), ("documents", Value::from(()))]);
        // A token that the model does not have is undefined, not an empty text.
        let tokens = [
            ("bos_token", &self.special.bos),
            ("eos_token", &self.special.eos),
            ("pad_token", &self.special.pad),
            ("unk_token", &self.special.unk),
        ];
        for (name, token) in tokens {
            if let Some(token) = token {
                variables.insert(name, Value::from(token.as_str()));
            }
        }
        for (name, value) in &options.variables {
            variables.insert(name, value.clone().into_inner());
        }
        variables.insert("messages", Value::from(Serde(messages)));
        let prompt = Value::from(options.add_generation_prompt);
        variables.insert("add_generation_prompt", prompt);
        on_a_stack_of_its_own(|| {
            self.environment
                .get_template(NAME)
                .and_then(|template| template.render(Value::from_pairs(variables)))
                .map_err(|error| render_error(&error))
        })
        .unwrap_or_else(|detail| Err(TextError::ChatTemplateRender { detail }))
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it reads a variable such as `tools`.
    pub fn reads(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }

    fn compile(source: &str, special: SpecialTokens, origin: &str) -> Result<Self> {
        let refused = |error: Error| TextError::ChatTemplateSyntax {
            origin: origin.to_owned(),
            detail: detail(&error),
        };
        if source.len() > MAX_SOURCE {
            return Err(TextError::ChatTemplateSyntax {
                origin: origin.to_owned(),
                detail: format!("{} bytes are more than {MAX_SOURCE}", source.len()),
            });
        }
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().map_err(refused)?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method);
        jinja_builtins::install(&mut environment);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("cycler", minijinja_contrib::globals::cycler);
        environment.add_function("joiner", minijinja_contrib::globals::joiner);
        set_clock(&mut environment, Clock::local());
        // Jinja reads every line ending as a newline.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let compiled = on_a_stack_of_its_own(|| {
            environment
                .add_template_owned(NAME, generation_blocks::rename(&source))
                .map_err(refused)?;
            let template = environment.get_template(NAME).map_err(refused)?;
            Ok(template.undeclared_variables(false).into_iter().collect())
        });
        let variables = compiled.unwrap_or_else(|detail| {
            Err(TextError::ChatTemplateSyntax {
                origin: origin.to_owned(),
                detail,
            })
        })?;
        Ok(Self {
            environment,
            special,
            source,
            variables,
        })
    }
}

/// Runs something on a thread with a stack of [`STACK`].
fn on_a_stack_of_its_own<T: Send>(
    work: impl FnOnce() -> T + Send,
) -> std::result::Result<T, String> {
    let builder = thread::Builder::new()
        .name("chat-template".to_owned())
        .stack_size(STACK);
    thread::scope(|scope| {
        let working = builder.spawn_scoped(scope, work);
        let working = working.map_err(|error| format!("no thread for it: {error}"))?;
        working.join().map_err(|_| "it panicked".to_owned())
    })
}

/// The template in `tokenizer_config.json`.
fn configured(dir: &Path) -> Result<String> {
    let config = read_json(dir, CONFIG_FILE)?;
    let templates = &config["chat_template"];
    let bad = || {
        let expected = "a template, or a list of objects with `name` and `template`";
        bad_field(dir, CONFIG_FILE, "chat_template", expected, templates)
    };
    let named = match templates {
        serde_json::Value::Null => {
            return Err(TextError::NoChatTemplate {
                dir: dir.to_owned(),
            });
        }
        serde_json::Value::String(source) => return Ok(source.clone()),
        serde_json::Value::Array(named) => named,
        _ => return Err(bad()),
    };
    let mut names = Vec::new();
    for entry in named {
        match (entry["name"].as_str(), entry["template"].as_str()) {
            (Some("default"), Some(source)) => return Ok(source.to_owned()),
            (Some(name), Some(_)) => names.push(name.to_owned()),
            _ => return Err(bad()),
        }
    }
    Err(TextError::NoDefaultChatTemplate {
        path: dir.join(CONFIG_FILE),
        names,
    })
}

fn set_clock(environment: &mut Environment<'static>, clock: Clock) {
    environment.add_function(
        "strftime_now",
        move |state: &State<'_, '_>, format: &str| {
            state.consume_fuel(format.len() as u64)?;
            clock
                .strftime(format)
                .map_err(|detail| Error::new(ErrorKind::InvalidOperation, detail))
        },
    );
}

/// Carries the words of `raise_exception` through the template engine's errors.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(state: &State<'_, '_>, message: &Value) -> std::result::Result<Value, Error> {
    let raised = Raised(print(state, message)?);
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(raised))
}

fn render_error(error: &Error) -> TextError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return TextError::ChatTemplateRaised {
                message: message.clone(),
            };
        }
        cause = error.source();
    }
    TextError::ChatTemplateRender {
        detail: detail(error),
    }
}

/// An error of the template engine and its causes on one line.
fn detail(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
