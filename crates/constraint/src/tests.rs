use crate::{Compiler, Form, FormError, Vocabulary};
use serde_json::json;
use tandem_engine::Constraint;

/// Ends an answer.
const END: u32 = 300;

/// Each byte, some longer tokens, and two that are no text.
fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary::new(310);
    for byte in 0..=u8::MAX {
        vocabulary.add(byte.into(), vec![byte]);
    }
    for (at, token) in ["{\"", "\":", "true", "false", "null", "  ", " \"a"]
        .iter()
        .enumerate()
    {
        vocabulary.add(256 + u32::try_from(at).unwrap(), token.as_bytes().to_vec());
    }
    vocabulary.add_special(END, "<end>");
    vocabulary.add_special(301, "<call>");
    vocabulary
}

fn compiler() -> Compiler {
    Compiler::new(&vocabulary()).unwrap()
}

fn schema(schema: &serde_json::Value) -> Form {
    Form::JsonSchema(schema.to_string())
}

/// What may come after a text, which must be of the form so far.
fn after(answer: &mut dyn Constraint, text: &str) -> Vec<u32> {
    for byte in text.bytes() {
        assert!(
            answer.mask().unwrap().has(byte.into()),
            "{text}: {}",
            char::from(byte)
        );
        answer.accept(byte.into()).unwrap();
    }
    let mask = answer.mask().unwrap();
    (0..310).filter(|&id| mask.has(id)).collect()
}

fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

#[test]
fn a_schema_leaves_what_its_texts_go_on_with() {
    let form = schema(&json!({
        "type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"],
        "additionalProperties": false,
    }));
    let compiler = compiler();
    let mut answer = compiler.begin(&form, &[END], &[]).unwrap();
    assert_eq!(after(&mut *answer, ""), [u32::from(b'{'), 256]);
    let values = after(&mut *answer, "{\"a\":");
    assert!(values.contains(&258) && values.contains(&259) && !values.contains(&260));
    assert!(!values.contains(&END));
    // And then nothing but its end, which costs nothing more.
    assert_eq!(after(&mut *answer, "true}"), [END]);
    answer.accept(END).unwrap();
}

#[test]
fn white_space_is_bounded() {
    let form = schema(&json!({"type": "array", "items": {"type": "integer"}}));
    let mut answer = compiler().begin(&form, &[END], &[]).unwrap();
    after(&mut *answer, "[\n");
    let indented = after(&mut *answer, &" ".repeat(40));
    assert!(!indented.contains(&u32::from(b' ')) && !indented.contains(&u32::from(b'\n')));
    assert!(indented.contains(&u32::from(b'7')));
}

#[test]
fn a_regular_expression_is_matched_whole() {
    let form = Form::Regex("[0-9]{2,3}".to_owned());
    let mut answer = compiler().begin(&form, &[END, 301], &[]).unwrap();
    assert_eq!(after(&mut *answer, ""), (48..58).collect::<Vec<u32>>());
    let may_end = after(&mut *answer, "12");
    assert!(may_end.contains(&END) && may_end.contains(&301) && may_end.contains(&48));
    assert_eq!(after(&mut *answer, "3"), [END, 301]);
}

#[test]
fn a_grammar_may_name_special_tokens() {
    let form = Form::Grammar("start: <call> \"f(\" /[0-9]+/ \")\"".to_owned());
    let mut answer = compiler().begin(&form, &[END], &[]).unwrap();
    assert_eq!(after(&mut *answer, ""), [301]);
    answer.accept(301).unwrap();
    assert_eq!(after(&mut *answer, "f(12)"), [END]);
}

#[test]
fn an_answer_goes_on_where_it_was_left() {
    let form = schema(&json!({"enum": ["yes", "yesterday", "no"]}));
    let compiler = compiler();
    let mut whole = compiler.begin(&form, &[END], &[]).unwrap();
    after(&mut *whole, "\"yes");
    let mut resumed = compiler.begin(&form, &[END], &ids("\"yes")).unwrap();
    assert_eq!(whole.mask().unwrap(), resumed.mask().unwrap());
    assert_eq!(after(&mut *resumed, ""), [u32::from(b'"'), u32::from(b't')]);
    let other = compiler.begin(&form, &[END], &ids("\"maybe"));
    assert_eq!(other.unwrap_err(), FormError::Answered);
}

