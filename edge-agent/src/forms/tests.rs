use super::*;
use tandem_constraint::{Compiler, Form as Kept, Vocabulary};

/// Ends an answer.
const END: u32 = 256;

const PERSON: &str = r#"{"type": "object", "properties": {
    "name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"], "additionalProperties": false}"#;

const WEATHER: &str = r##"{"type": "object", "properties": {"city": {"type": "string", "maxLength": 40},
    "unit": {"$ref": "#/$defs/unit"}}, "required": ["city", "unit"], "$defs": {"unit": {"enum": ["C", "F"]}},
    "additionalProperties": false}"##;

const ANN: &str = r#"{"name": "Ann", "age": 3}"#;
const ROME: &str = r#"{"name": "get_weather", "arguments": {"city": "Rome", "unit": "C"}}"#;
const ROME_IN_K: &str = r#"{"name": "get_weather", "arguments": {"city": "Rome", "unit": "K"}}"#;

/// Two functions, the second one with a name that has to be escaped.
fn functions(choice: ToolChoice, strict: bool) -> Functions {
    let function = |name: &str, parameters: &str| Function {
        name: name.to_owned(),
        parameters: RawValue::from_string(parameters.to_owned()).ok(),
        strict,
    };
    let odd = r#"{"type": "object", "properties": {"a": {"type": "integer"}}}"#;
    Functions {
        all: vec![
            function("get_weather", WEATHER),
            function("say \"it\"", odd),
        ],
        choice,
        only_one: false,
    }
}

/// Whether a text is one that the cloud lets an answer be.
struct Judge {
    compiler: Compiler,
    form: Kept,
}

impl Judge {
    fn new(constraint: Option<v1::Constraint>) -> Self {
        let mut vocabulary = Vocabulary::new(257);
        for byte in 0..=u8::MAX {
            vocabulary.add(byte.into(), vec![byte]);
        }
        vocabulary.add_special(END, "<end>");
        Self {
            compiler: Compiler::new(&vocabulary).unwrap(),
            form: match constraint.unwrap().form.unwrap() {
                Wire::JsonSchema(text) => Kept::JsonSchema(text),
                Wire::Regex(text) => Kept::Regex(text),
                Wire::Grammar(text) => Kept::Grammar(text),
            },
        }
    }

    fn takes(&self, text: &str) -> bool {
        let mut answer = self.compiler.begin(&self.form, &[END], &[]).unwrap();
        let bytes = text.bytes().map(u32::from).chain([END]);
        bytes.into_iter().all(|id| {
            let may_come = answer.mask().unwrap().has(id);
            may_come && answer.accept(id).is_ok()
        })
    }

    #[track_caller]
    fn check(&self, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(self.takes(text), "refused: {text:?}");
        }
        for text in bad {
            assert!(!self.takes(text), "taken: {text:?}");
        }
    }
}

fn of_form(form: &Form, thought: Thought) -> Judge {
    let none = Functions::default();
    Judge::new(constraint(form, &none, CallFormat::Hermes, thought))
}

fn of_calls(functions: &Functions, format: CallFormat) -> Judge {
    Judge::new(constraint(&Form::Any, functions, format, Thought::None))
}

#[test]
fn json_in_a_grammar_has_the_white_space_of_a_schema_alone() {
    assert_eq!(WHITE_SPACE, tandem_constraint::WHITE_SPACE);
}

#[test]
fn answers_are_free_unless_something_is_asked() {
    let none = Functions::default();
    let auto = functions(ToolChoice::Auto, false);
    for functions in [none, auto] {
        let free = constraint(
            &Form::Any,
            &functions,
            CallFormat::Hermes,
            Thought::Possible,
        );
        assert_eq!(free, None);
    }
}

