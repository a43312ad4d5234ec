//! The parts of an answer: what the model thinks, what it says, and the functions that it calls, told apart by the marks
//! that it was trained to write.

mod call_text;

use call_text::{Beginning, JsonObject};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Around what a model thinks before it answers.
pub(crate) const THINKS: (&str, &str) = ("<think>", "</think>");

/// Around a call, as Hermes and Qwen write it.
const HERMES: (&str, &str) = ("<tool_call>", "</tool_call>");

/// Before calls, as Mistral writes them. A special token, which the text may lack.
const MISTRAL: &str = "[TOOL_CALLS]";

/// Before calls, as some of Llama 3's templates have it. A special token, which the text may lack.
const LLAMA: &str = "<|python_tag|>";

/// How a model writes calls of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallFormat {
    /// Each as JSON between `<tool_call>` and `</tool_call>`: Hermes, Qwen.
    Hermes,
    /// The whole answer is a JSON object with `name` and `parameters`, or several with `;` between: Llama 3.
    Llama3,
    /// The whole answer is `[TOOL_CALLS]` and a JSON array: Mistral.
    Mistral,
}

impl CallFormat {
    /// The one that a chat template was written for.
    pub(crate) fn of_template(source: &str) -> Self {
        if source.contains(MISTRAL) {
            Self::Mistral
        } else if source.contains(LLAMA) || source.contains("Environment: ipython") {
            Self::Llama3
        } else {
            Self::Hermes
        }
    }

    /// What calls are named by: Mistral's templates read back nine characters and no others.
    fn new_id(self) -> String {
        let random: u128 = rand::random();
        match self {
            Self::Mistral => format!("{random:032x}")[..9].to_owned(),
            Self::Hermes | Self::Llama3 => format!("call_{:024x}", random >> 32),
        }
    }
}

/// The longest white space that is held back, in bytes.
const LONGEST_SPACE: usize = 256;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Of what is said.
    Content(String),
    /// Of what is thought.
    Reasoning(String),
    /// A whole call, or as much of it as the answer has.
    Call(Call),
    /// Of a call, where it is told as it comes: its beginning, without arguments, or more of these.
    CallPiece(CallPiece),
}

/// What is new of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallPiece {
    /// A function is called.
    Begins {
        /// What its result will name.
        id: String,
        /// The function.
        name: String,
    },
    /// More of its arguments, as JSON.
    Arguments(String),
    /// They are whole.
    Ends,
}

/// A function that is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Call {
    /// What its result will name.
    pub(crate) id: String,
    /// The function.
    pub(crate) name: String,
    /// Its arguments as JSON.
    pub(crate) arguments: String,
}

/// A call as models write it.
#[derive(Deserialize)]
struct Written {
    name: String,
    #[serde(alias = "parameters")]
    arguments: Option<Box<RawValue>>,
}

/// Tells the parts of one answer apart while it comes.
#[derive(Debug, Clone)]
pub(crate) struct Splitter {
    /// How functions may be called; none where none may.
    calls: Option<Callable>,
    /// Whether the answer may begin with what the model thinks.
    may_think: bool,
    /// Whether calls are told as they come.
    in_pieces: bool,
    state: State,
    /// What is not known to be of one part yet.
    held: String,
    /// So many bytes of it have no mark.
    searched: usize,
    /// Whether white space is left out before the next part.
    skips_space: bool,
    /// White space before the call under way.
    space: String,
    has_called: bool,
}

/// How functions may be called.
#[derive(Debug, Clone)]
pub(crate) struct Callable {
    /// How calls are written.
    pub(crate) format: CallFormat,
    /// The names of the functions that the request offers.
    pub(crate) functions: Arc<BTreeSet<String>>,
    /// Whether calls behind the first are left out.
    pub(crate) only_one: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space was written.
    Start,
    Reasoning,
    Content,
    /// Between the marks of a call, which is told as it comes if it `may_begin` so.
    Call {
        may_begin: bool,
    },
    /// Before a call in an answer that is nothing else, which is told as it comes if it `may_begin` so.
    OnlyCalls {
        may_begin: bool,
    },
    /// In the arguments of a call that is told as it comes.
    Arguments(JsonObject),
    /// Behind them, where the call's object ends or has more.
    BehindArguments,
    /// In what the call's object has behind them.
    RestOfCall(JsonObject),
    /// Behind a call that was told as it came.
    BehindCall,
}

