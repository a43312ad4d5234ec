//! Prompts equal those that Hugging Face transformers renders, and what a model
//! lacks is said by name.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of tests fail as tests do"
)]

mod support;

use std::collections::BTreeMap;

use serde::Deserialize;
use support::{fixture, fixture_models, model_dir, read_json};
use tandem_text::{
    ChatMessage, ChatTemplate, Clock, RenderOptions, SpecialTokens, TemplateValue, TextError,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    template: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    messages: Vec<TemplateValue>,
    add_generation_prompt: bool,
    bos_token: Option<String>,
    eos_token: Option<String>,
    now: Option<String>,
    #[serde(default)]
    variables: BTreeMap<String, TemplateValue>,
    expected: Option<String>,
    error: Option<String>,
}

#[test]
fn every_fixture_renders_as_transformers_renders_it() {
    let mut files: Vec<_> = std::fs::read_dir(fixture("chat_templates"))
        .expect("tests/fixtures/chat_templates")
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no chat template fixtures");
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let fixture: Fixture = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(!fixture.cases.is_empty(), "{} is empty", file.display());
        for case in fixture.cases {
            let found = render(&fixture.template, &case);
            let expected = match (&case.expected, &case.error) {
                (Some(text), None) => Ok(text.clone()),
                (None, Some(message)) => Err(message.clone()),
                _ => panic!("{}: {}: expected or error", file.display(), case.name),
            };
            if found != expected {
                let place = format!("{}: {}", file.display(), case.name);
                wrong.push(format!(
                    "{place}\n  expected {expected:?}\n  found    {found:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The text, or the words of `raise_exception`.
fn render(template: &str, case: &Case) -> Result<String, String> {
    let special = SpecialTokens {
        bos: case.bos_token.clone(),
        eos: case.eos_token.clone(),
        ..SpecialTokens::default()
    };
    let mut template = ChatTemplate::new(template, special).map_err(|error| error.to_string())?;
    if let Some(now) = &case.now {
        template = template.with_clock(Clock::fixed(now).unwrap());
    }
    let options = RenderOptions {
        add_generation_prompt: case.add_generation_prompt,
        variables: case.variables.clone(),
    };
    template
        .render(&case.messages, &options)
        .map_err(|error| match error {
            TextError::ChatTemplateRaised { message } => message,
            other => format!("not raised by the template: {other}"),
        })
}

#[test]
fn a_model_directory_renders_as_transformers_renders_it() {
    let mut with_template = 0;
    for model in fixture_models() {
        let Ok(template) = ChatTemplate::load(&model) else {
            continue;
        };
        with_template += 1;
        let chat = read_json(&model.join("chat.json"));
        let messages: Vec<ChatMessage> = serde_json::from_value(chat["messages"].clone()).unwrap();
        let text = template
            .render(&messages, &RenderOptions::default())
            .unwrap();
        assert_eq!(
            Some(text.as_str()),
            chat["text"].as_str(),
            "{}",
            model.display()
        );
    }
    assert!(with_template > 0, "no fixture model has a chat template");
}

fn question() -> [ChatMessage; 1] {
    [ChatMessage::new("user", "Hi")]
}

fn load(files: &[(&str, &str)]) -> Result<ChatTemplate, TextError> {
    ChatTemplate::load(model_dir(files).path())
}

fn rendered(files: &[(&str, &str)]) -> String {
    let template = load(files).unwrap();
    template
        .render(&question(), &RenderOptions::default())
        .unwrap()
}

#[test]
fn the_template_is_taken_from_where_transformers_takes_it() {
    let config = r#"{"bos_token": {"content": "<s>"}, "chat_template": "{{ bos_token }}config"}"#;
    let named = r#"{"chat_template": [{"name": "rag", "template": "rag"},
        {"name": "default", "template": "named {{ messages[0].content }}"}]}"#;
    assert_eq!(rendered(&[("tokenizer_config.json", config)]), "<s>config");
    assert_eq!(rendered(&[("tokenizer_config.json", named)]), "named Hi");
    let file = ("chat_template.jinja", "{{ bos_token }}file\n");
    assert_eq!(
        rendered(&[("tokenizer_config.json", config), file]),
        "<s>file"
    );
    assert_eq!(rendered(&[("chat_template.jinja", "a\r\nb")]), "a\nb");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    for files in [&[] as &[_], &[("tokenizer_config.json", "{}")]] {
        let error = load(files).unwrap_err();
        assert!(matches!(error, TextError::NoChatTemplate { .. }), "{error}");
        assert!(error.to_string().contains("chat_template.jinja"), "{error}");
    }
    let config = |text: &str| load(&[("tokenizer_config.json", text)]).unwrap_err();
    let error = config(r#"{"chat_template": [{"name": "rag", "template": ""}]}"#);
    assert!(
        matches!(&error, TextError::NoDefaultChatTemplate { names, .. } if names == &["rag"]),
        "{error}"
    );
    let error = config(r#"{"chat_template": 7}"#);
    assert!(
        matches!(
            error,
            TextError::Field {
                field: "chat_template",
                ..
            }
        ),
        "{error}"
    );
    let error = config(r#"{"chat_template": [{"template": "x"}]}"#);
    assert!(matches!(error, TextError::Field { .. }), "{error}");
    let error = config("{");
    assert!(matches!(error, TextError::Json { .. }), "{error}");
    let error = config(r#"{"chat_template": "\n{% if %}"}"#);
    assert!(
        matches!(error, TextError::ChatTemplateSyntax { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("tokenizer_config.json"),
        "{error}"
    );
    assert!(error.to_string().contains(":2"), "the line: {error}");
}

/// Whoever sends messages must not be able to keep a template busy.
#[test]
fn a_rendering_that_takes_too_long_ends() {
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    let template = ChatTemplate::new(endless, SpecialTokens::default()).unwrap();
    let ended = template.render(&question(), &RenderOptions::default());
    assert!(
        matches!(ended, Err(TextError::ChatTemplateRender { .. })),
        "{ended:?}"
    );
    // Thousands of messages are no reason to end.
    let source = "{% for m in messages %}{{ m.role + ': ' + m.content | trim }}{% endfor %}";
    let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
    let messages = vec![ChatMessage::new("user", "hello"); 20_000];
    assert!(
        template
            .render(&messages, &RenderOptions::default())
            .is_ok()
    );
}

/// Whether they can be rendered or not: the process goes on.
#[test]
fn what_is_nested_deeply_ends_no_process() {
    let nested = "{% set ns = namespace(x=1) %}{% for _ in range(1000) %}{% for _ in range(1000) %}\
        {% set ns.x = [ns.x] %}{% endfor %}{% endfor %}";
    let shown = nested.replacen("1000", "20", 1);
    // Chains of operators take the square of their length to compile.
    let chains = [
        (".a", 20_000),
        ("|d", 20_000),
        ("[0]", 20_000),
        ("+1", 2_000),
        ("**2", 2_000),
    ];
    let chains = chains.map(|(link, count)| format!("{{{{ a{} }}}}", link.repeat(count)));
    let prefixes = ["-", "not ", "(", "[", "1 if 1 else "];
    let prefixes = prefixes.map(|prefix| format!("{{{{ {}1 }}}}", prefix.repeat(5_000)));
    let branches = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5_000));
    let values = [
        "",
        "{{ ns.x }}",
        "{{ ns.x | tojson }}",
        "{{ ns.x == [ns.x] }}",
    ];
    let values = values.map(|shows| format!("{shown}{shows}"));
    let sources = [nested.to_owned(), branches].into_iter();
    for source in sources.chain(chains).chain(prefixes).chain(values) {
        match ChatTemplate::new(&source, SpecialTokens::default()) {
            Ok(template) => {
                let _ = template.render(&question(), &RenderOptions::default());
            }
            Err(error) => assert!(matches!(error, TextError::ChatTemplateSyntax { .. })),
        }
    }
    let long = "a".repeat(300_000);
    assert!(ChatTemplate::new(&long, SpecialTokens::default()).is_err());
}

#[test]
fn a_format_of_the_time_takes_of_the_fuel() {
    let source = "{% set f = '%Y' * 100000 %}{% for _ in range(99) %}{% set t = strftime_now(f) %}{% endfor %}";
    let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
    assert!(
        template
            .render(&question(), &RenderOptions::default())
            .is_err()
    );
}

#[test]
fn a_template_that_raises_and_one_that_fails_are_told_apart() {
    let render = |source: &str| {
        let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
        template.render(&question(), &RenderOptions::default())
    };
    let nested = "{% macro check(m) %}{{ raise_exception('no ' + m.role) }}{% endmacro %}\
        {% for m in messages %}{{ check(m) }}{% endfor %}";
    for source in ["{{ raise_exception('no user') }}", nested] {
        match render(source) {
            Err(TextError::ChatTemplateRaised { message }) => assert_eq!(message, "no user"),
            other => panic!("{source}: {other:?}"),
        }
    }
    for source in [
        "{{ messages[0].missing.field }}",
        "{{ missing() }}",
        "{{ 'a' + none }}",
        "{{ strftime_now('%!') }}",
        "{{ missing | tojson }}",
    ] {
        let error = render(source).unwrap_err();
        assert!(
            matches!(error, TextError::ChatTemplateRender { .. }),
            "{source}: {error}"
        );
    }
}

#[test]
fn variables_reach_the_template_and_cannot_pose_as_messages() {
    let source = "{{ mode }} {{ tools | tojson }} {{ documents }} {{ messages | length }} \
        {{- pad_token is defined }}";
    let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
    let variables = BTreeMap::from([
        ("mode".to_owned(), "brief".into()),
        ("messages".to_owned(), true.into()),
        (
            "tools".to_owned(),
            TemplateValue::from_json(r#"[{"z": 1, "a": null}]"#).unwrap(),
        ),
    ]);
    let options = RenderOptions {
        variables,
        ..RenderOptions::default()
    };
    assert_eq!(
        template.render(&question(), &options).unwrap(),
        r#"brief [{"z": 1, "a": null}] None 1False"#
    );
}