#[test]
fn json_keeps_its_schema_behind_what_was_thought() {
    let form = Form::Json(PERSON.to_owned());
    of_form(&form, Thought::None).check(
        &[ANN, "{\n  \"name\": \"é漢\",\n  \"age\": 150\n}"],
        &["", "[]", "<think>a</think>{}"],
    );
    let thought = format!("<think>\nhm </thin\n</think>\n\n{ANN}");
    of_form(&form, Thought::Possible).check(&[ANN, &thought], &["hm", "<think>a</think>x"]);
    let begun = format!("hm {{</think>\n\n{ANN}");
    of_form(&form, Thought::Begun).check(&[&begun], &[ANN, "hm</think>x"]);
}

#[test]
fn one_of_several_texts_is_said_whole() {
    let texts = ["yes", "no / \"never\"\n"].map(str::to_owned);
    let form = Form::Choice(texts.to_vec());
    of_form(&form, Thought::None).check(
        &["yes", "no / \"never\"\n"],
        &["", "ye", "yesno / \"never\"\n"],
    );
}

#[test]
fn a_regular_expression_may_have_slashes() {
    let form = Form::Regex("a/b+\\/c".to_owned());
    of_form(&form, Thought::None).check(&["a/bb/c"], &["a/c"]);
    of_form(&form, Thought::Begun).check(&["x</think>a/bb/c"], &["x</think>ac", "a/bb/c"]);
}

#[test]
fn a_call_that_is_required_comes_first_and_keeps_its_schema() {
    let judge = of_calls(&functions(ToolChoice::Required, false), CallFormat::Hermes);
    let call = |object: &str| format!("<tool_call>\n{object}\n</tool_call>");
    let odd = call(r#"{"name": "say \"it\"", "arguments": {"a": 3}}"#);
    let both = format!("{}\n{odd}", call(ROME));
    let (one, wrong) = (call(ROME), call(ROME_IN_K));
    judge.check(&[&one, &odd, &both], &["Hello", "", &wrong]);
}

#[test]
fn a_function_that_is_named_is_called_alone() {
    let functions = functions(ToolChoice::Named("get_weather".to_owned()), false);
    let judge = of_calls(&functions, CallFormat::Mistral);
    let one = format!("[TOOL_CALLS][{ROME}]");
    let two = format!("[TOOL_CALLS][{ROME}, {ROME}]");
    let odd = r#"[TOOL_CALLS][{"name": "say \"it\"", "arguments": {}}]"#;
    judge.check(&[&one], &[&two, odd, "[TOOL_CALLS][]"]);
}

#[test]
fn strict_functions_are_called_by_their_schema_or_not_at_all() {
    let strict = functions(ToolChoice::Auto, true);
    let hermes = |object: &str| format!("Let me see.\n<tool_call>\n{object}\n</tool_call>");
    let twice = format!("{}\n<tool_call>\n{ROME}\n</tool_call>", hermes(ROME));
    let (call, wrong) = (hermes(ROME), hermes(ROME_IN_K));
    of_calls(&strict, CallFormat::Hermes).check(
        &["", "Hello <b> you", &call, &twice],
        &[&wrong, "x<tool_call>y", "<tool_call>"],
    );
    let llama = ROME.replace("arguments", "parameters");
    let several = format!("{llama}; {llama}");
    of_calls(&strict, CallFormat::Llama3)
        .check(&["", "Hello { }", &llama, &several], &["{ }", ROME]);
    let mistral = format!("[TOOL_CALLS][{ROME}, {ROME}]");
    of_calls(&strict, CallFormat::Mistral).check(&["Hello [TOOL", &mistral], &["[TOOL_CALLS] x"]);
}

#[test]
fn an_answer_of_a_form_may_call_functions_instead() {
    let form = Form::Json(PERSON.to_owned());
    let auto = functions(ToolChoice::Auto, false);
    let judge = Judge::new(constraint(&form, &auto, CallFormat::Hermes, Thought::None));
    let call = format!("<tool_call>\n{ROME}\n</tool_call>");
    judge.check(&[ANN, &call], &["Hello"]);
}