impl Splitter {
    /// Of an answer with nothing but content, unless more is said.
    pub(crate) fn new() -> Self {
        Self {
            calls: None,
            may_think: false,
            in_pieces: false,
            state: State::Content,
            held: String::new(),
            searched: 0,
            skips_space: false,
            space: String::new(),
            has_called: false,
        }
    }

    /// Of an answer that may call functions.
    #[must_use]
    pub(crate) fn with_calls(self, calls: Callable) -> Self {
        Self {
            calls: Some(calls),
            state: match self.state {
                State::Content => State::Start,
                state => state,
            },
            ..self
        }
    }

    /// Calls are told as they come.
    #[must_use]
    pub(crate) fn in_pieces(self) -> Self {
        Self {
            in_pieces: true,
            ..self
        }
    }

    /// Of an answer that may begin with what the model thinks, or whose prompt has begun with that already.
    #[must_use]
    pub(crate) fn with_reasoning(self, has_begun: bool) -> Self {
        Self {
            state: if has_begun {
                State::Reasoning
            } else {
                State::Start
            },
            skips_space: has_begun,
            may_think: true,
            ..self
        }
    }

    /// Whether what comes next is thought.
    pub(crate) fn thinks(&self) -> bool {
        self.state == State::Reasoning
    }

    /// Whether a function was called.
    pub(crate) fn has_called(&self) -> bool {
        self.has_called
    }

    /// Takes the next text, and returns the parts that are known to be in it.
    pub(crate) fn feed(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.step(&mut parts) {}
        parts
    }

    /// Returns what is left when the answer has ended, `cut` where it was to go on. A call that is cut is told as far as it
    /// has come, and one of which nothing is known not at all.
    pub(crate) fn end(&mut self, cut: bool) -> Vec<Part> {
        let held = std::mem::take(&mut self.held);
        self.searched = 0;
        match self.state {
            State::Reasoning => part(Part::Reasoning, held),
            State::Arguments(_)
            | State::BehindArguments
            | State::RestOfCall(_)
            | State::BehindCall => Vec::new(),
            State::OnlyCalls { .. } if self.has_called && self.only_one() => Vec::new(),
            State::OnlyCalls { .. } => match self.only_calls(&held, cut) {
                Some(calls) => calls,
                None => part(Part::Content, held),
            },
            State::Call { .. } if self.has_called && self.only_one() => Vec::new(),
            State::Call { .. } => match self.call(without_begun(&held, HERMES.1)) {
                Some(call) => vec![call],
                None => match Beginning::of(&held) {
                    Beginning::Call(name, arguments) if cut && self.has(&name) => {
                        self.has_called = true;
                        self.part_of_call(name, arguments)
                    }
                    Beginning::Open if cut => Vec::new(),
                    _ => part(Part::Content, format!("{}{}{held}", self.space, HERMES.0)),
                },
            },
            // A call had only begun.
            _ if cut && self.begins_mark(held.trim()) => Vec::new(),
            // Behind thoughts and calls white space says nothing.
            _ if (self.has_called || self.skips_space) && held.trim().is_empty() => Vec::new(),
            State::Start | State::Content => part(Part::Content, held),
        }
    }