#[test]
fn answers_of_one_form_do_not_touch_each_other() {
    let form = schema(&json!({"type": "string", "maxLength": 3}));
    let compiler = compiler();
    let mut one = compiler.begin(&form, &[END], &[]).unwrap();
    let mut other = compiler.begin(&form, &[END], &[]).unwrap();
    assert_eq!(after(&mut *one, "\"abc"), [u32::from(b'"')]);
    assert!(after(&mut *other, "\"ab").contains(&u32::from(b'c')));
}

#[test]
fn what_may_not_come_is_refused() {
    let form = Form::Regex("ab".to_owned());
    let mut answer = compiler().begin(&form, &[END], &[]).unwrap();
    assert!(answer.accept(u32::from(b'x')).is_err());
    assert!(answer.mask().is_err());
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_reason() {
    let compiler = compiler();
    let refused = |form: Form| match compiler.begin(&form, &[END], &[]) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{form:?} is kept"),
    };
    let said = refused(Form::JsonSchema("{\"type\": ".to_owned()));
    assert!(said.contains("it is no JSON"), "{said}");
    let said = refused(schema(&json!({"type": "strnig"})));
    assert!(said.contains("strnig"), "{said}");
    let said = refused(schema(&json!({"$ref": "https://example.org/schema.json"})));
    assert!(said.contains("example.org"), "{said}");
    let said = refused(schema(&json!({"type": "string", "format": "unheard-of"})));
    assert!(said.contains("unheard-of"), "{said}");
    let said = refused(schema(&json!(false)));
    assert!(said.starts_with("cannot be kept"), "{said}");
    let said = refused(Form::Regex("a(b".to_owned()));
    assert!(said.starts_with("cannot be kept"), "{said}");
    let said = refused(Form::Grammar("start: nowhere".to_owned()));
    assert!(said.contains("nowhere"), "{said}");
    let said = refused(Form::Grammar("(".repeat(50_000)));
    assert!(said.contains("deep"), "{said}");
}

#[test]
fn a_form_is_bounded_in_time_whoever_sends_it() {
    let compiler = compiler();
    let chain: String = (0..3_000)
        .map(|n| format!("r{n}: \"a\" r{}\n", n + 1))
        .collect();
    let deep_schema = {
        let mut schema = json!({"type": "integer"});
        for _ in 0..60 {
            schema = json!({"type": "array", "items": schema});
        }
        schema
    };
    for form in [
        Form::Regex("(a|b)*a(a|b){200}".to_owned()),
        Form::Regex("((a{100}){100}){100}".to_owned()),
        Form::Regex("(x+x+)+y".to_owned()),
        Form::Grammar(format!("start: r0\n{chain}r3000: \"b\"")),
        Form::Grammar("start: start start | \"a\"".to_owned()),
        Form::Grammar("start: /a/{1000000}".to_owned()),
        schema(&deep_schema),
        schema(&json!({"type": "string", "maxLength": 100_000_000})),
        schema(&json!({"type": "array", "minItems": 1_000_000, "items": {"type": "integer"}})),
        schema(&json!({"allOf": vec![json!({"anyOf": vec![json!({"type": "object"}); 20]}); 20]})),
    ] {
        let began = std::time::Instant::now();
        let begun = compiler.begin(&form, &[END], &[]);
        let compiled = began.elapsed();
        let outcome = match begun {
            Err(error) => error.to_string(),
            Ok(mut answer) => {
                let mut slowest = std::time::Duration::ZERO;
                let mut made = 0;
                for _ in 0..200 {
                    let began = std::time::Instant::now();
                    let Ok(mask) = answer.mask() else { break };
                    let next = (0..300).find(|&id| mask.has(id));
                    slowest = slowest.max(began.elapsed());
                    let Some(next) = next else { break };
                    if answer.accept(next).is_err() {
                        break;
                    }
                    made += 1;
                }
                format!("{made} tokens, the slowest in {slowest:?}")
            }
        };
        println!("{:.60}: {compiled:?}, {outcome:.100}", format!("{form:?}"));
        assert!(compiled.as_secs() < 20, "{form:?}");
    }
}
