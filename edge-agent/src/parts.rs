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
    /// A whole call.
    Call(Call),
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
    state: State,
    /// What is not known to be of one part yet.
    held: String,
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
    /// Between the marks of a call.
    Call,
    /// In an answer that is nothing but calls.
    OnlyCalls,
}

impl Splitter {
    /// Of an answer with nothing but content, unless more is said.
    pub(crate) fn new() -> Self {
        Self {
            calls: None,
            may_think: false,
            state: State::Content,
            held: String::new(),
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

    /// Returns what is left when the answer has ended.
    pub(crate) fn end(&mut self) -> Vec<Part> {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Reasoning => part(Part::Reasoning, held),
            State::OnlyCalls => match self.only_calls(&held) {
                Some(calls) => calls,
                None => part(Part::Content, held),
            },
            State::Call => match self.call(&held) {
                Some(call) => vec![call],
                None => part(Part::Content, format!("{}{}{held}", self.space, HERMES.0)),
            },
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
                    self.held = self.held.trim_start().to_owned();
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
                    self.state = State::Call;
                }
                found
            }
            State::Content => {
                parts.extend(part(Part::Content, std::mem::take(&mut self.held)));
                false
            }
            State::Call => {
                let Some((written, rest)) = self.held.split_once(HERMES.1) else {
                    return false;
                };
                let (written, rest) = (written.to_owned(), rest.to_owned());
                self.held = rest;
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
        }
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
            self.held = rest.to_owned();
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
            self.held = text.to_owned();
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
        if let Some((before, behind)) = self.held.split_once(mark) {
            let taken = (before.to_owned(), true);
            self.held = behind.to_owned();
            return taken;
        }
        let begun = (1..mark.len())
            .rev()
            .find(|&length| self.held.ends_with(&mark[..length]));
        let mut end = self.held.len() - begun.unwrap_or(0);
        if keeps_space {
            end = self.held[..end].trim_end().len();
        }
        let rest = self.held.split_off(end);
        (std::mem::replace(&mut self.held, rest), false)
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

    /// The calls of an answer that is nothing else.
    fn only_calls(&mut self, text: &str) -> Option<Vec<Part>> {
        let format = self.format()?;
        let text = text.trim();
        let written: Vec<Written> = match format {
            CallFormat::Mistral => {
                let list = text.strip_prefix(MISTRAL).unwrap_or(text);
                serde_json::from_str(list).ok()?
            }
            CallFormat::Llama3 | CallFormat::Hermes => {
                let mut rest = text.strip_prefix(LLAMA).unwrap_or(text).trim_start();
                let mut all = Vec::new();
                while !rest.is_empty() {
                    let mut objects = serde_json::Deserializer::from_str(rest).into_iter();
                    all.push(objects.next()?.ok()?);
                    rest = rest[objects.byte_offset()..].trim_start_matches([';', ' ', '\n']);
                }
                all
            }
        };
        let calls: Option<Vec<Part>> = (written.into_iter())
            .map(|written| self.checked(written, format.new_id()))
            .collect();
        let mut calls = calls.filter(|calls| !calls.is_empty())?;
        if self.only_one() {
            calls.truncate(1);
        }
        self.has_called = true;
        Some(calls)
    }
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
    fn split(
        mut splitter: Splitter,
        text: &str,
        length: usize,
    ) -> (String, String, Vec<(String, String)>) {
        let characters: Vec<char> = text.chars().collect();
        let pieces = characters.chunks(length);
        let mut parts: Vec<Part> = pieces
            .flat_map(|piece| splitter.feed(&piece.iter().collect::<String>()))
            .collect();
        parts.extend(splitter.end());
        let mut all = (String::new(), String::new(), Vec::new());
        for part in parts {
            match part {
                Part::Reasoning(text) => all.0 += &text,
                Part::Content(text) => all.1 += &text,
                Part::Call(call) => all.2.push((call.name, call.arguments)),
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
            assert_eq!(
                split(splitter(format), text, length),
                expected,
                "{length}: {text}"
            );
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