    /// Takes one step through what is held. Returns false when more text is needed.
    fn step(&mut self, parts: &mut Vec<Part>) -> bool {
        match self.state {
            State::Start => self.begin(),
            State::Reasoning => {
                if self.skips_space {
                    self.hold(self.held.trim_start().to_owned());
                    self.skips_space = self.held.is_empty();
                }
                let (reasoning, ended) = self.take_to(THINKS.1, false);
                parts.extend(part(Part::Reasoning, reasoning));
                if ended {
                    self.state = State::Start;
                    self.skips_space = true;
                }
                ended
            }
            State::Content if self.format() == Some(CallFormat::Hermes) => {
                let (mut content, found) = self.take_to(HERMES.0, true);
                if found {
                    self.space = content.split_off(content.trim_end().len());
                }
                if !(self.has_called && content.trim().is_empty()) {
                    parts.extend(part(Part::Content, content));
                }
                if found {
                    self.state = State::Call {
                        may_begin: self.in_pieces && !(self.has_called && self.only_one()),
                    };
                }
                found
            }
            State::Content => {
                parts.extend(part(Part::Content, std::mem::take(&mut self.held)));
                false
            }
            State::Call { may_begin: true } => self.begins_call(parts),
            State::Call { may_begin: false } => {
                let Some(written) = self.take_mark(HERMES.1) else {
                    return false;
                };
                self.state = State::Content;
                match self.call(&written) {
                    Some(call) => parts.push(call),
                    // One too many.
                    None if self.has_called && self.only_one() => {}
                    None => {
                        let space = std::mem::take(&mut self.space);
                        let as_it_came = format!("{space}{}{written}{}", HERMES.0, HERMES.1);
                        parts.push(Part::Content(as_it_came));
                    }
                }
                true
            }
            State::OnlyCalls { may_begin: true } => self.begins_next_call(parts),
            State::OnlyCalls { may_begin: false } => false,
            State::Arguments(mut object) => {
                let (length, ends) = object.take(&self.held);
                let new = self.take_bytes(length);
                let piece = |text| Part::CallPiece(CallPiece::Arguments(text));
                parts.extend(part(piece, new));
                if ends {
                    parts.push(Part::CallPiece(CallPiece::Ends));
                }
                self.state = if ends {
                    State::BehindArguments
                } else {
                    State::Arguments(object)
                };
                ends
            }
            State::BehindArguments => {
                self.state = match self.held.trim_start().chars().next() {
                    None => return false,
                    Some(',' | '}') => State::RestOfCall(JsonObject::begun()),
                    // Its end was forgotten.
                    Some(_) => State::BehindCall,
                };
                true
            }
            State::RestOfCall(mut object) => {
                let (length, ends) = object.take(&self.held);
                self.take_bytes(length);
                self.state = if ends {
                    State::BehindCall
                } else {
                    State::RestOfCall(object)
                };
                ends
            }
            State::BehindCall if self.format() != Some(CallFormat::Hermes) => {
                self.state = State::OnlyCalls { may_begin: true };
                true
            }
            State::BehindCall => {
                let text = self.held.trim_start_matches(['}', ' ', '\n', '\r', '\t']);
                let rest = match text.strip_prefix(HERMES.1) {
                    Some(rest) => rest,
                    None if HERMES.1.starts_with(text) => return false,
                    // Its end mark was forgotten.
                    None => text,
                };
                self.hold(rest.to_owned());
                self.state = State::Content;
                true
            }
        }
    }

    /// Holds another text.
    fn hold(&mut self, text: String) {
        self.held = text;
        self.searched = 0;
    }

    /// Takes so many bytes from the beginning of the text that is held.
    fn take_bytes(&mut self, length: usize) -> String {
        let rest = self.held.split_off(length);
        let taken = std::mem::take(&mut self.held);
        self.hold(rest);
        taken
    }

    /// Takes what is held before a mark, and the mark.
    fn take_mark(&mut self, mark: &str) -> Option<String> {
        // It may have begun in what was searched.
        let mut from = self.searched.saturating_sub(mark.len());
        while !self.held.is_char_boundary(from) {
            from -= 1;
        }
        let Some(at) = self.held[from..].find(mark) else {
            self.searched = self.held.len();
            return None;
        };
        let taken = self.take_bytes(from + at);
        self.take_bytes(mark.len());
        Some(taken)
    }

    /// Takes the beginning of a call, where it is known to be one of those there are.
    fn begins_call(&mut self, parts: &mut Vec<Part>) -> bool {
        match Beginning::of(&self.held) {
            // All of it may have come.
            Beginning::Open if !self.held.contains(HERMES.1) => false,
            Beginning::Call(name, arguments) if self.has(&name) => {
                let arguments = arguments.to_owned();
                self.begin_call(name, arguments, parts);
                true
            }
            Beginning::Open | Beginning::Call(..) | Beginning::Other => {
                self.state = State::Call { may_begin: false };
                true
            }
        }
    }

