//! The parts of an answer: what the model thinks, what it says, and the functions that it calls, told apart by the marks
//! that it was trained to write.

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
    /// In an answer that is nothing but calls.
    OnlyCalls,
    /// In the arguments of a call that is told as it comes.
    Arguments(JsonObject),
    /// Behind them.
    BehindArguments,
}

/// How far a JSON object has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct JsonObject {
    /// Brackets that are open.
    depth: usize,
    in_text: bool,
    escapes: bool,
}

impl JsonObject {
    /// How many bytes of a text belong to it, and whether it ends there: a mark does not belong to it.
    fn take(&mut self, text: &str) -> (usize, bool) {
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'<' if !self.in_text => return (at, true),
                _ if self.escapes => self.escapes = false,
                b'\\' if self.in_text => self.escapes = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                _ => {}
            }
        }
        (text.len(), false)
    }
}

/// What a text begins with, which may be a call.
#[derive(Debug, PartialEq, Eq)]
enum Beginning<'a> {
    /// The name of the function, and what follows from the beginning of its arguments on.
    Call(String, &'a str),
    /// It is too short to say.
    Open,
    /// No call, or one that is written otherwise.
    Other,
}

/// The longest beginning of a call that is waited for, in bytes.
const LONGEST_BEGINNING: usize = 512;

/// The longest white space that is held back, in bytes.
const LONGEST_SPACE: usize = 256;

impl<'a> Beginning<'a> {
    /// Of a call in the form that models are asked to write: the name first, then an object of arguments.
    fn of(text: &'a str) -> Self {
        match Self::read(text) {
            Ok((name, arguments)) => Self::Call(name, arguments),
            Err(Self::Open) if text.len() > LONGEST_BEGINNING => Self::Other,
            Err(other) => other,
        }
    }

    fn read(text: &'a str) -> Result<(String, &'a str), Self> {
        let mut rest = text;
        for mark in ["{", "\"name\"", ":"] {
            rest = Self::behind(rest, &[mark])?;
        }
        let text = rest.trim_start();
        let mut inside = text.char_indices().skip(1);
        let mut escapes = false;
        let end = inside.find_map(|(at, character)| {
            let ends = character == '"' && !escapes;
            escapes = character == '\\' && !escapes;
            ends.then_some(at + 1)
        });
        let name = match end {
            _ if !text.is_empty() && !text.starts_with('"') => return Err(Self::Other),
            None => return Err(Self::Open),
            Some(end) => serde_json::from_str(&text[..end]).map_err(|_| Self::Other)?,
        };
        rest = &text[end.unwrap_or(0)..];
        for marks in [&[","][..], &["\"arguments\"", "\"parameters\""], &[":"]] {
            rest = Self::behind(rest, marks)?;
        }
        let arguments = rest.trim_start();
        Self::behind(arguments, &["{"])?;
        Ok((name, arguments))
    }

