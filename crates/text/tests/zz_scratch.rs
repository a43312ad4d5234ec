use std::collections::BTreeMap;
use serde::Deserialize;
use tandem_text::*;
#[derive(Deserialize)]
struct Fixture { name: String, template: String, cases: Vec<Case> }
#[derive(Deserialize)]
struct Case { name: String, messages: Vec<TemplateValue>, add_generation_prompt: bool, bos_token: Option<String>, eos_token: Option<String>,
    #[serde(default)] variables: BTreeMap<String, TemplateValue>, expected: Option<String>, error: Option<String> }
#[test]
fn diff() {
    let text = std::fs::read_to_string("/tmp/text-templates/diff.json").unwrap();
    let all: Vec<Fixture> = serde_json::from_str(&text).unwrap();
    let (mut good, mut n) = (0, 0);
    for f in all {
        let mut shown = 0;
        for c in f.cases {
            n += 1;
            let special = SpecialTokens { bos: c.bos_token.clone(), eos: c.eos_token.clone(), ..Default::default() };
            let got = ChatTemplate::new(&f.template, special).and_then(|t| t.with_clock(Clock::fixed("2026-07-06T15:04:05").unwrap())
                .render(&c.messages, &RenderOptions { add_generation_prompt: c.add_generation_prompt, variables: c.variables.clone() }));
            let ok = match (&got, &c.expected, &c.error) {
                (Ok(a), Some(b), _) => a == b,
                (Err(TextError::ChatTemplateRaised { message }), _, Some(e)) => e.ends_with(message.as_str()),
                (Err(_), _, Some(e)) => !e.starts_with("TemplateError: ") ,
                _ => false,
            };
            if ok { good += 1 } else if shown < 2 { shown += 1;
                println!("== {} [{}]\n  want {:?} {:?}\n  got  {:?}", f.name, c.name, c.expected, c.error, got.map_err(|e| e.to_string())); }
        }
    }
    println!("{good} of {n}");
}