    /// The same in an answer that is nothing but calls.
    fn begins_next_call(&mut self, parts: &mut Vec<Part>) -> bool {
        let rest = self.behind_mark(self.held.trim_start());
        let rest = rest.map_or("", behind_calls);
        let is_enough = self.has_called && self.only_one();
        let next = match rest.chars().next() {
            None => return false,
            Some('{') if !is_enough => Beginning::of(rest),
            // Words behind calls.
            Some(_) if self.has_called && !is_enough => {
                let rest = rest.to_owned();
                self.hold(rest);
                self.state = State::Content;
                return true;
            }
            Some(_) => Beginning::Other,
        };
        match next {
            Beginning::Open => false,
            Beginning::Call(name, arguments) if self.has(&name) => {
                let arguments = arguments.to_owned();
                self.begin_call(name, arguments, parts);
                true
            }
            Beginning::Call(..) | Beginning::Other => {
                self.state = State::OnlyCalls { may_begin: false };
                true
            }
        }
    }

    /// A call begins, and this text is the beginning of its arguments.
    fn begin_call(&mut self, name: String, arguments: String, parts: &mut Vec<Part>) {
        let format = self.format().unwrap_or(CallFormat::Hermes);
        self.hold(arguments);
        self.state = State::Arguments(JsonObject::default());
        self.has_called = true;
        let id = format.new_id();
        parts.push(Part::CallPiece(CallPiece::Begins { id, name }));
    }