    /// What follows the one of some marks that a text begins with.
    fn behind(text: &'a str, marks: &[&str]) -> Result<&'a str, Self> {
        let text = text.trim_start();
        let found = marks.iter().find_map(|mark| text.strip_prefix(mark));
        found.ok_or(if marks.iter().any(|mark| mark.starts_with(text)) {
            Self::Open
        } else {
            Self::Other
        })
    }
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

    /// Calls are told as they come, where there may be other text beside them.
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
            State::Arguments(_) | State::BehindArguments => Vec::new(),
            State::OnlyCalls => match self.only_calls(&held, cut) {
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
            State::OnlyCalls => false,
            State::Arguments(mut object) => {
                let (length, ends) = object.take(&self.held);
                let new = self.take_bytes(length);
                let piece = |text| Part::CallPiece(CallPiece::Arguments(text));
                parts.extend(part(piece, new));
                self.state = if ends {
                    State::BehindArguments
                } else {
                    State::Arguments(object)
                };
                ends
            }
            State::BehindArguments => {
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

    /// Takes the first bytes of what is held.
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
                let id = CallFormat::Hermes.new_id();
                let arguments = arguments.to_owned();
                self.hold(arguments);
                self.state = State::Arguments(JsonObject::default());
                self.has_called = true;
                parts.push(Part::CallPiece(CallPiece::Begins { id, name }));
                true
            }
            Beginning::Open | Beginning::Call(..) | Beginning::Other => {
                self.state = State::Call { may_begin: false };
                true
            }
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
                self.state = State::OnlyCalls;
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
        let mark = match format {
            CallFormat::Mistral => MISTRAL,
            CallFormat::Llama3 | CallFormat::Hermes => LLAMA,
        };
        let text = text.trim();
        let text = text.strip_prefix(mark).unwrap_or(text).trim_start();
        let mut rest = match format {
            CallFormat::Mistral => text.strip_prefix('[')?,
            CallFormat::Llama3 | CallFormat::Hermes => text,
        };
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
                    Beginning::Open if cut && !calls.is_empty() => {}
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
        self.has_called = !calls.is_empty();
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
    text.trim_start_matches([';', ',', ']', ' ', '\n'])
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
mod tests {
    use super::*;

    fn splitter(format: CallFormat) -> Splitter {
        Splitter::new()
            .with_reasoning(false)
            .with_calls(callable(format))
    }

    fn callable(format: CallFormat) -> Callable {
        let functions = ["add", "weather"].map(str::to_owned);
        Callable {
            format,
            functions: Arc::new(functions.into()),
            only_one: false,
        }
    }

    /// What comes of a text, in pieces of so many characters: what is thought, what is said, and calls.
    fn split(splitter: Splitter, text: &str, length: usize) -> Parts {
        split_to(splitter, text, length, false)
    }

    type Parts = (String, String, Vec<(String, String)>);

    /// The same of an answer that is cut, or not.
    fn split_to(mut splitter: Splitter, text: &str, length: usize, cut: bool) -> Parts {
        let characters: Vec<char> = text.chars().collect();
        let pieces = characters.chunks(length);
        let mut parts: Vec<Part> = pieces
            .flat_map(|piece| splitter.feed(&piece.iter().collect::<String>()))
            .collect();
        parts.extend(splitter.end(cut));
        let mut all = (String::new(), String::new(), Vec::new());
        for part in parts {
            match part {
                Part::Reasoning(text) => all.0 += &text,
                Part::Content(text) => all.1 += &text,
                Part::Call(call) => all.2.push((call.name, call.arguments)),
                Part::CallPiece(CallPiece::Begins { name, .. }) => {
                    all.2.push((name, String::new()));
                }
                Part::CallPiece(CallPiece::Arguments(text)) => all.2.last_mut().unwrap().1 += &text,
            }
        }
        assert_eq!(splitter.has_called(), !all.2.is_empty());
        all
    }

    fn check(format: CallFormat, text: &str, expected: (&str, &str, &[(&str, &str)])) {
        let calls: Vec<(String, String)> = (expected.2.iter())
            .map(|&(name, arguments)| (name.to_owned(), arguments.to_owned()))
            .collect();
        let expected = (expected.0.to_owned(), expected.1.to_owned(), calls);
        for length in [1, 2, 3, 7, 1000] {
            for splitter in [splitter(format), splitter(format).in_pieces()] {
                let found = split(splitter, text, length);
                assert_eq!(found, expected, "{length}: {text}");
            }
        }
    }

    #[test]
    fn hermes_calls_stand_between_marks() {
        let one = "{\"name\": \"add\", \"arguments\": {\"b\": 1, \"a\": [2]}}";
        check(
            CallFormat::Hermes,
            &format!(
                "I add.\n<tool_call>\n{one}\n</tool_call>\n<tool_call>{{\"name\": \"weather\"}}</tool_call>\n"
            ),
            (
                "",
                "I add.",
                &[("add", "{\"b\": 1, \"a\": [2]}"), ("weather", "{}")],
            ),
        );
        // Without an end, at the end.
        check(
            CallFormat::Hermes,
            &format!("<tool_call>{one}"),
            ("", "", &[("add", "{\"b\": 1, \"a\": [2]}")]),
        );
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for text in [
            "no call at all",
            "a < b, and <tool, and <tool_call",
            "<tool_call>not JSON</tool_call>",
            "<tool_call>{\"name\": \"stranger\", \"arguments\": {}}</tool_call>",
            "<tool_call>{\"name\": \"add\"",
            "no object:\n <tool_call>{\"name\": \"add\", \"arguments\": \"two\"}</tool_call>",
            "  spaces at both ends \n",
        ] {
            check(CallFormat::Hermes, text, ("", text, &[]));
        }
        for text in [
            "{\"answer\": 42}",
            "{\"name\": \"add\"} and more",
            "{",
            "[1, 2]",
            "[{\"name\": \"x\"}]",
        ] {
            check(CallFormat::Llama3, text, ("", text, &[]));
            check(CallFormat::Mistral, text, ("", text, &[]));
        }
    }

    #[test]
    fn llamas_and_mistrals_answers_are_nothing_but_calls() {
        let call = "{\"name\": \"add\", \"parameters\": {\"a\": 1}}";
        let expected = ("", "", [("add", "{\"a\": 1}")].as_slice());
        check(CallFormat::Llama3, call, expected);
        check(
            CallFormat::Llama3,
            &format!("<|python_tag|>{call}"),
            expected,
        );
        check(
            CallFormat::Llama3,
            &format!("{call}; {call}"),
            ("", "", &[("add", "{\"a\": 1}"), ("add", "{\"a\": 1}")]),
        );
        let list = "[{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 1}\"}]";
        check(CallFormat::Mistral, list, expected);
        check(
            CallFormat::Mistral,
            &format!("[TOOL_CALLS] {list}"),
            expected,
        );
        let id = CallFormat::Mistral.new_id();
        assert!(
            id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()),
            "{id}"
        );
    }

    #[test]
    fn thoughts_come_before_the_answer() {
        for format in [CallFormat::Hermes, CallFormat::Llama3, CallFormat::Mistral] {
            check(
                format,
                "<think>\nTwo.\n</think>\n\nIt is 2.",
                ("Two.\n", "It is 2.", &[]),
            );
            check(format, "\n<think>unended", ("unended", "", &[]));
            check(format, "I <think> so", ("", "I <think> so", &[]));
        }
        let begun = || Splitter::new().with_reasoning(true);
        let expected = ("so\n".to_owned(), "2".to_owned(), Vec::new());
        assert_eq!(split(begun(), "so\n</think>\n2", 2), expected);
        let call = "<think>a</think>\n<tool_call>{\"name\": \"add\"}</tool_call>";
        check(CallFormat::Hermes, call, ("a", "", &[("add", "{}")]));
    }

    #[test]
    fn without_functions_and_thoughts_a_text_is_what_it_is() {
        let text = "<tool_call>{\"name\": \"add\"}</tool_call><think>";
        let expected = (String::new(), text.to_owned(), Vec::new());
        assert_eq!(split(Splitter::new(), text, 5), expected);
    }

    #[test]
    fn one_call_is_all_where_no_more_are_wanted() {
        let call = "{\"name\": \"add\"}";
        for (format, text) in [
            (
                CallFormat::Hermes,
                format!("<tool_call>{call}</tool_call>\n<tool_call>{call}</tool_call>"),
            ),
            (CallFormat::Llama3, format!("{call};{call}")),
            (CallFormat::Mistral, format!("[{call}, {call}]")),
        ] {
            let one = Splitter::new().with_calls(Callable {
                only_one: true,
                ..callable(format)
            });
            let expected = vec![("add".to_owned(), "{}".to_owned())];
            assert_eq!(
                split(one, &text, 3),
                (String::new(), String::new(), expected)
            );
        }
    }

    #[test]
    fn a_call_that_is_cut_is_told_as_far_as_it_has_come() {
        let one = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": \"x}";
        let whole = "<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>";
        let call = |arguments: &str| ("add".to_owned(), arguments.to_owned());
        let check = |format, text: &str, said: &str, calls: &[(String, String)]| {
            for length in [1, 4, 1000] {
                for splitter in [splitter(format), splitter(format).in_pieces()] {
                    let found = split_to(splitter, text, length, true);
                    let expected = (String::new(), said.to_owned(), calls.to_vec());
                    assert_eq!(found, expected, "{length}: {text}");
                }
            }
        };
        let hermes = CallFormat::Hermes;
        check(hermes, one, "", &[call("{\"a\": \"x}")]);
        check(hermes, "<tool_call>\n{\"name\": \"ad", "", &[]);
        check(hermes, "So: <tool_ca", "So:", &[]);
        check(hermes, "a <", "a <", &[]);
        check(hermes, &format!("{whole}\n<tool_ca"), "", &[call("{}")]);
        check(
            hermes,
            &format!("{whole}\n<tool_call>\n{{"),
            "",
            &[call("{}")],
        );
        let told = format!("{whole}\n{one}");
        check(hermes, &told, "", &[call("{}"), call("{\"a\": \"x}")]);
        // What is none of the functions is text.
        let other = "<tool_call>\n{\"name\": \"sing\", \"arguments\": {";
        check(hermes, other, other, &[]);
        let llama = "{\"name\": \"add\", \"parameters\": {\"a\": 1}}; {\"name\": \"add\", \"parameters\": {\"a\"";
        let two = [call("{\"a\": 1}"), call("{\"a\"")];
        check(CallFormat::Llama3, llama, "", &two);
        let mistral = "[TOOL_CALLS][{\"name\": \"add\", \"arguments\": {\"a\": 1}}, {\"name\"";
        check(CallFormat::Mistral, mistral, "", &two[..1]);
    }

    #[test]
    fn what_is_written_wrongly_in_pieces_loses_no_text() {
        let add = |arguments: &str| ("add".to_owned(), arguments.to_owned());
        let call = "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}";
        for (text, said, calls) in [
            (
                "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1</tool_call> and so."
                    .to_owned(),
                " and so.",
                vec![add("{\"a\": 1")],
            ),
            (format!("{call}\nDone."), "Done.", vec![add("{\"a\": 1}")]),
            (
                format!("{call}\n{call}</tool_call>So."),
                "So.",
                vec![add("{\"a\": 1}"), add("{\"a\": 1}")],
            ),
        ] {
            for length in [1, 3, 1000] {
                let found = split(splitter(CallFormat::Hermes).in_pieces(), &text, length);
                let expected = (String::new(), said.to_owned(), calls.clone());
                assert_eq!(found, expected, "{length}: {text}");
            }
        }
    }

    #[test]
    fn a_call_comes_as_it_is_written_where_that_is_wanted() {
        let mut splitter = splitter(CallFormat::Hermes).in_pieces();
        let told = splitter.feed("So: <tool_call>\n{\"name\": \"add\", \"arguments\": {\"a");
        let [
            Part::Content(said),
            Part::CallPiece(CallPiece::Begins { id, name }),
            Part::CallPiece(CallPiece::Arguments(first)),
        ] = &told[..]
        else {
            panic!("{told:?}")
        };
        assert_eq!((&**said, &**name, &**first), ("So:", "add", "{\"a"));
        assert!(!id.is_empty() && splitter.has_called());
        let more = splitter.feed("\": \"}\\\"\"}}\n</tool_call>");
        let last = Part::CallPiece(CallPiece::Arguments("\": \"}\\\"\"}".to_owned()));
        assert_eq!(more, [last]);
        assert!(splitter.end(false).is_empty());
    }

    #[test]
    fn thoughts_that_nothing_follows_are_all() {
        let expected = ("so".to_owned(), String::new(), Vec::new());
        let thinking = || Splitter::new().with_reasoning(false);
        assert_eq!(split(thinking(), "<think>so</think>\n\n", 4), expected);
        let text = "<think>so</think>";
        let calling = Splitter::new().with_calls(callable(CallFormat::Hermes));
        assert_eq!(
            split(calling, text, 4),
            (String::new(), text.to_owned(), Vec::new())
        );
    }

    #[test]
    fn a_template_says_how_calls_are_written() {
        let format = CallFormat::of_template;
        assert_eq!(format("{{ '[TOOL_CALLS]' }}"), CallFormat::Mistral);
        assert_eq!(format("{{- '<|python_tag|>' }}"), CallFormat::Llama3);
        assert_eq!(format("<tool_call>"), CallFormat::Hermes);
        assert_eq!(format(""), CallFormat::Hermes);
    }
}