    /// What an answer that is nothing but calls has behind its mark; nothing where that is no list of calls.
    fn behind_mark<'a>(&self, text: &'a str) -> Option<&'a str> {
        if self.has_called {
            return Some(text);
        }
        let is_list = self.format() == Some(CallFormat::Mistral);
        let mark = if is_list { MISTRAL } else { LLAMA };
        let text = text.strip_prefix(mark).unwrap_or(text).trim_start();
        if is_list && !text.is_empty() {
            text.strip_prefix('[')
        } else {
            Some(text)
        }
    }

    /// Whether a text at the end is the beginning of a call's mark: behind a call any, else what words do not have.
    fn begins_mark(&self, text: &str) -> bool {
        let least = if self.has_called { 0 } else { "<tool".len() };
        let is_mark = self.format() == Some(CallFormat::Hermes) && HERMES.0.starts_with(text);
        is_mark && text.len() >= least
    }

    /// Whether there is a function of that name.
    fn has(&self, name: &str) -> bool {
        let calls = self.calls.as_ref();
        calls.is_some_and(|calls| calls.functions.contains(name))
    }

    /// A call of which the answer has only a part.
    fn part_of_call(&self, name: String, arguments: &str) -> Vec<Part> {
        let Some(format) = self.format() else {
            return Vec::new();
        };
        let (length, _) = JsonObject::default().take(arguments);
        vec![Part::Call(Call {
            id: format.new_id(),
            name,
            arguments: arguments[..length].to_owned(),
        })]
    }

    /// Finds out what the answer begins with.
    fn begin(&mut self) -> bool {
        let text = self.held.trim_start();
        if text.is_empty() {
            return false;
        }
        let may_be = |mark: &str| mark.starts_with(text) && mark != text;
        if self.may_think
            && let Some(rest) = text.strip_prefix(THINKS.0)
        {
            self.hold(rest.to_owned());
            self.state = State::Reasoning;
            self.skips_space = true;
            return true;
        }
        let format = self.format();
        let marks = match format {
            Some(CallFormat::Llama3) => Some((LLAMA, ["{", "{"])),
            Some(CallFormat::Mistral) => Some((MISTRAL, ["[{", "["])),
            Some(CallFormat::Hermes) | None => None,
        };
        if let Some((mark, [begins, may_begin])) = marks {
            if text.starts_with(mark) || text.starts_with(begins) {
                self.state = State::OnlyCalls {
                    may_begin: self.in_pieces,
                };
                return true;
            }
            if may_be(mark) || text == may_begin {
                return false;
            }
        }
        if self.may_think && may_be(THINKS.0) {
            return false;
        }
        if self.skips_space {
            self.hold(text.to_owned());
        }
        self.state = State::Content;
        true
    }

    fn format(&self) -> Option<CallFormat> {
        self.calls.as_ref().map(|calls| calls.format)
    }

    fn only_one(&self) -> bool {
        self.calls.as_ref().is_some_and(|calls| calls.only_one)
    }

    /// Takes what is held before a mark, and the mark; or else what cannot be the beginning of it, without the white space
    /// before that where it is to be kept together.
    fn take_to(&mut self, mark: &str, keeps_space: bool) -> (String, bool) {
        if let Some(before) = self.take_mark(mark) {
            return (before, true);
        }
        let begun = begun(&self.held, mark);
        let mut end = self.held.len() - begun;
        if keeps_space {
            let text = self.held[..end].trim_end().len();
            if end - text <= LONGEST_SPACE {
                end = text;
            }
        }
        (self.take_bytes(end), false)
    }

    /// A call that is one of the functions there are.
    fn call(&mut self, written: &str) -> Option<Part> {
        if self.has_called && self.only_one() {
            return None;
        }
        let id = self.format()?.new_id();
        let read = serde_json::from_str(written.trim()).ok()?;
        let call = self.checked(read, id)?;
        self.has_called = true;
        Some(call)
    }

    fn checked(&self, written: Written, id: String) -> Option<Part> {
        let functions = &self.calls.as_ref()?.functions;
        let arguments = written.arguments.map_or("{}".to_owned(), |raw| {
            // Some write the object as a text.
            let text: Result<String, _> = serde_json::from_str(raw.get());
            text.unwrap_or_else(|_| raw.get().to_owned())
        });
        let is_object = serde_json::from_str::<Map<String, Value>>(&arguments).is_ok();
        let is_call = is_object && functions.contains(&written.name);
        is_call.then_some(Part::Call(Call {
            id,
            name: written.name,
            arguments,
        }))
    }

    /// The calls of an answer that is nothing else, the last of which may be cut.
    fn only_calls(&mut self, text: &str, cut: bool) -> Option<Vec<Part>> {
        let format = self.format()?;
        let mut rest = self.behind_mark(text.trim_start())?;
        let mut calls = Vec::new();
        loop {
            rest = behind_calls(rest);
            if rest.is_empty() {
                break;
            }
            let mut objects = serde_json::Deserializer::from_str(rest).into_iter();
            let Some(Ok(written)) = objects.next() else {
                match Beginning::of(rest) {
                    Beginning::Call(name, arguments) if cut && self.has(&name) => {
                        calls.extend(self.part_of_call(name, arguments));
                    }
                    Beginning::Open if cut && (self.has_called || !calls.is_empty()) => {}
                    _ => return None,
                }
                break;
            };
            calls.push(self.checked(written, format.new_id())?);
            rest = &rest[objects.byte_offset()..];
        }
        if self.only_one() {
            calls.truncate(1);
        }
        self.has_called |= !calls.is_empty();
        self.has_called.then_some(calls)
    }
}

/// How many bytes at the end of a text may be the beginning of a mark.
fn begun(text: &str, mark: &str) -> usize {
    let lengths = (1..mark.len()).rev();
    let mut begun = lengths.filter(|&length| text.ends_with(&mark[..length]));
    begun.next().unwrap_or(0)
}

/// A text without what may be the beginning of a mark at its end.
fn without_begun<'a>(text: &'a str, mark: &str) -> &'a str {
    &text[..text.len() - begun(text, mark)]
}

/// What follows a call in an answer that is nothing else.
fn behind_calls(text: &str) -> &str {
    text.trim_start_matches([';', ',', ']', ' ', '\n', '\r', '\t'])
}

/// A part, unless it is empty.
fn part(kind: impl FnOnce(String) -> Part, text: String) -> Vec<Part> {
    if text.is_empty() {
        Vec::new()
    } else {
        vec![kind(text)]
    }
}

#[cfg(test)]
mod tests;
