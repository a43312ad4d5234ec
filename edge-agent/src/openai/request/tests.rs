use super::*;
use serde_json::json;

/// The body of a chat with these fields besides.
fn chat(fields: Value) -> Result<Request, RequestError> {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    read_as(Endpoint::Chat, body, fields)
}

/// The body of a completion with these fields besides.
fn completion(fields: Value) -> Result<Request, RequestError> {
    let body = json!({"model": "m", "prompt": "x"});
    read_as(Endpoint::Completion, body, fields)
}

fn read_as(endpoint: Endpoint, body: Value, fields: Value) -> Result<Request, RequestError> {
    read(
        endpoint,
        with(body, fields).as_bytes(),
        UnknownFields::Ignore,
    )
}

fn with(mut body: Value, fields: Value) -> String {
    let fields = fields.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body.to_string()
}

fn sampling(request: Request) -> v1::SamplingParameters {
    request.terms.sampling.unwrap()
}

#[test]
fn absent_fields_have_openais_defaults() {
    let request = chat(json!({})).unwrap();
    assert_eq!(request.model, "m");
    assert_eq!(request.terms.max_tokens, None);
    assert_eq!(request.options, ReplyOptions::default());
    // The model's, filled in later.
    let absent = v1::SamplingParameters::default();
    assert_eq!(sampling(request), absent);
    let request = completion(json!({})).unwrap();
    assert_eq!(request.terms.max_tokens, Some(16));
    assert!(matches!(&*request.prompts, [Prompt::Text(text)] if text == "x"));
    assert_eq!(request.answers, 1);
    assert_eq!(sampling(request), absent);
}

#[test]
fn every_served_field_arrives() {
    let request = chat(json!({
        "max_completion_tokens": 7, "stop": ["a", "b"], "seed": -1, "temperature": 0, "top_p": 0.5,
        "top_k": 3, "min_p": 0.25, "repetition_penalty": 1.5, "presence_penalty": -0.5,
        "frequency_penalty": 0.75, "logit_bias": {"5": -100}, "logprobs": true, "top_logprobs": 2,
        "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true},
    }))
    .unwrap();
    assert_eq!(request.terms.max_tokens, Some(7));
    assert_eq!(request.terms.stop, ["a", "b"]);
    assert!(request.options.stream && request.options.include_usage);
    let expected = v1::SamplingParameters {
        temperature: Some(0.0),
        top_k: Some(3),
        top_p: Some(0.5),
        min_p: Some(0.25),
        repetition_penalty: Some(1.5),
        presence_penalty: Some(-0.5),
        frequency_penalty: Some(0.75),
        seed: Some(u64::MAX),
        logit_bias: vec![v1::LogitBias {
            token_id: 5,
            bias: -100.0,
        }],
        logprobs: Some(2),
        ignore_eos: true,
    };
    assert_eq!(sampling(request), expected);
}

#[test]
fn a_field_may_be_written_in_several_ways() {
    assert_eq!(chat(json!({"stop": "a"})).unwrap().terms.stop, ["a"]);
    let both = json!({"max_tokens": 4, "max_completion_tokens": 4});
    assert_eq!(chat(both).unwrap().terms.max_tokens, Some(4));
    let older = chat(json!({"max_tokens": 3})).unwrap();
    assert_eq!(older.terms.max_tokens, Some(3));
    assert_eq!(sampling(chat(json!({"top_k": -1})).unwrap()).top_k, None);
    let asked = chat(json!({"logprobs": true})).unwrap();
    assert_eq!(sampling(asked).logprobs, Some(0));
    let asked = completion(json!({"logprobs": 4})).unwrap();
    assert_eq!(sampling(asked).logprobs, Some(4));
    for (prompt, texts, ids) in [
        (json!(["y"]), vec!["y"], vec![]),
        (json!(["y", "z"]), vec!["y", "z"], vec![]),
        (json!([1, 2]), vec![], vec![vec![1, 2]]),
        (json!([[3], [4, 5]]), vec![], vec![vec![3], vec![4, 5]]),
    ] {
        let (mut found_texts, mut found_ids) = (Vec::new(), Vec::new());
        for prompt in completion(json!({"prompt": prompt})).unwrap().prompts {
            match prompt {
                Prompt::Text(text) => found_texts.push(text),
                Prompt::Ids(ids) => found_ids.push(ids),
                Prompt::Conversation(_) => panic!("no conversation"),
            }
        }
        assert_eq!(
            (found_texts, found_ids),
            (texts.iter().map(|&t| t.to_owned()).collect(), ids)
        );
    }
}

/// The rows of a table in docs/openai.md behind this line: cells of code, without their marks.
fn documented(title: &str) -> Vec<Vec<String>> {
    let page = include_str!("../../../../docs/openai.md");
    let (_, behind) = page.split_once(title).unwrap();
    let rows = behind
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .skip(2);
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    };
    rows.take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

/// The call of a row, and its field with a value.
fn documented_field(row: &[String]) -> (Endpoint, String, Value) {
    let endpoint = match row[0].as_str() {
        "chat" => Endpoint::Chat,
        "completions" => Endpoint::Completion,
        other => panic!("{other}"),
    };
    let value = serde_json::from_str(&row[2]).unwrap_or_else(|error| panic!("{row:?}: {error}"));
    (endpoint, row[1].clone(), value)
}

fn body_of(endpoint: Endpoint) -> Value {
    match endpoint {
        Endpoint::Chat => json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
        Endpoint::Completion => json!({"model": "m", "prompt": "x"}),
    }
}

#[test]
fn what_the_page_says_is_refused_is_refused_by_its_name() {
    let rows = documented("**Refused.**");
    assert!(rows.len() > 20);
    for row in rows {
        let (endpoint, name, value) = documented_field(&row);
        let refused = read_as(endpoint, body_of(endpoint), json!({name.clone(): value}));
        let said = refused.map(drop).expect_err(&name).to_string();
        assert!(said.starts_with(&name), "{said}");
    }
}

#[test]
fn what_the_page_says_is_passed_over_is_told() {
    let rows = documented("**Passed over.**");
    assert!(rows.len() >= 8);
    for row in rows {
        let (endpoint, name, value) = documented_field(&row);
        for unknown in [UnknownFields::Ignore, UnknownFields::Refuse] {
            let body = with(body_of(endpoint), json!({name.clone(): value}));
            let read = read(endpoint, body.as_bytes(), unknown);
            let passed_over = read.unwrap().passed_over;
            assert_eq!(passed_over, [name.as_str()]);
        }
    }
}

#[test]
fn values_that_ask_for_nothing_pass() {
    let request = chat(json!({
        "n": 1, "tools": [{"type": "nothing"}], "tool_choice": "none", "functions": [],
        "function_call": "none", "response_format": {"type": "text"}, "modalities": ["text"],
        "logit_bias": {}, "audio": null, "max_tokens": null, "top_logprobs": 0, "logprobs": false,
        "min_tokens": 0, "guided_json": null, "add_generation_prompt": true,
    }))
    .unwrap();
    assert!(request.functions.all.is_empty() && request.passed_over.is_empty());
    assert_eq!(request.form, Form::Any);
    completion(json!({"best_of": 1, "echo": false, "suffix": "", "logprobs": null})).unwrap();
    completion(json!({"n": 3, "best_of": 3})).unwrap();
}

#[test]
fn functions_are_handed_to_the_template_as_they_came() {
    let add =
        json!({"type": "function", "function": {"name": "add", "strict": true, "parameters": {}}});
    let request = chat(json!({
        "tools": [add], "tool_choice": "auto", "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": false},
    }))
    .unwrap();
    let [function] = &*request.functions.all else {
        panic!("{request:?}")
    };
    assert_eq!((&*function.name, function.strict), ("add", true));
    assert_eq!(function.parameters.as_deref().unwrap().get(), "{}");
    let [Prompt::Conversation(conversation)] = &*request.prompts else {
        panic!("{request:?}")
    };
    assert_eq!(conversation.tools.len(), 1);
    let variables: Vec<&String> = conversation.variables.keys().collect();
    assert_eq!(variables, ["enable_thinking", "reasoning_effort"]);
    assert_eq!(conversation.tool_bytes, add.to_string().len());
}

#[test]
fn the_form_of_an_answer_is_said_in_many_ways() {
    // As it came: the order of an object's properties is that of its text.
    let schema = r#"{"b":1,"a":2}"#;
    let json = Form::Json(schema.to_owned());
    let object = Form::Json(r#"{"type": "object"}"#.to_owned());
    let choice = Form::Choice(vec!["x".to_owned(), "y".to_owned()]);
    for (field, form) in [
        (
            r#""response_format": {"type": "json_object"}"#.to_owned(),
            &object,
        ),
        (
            format!(r#""response_format": {{"type": "json_object", "schema": {schema}}}"#),
            &json,
        ),
        (
            format!(
                r#""response_format": {{"type": "json_schema", "json_schema": {{"name": "n", "strict": false,
                "schema": {schema}}}}}"#
            ),
            &json,
        ),
        (
            format!(r#""structured_outputs": {{"json": {schema}}}"#),
            &json,
        ),
        (
            r#""structured_outputs": {"json_object": true}"#.to_owned(),
            &object,
        ),
        (
            r#""structured_outputs": {"choice": ["x", "y"]}"#.to_owned(),
            &choice,
        ),
        (format!(r#""guided_json": {schema}"#), &json),
        (format!(r#""guided_json": {}"#, json!(schema)), &json),
        (r#""guided_choice": ["x", "y"]"#.to_owned(), &choice),
        (
            r#""guided_regex": "a+""#.to_owned(),
            &Form::Regex("a+".to_owned()),
        ),
        (
            r#""guided_grammar": "start: A""#.to_owned(),
            &Form::Grammar("start: A".to_owned()),
        ),
        (format!(r#""json_schema": {schema}"#), &json),
    ] {
        for (endpoint, prompt) in [
            (
                Endpoint::Chat,
                r#""messages": [{"role": "user", "content": "x"}]"#,
            ),
            (Endpoint::Completion, r#""prompt": "x""#),
        ] {
            let body = format!(r#"{{"model": "m", {prompt}, {field}}}"#);
            let request = read(endpoint, body.as_bytes(), UnknownFields::Refuse).unwrap();
            assert_eq!(request.form, *form, "{field}");
        }
    }
}

#[test]
fn unknown_fields_are_told_or_refused() {
    let request = chat(json!({"beams": 4, "mood": null, "user": "u"})).unwrap();
    assert_eq!(request.passed_over, ["user", "beams"]);
    let body = with(body_of(Endpoint::Chat), json!({"beams": 4}));
    let refused = read(Endpoint::Chat, body.as_bytes(), UnknownFields::Refuse);
    assert_eq!(refused.unwrap_err().to_string(), "beams: is not served");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (fields, said) in [
        (json!({"n": 0}), "n: is 0, must be at least 1"),
        (
            json!({"n": 129}),
            "n: asks for 129 answers, may ask for 128",
        ),
        (
            json!({"tools": [{}], "tool_choice": "any"}),
            "tool_choice: must be auto, none, required or a function",
        ),
        (json!({"tools": [{}]}), "tools[0].function: is absent"),
        (
            json!({"tools": [{"type": "function", "function": {}}]}),
            "tools[0].function.name: is absent",
        ),
        (
            json!({"tools": [{"function": {"name": "a"}}, {"function": {"name": "a"}}]}),
            "tools[1].function.name: is that of another function too",
        ),
        (
            json!({"tool_choice": "required"}),
            "tool_choice: is required, without tools",
        ),
        (
            json!({"tools": [{"function": {"name": "a"}}],
                "tool_choice": {"type": "function", "function": {"name": "b"}}}),
            "tool_choice: is b, which is none of the tools",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools"}}),
            "tool_choice: must be of type function",
        ),
        (json!({"tools": {}}), "tools: must be an array"),
        (
            json!({"chat_template_kwargs": []}),
            "chat_template_kwargs: must be an object",
        ),
        (
            json!({"response_format": {"type": "yaml"}}),
            "response_format.type: is yaml, must be text, json_object or json_schema",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}),
            "response_format.json_schema.schema: is absent",
        ),
        (
            json!({"response_format": {"type": "json_object"}, "guided_regex": "a"}),
            "guided_regex: comes beside response_format: an answer has one form",
        ),
        (
            json!({"structured_outputs": {"json": {}, "disable_any_whitespace": true}}),
            "structured_outputs.disable_any_whitespace: must be false",
        ),
        (
            json!({"top_logprobs": 2}),
            "top_logprobs: needs logprobs: true",
        ),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs: is 21, must be at most 20",
        ),
        (
            json!({"max_tokens": 1, "max_completion_tokens": 2}),
            "max_completion_tokens: is 2, and max_tokens, its older name, 1",
        ),
        (json!({"top_k": -2}), "top_k: is -2, must be -1, 0 or more"),
        (
            json!({"logit_bias": {"a": 1}}),
            "logit_bias: 'a' is no token id",
        ),
        (
            json!({"stop": [1]}),
            "stop: must be a string or an array of strings",
        ),
    ] {
        assert_eq!(chat(fields).unwrap_err().to_string(), said);
    }
    let wrong = "prompt: must be a string, an array of token ids, or an array of such";
    for (fields, said) in [
        (
            json!({"n": 2, "best_of": 3}),
            "best_of: must be as many as n: all answers are returned",
        ),
        (
            json!({"echo": true, "logprobs": 1}),
            "echo: has no log probabilities of the prompt: not with logprobs",
        ),
        (
            json!({"suffix": "y"}),
            "suffix: is not served: text is only continued",
        ),
        (
            json!({"prompt": vec!["a"; 65], "n": 2}),
            "prompt: asks for 130 answers, may ask for 128",
        ),
        (json!({"prompt": [-1]}), wrong),
        (json!({"prompt": ["a", 1]}), wrong),
        (json!({"prompt": null}), "prompt: is absent"),
        (json!({"model": null}), "model: is absent"),
    ] {
        assert_eq!(completion(fields).unwrap_err().to_string(), said);
    }
}

#[test]
fn a_wrong_type_is_named_with_its_path() {
    let said = |fields| chat(fields).unwrap_err().to_string();
    let message = said(json!({"temperature": "hot"}));
    assert!(
        message.starts_with("temperature: invalid type"),
        "{message}"
    );
    let message = said(json!({"stream": true, "stream_options": {"include_usage": 1}}));
    let path = "stream_options.include_usage: invalid type";
    assert!(message.starts_with(path), "{message}");
}

#[test]
fn a_body_that_is_no_object_is_refused_as_such() {
    let said = |body: &[u8]| {
        let refused = read(Endpoint::Chat, body, UnknownFields::Ignore);
        refused.unwrap_err().to_string()
    };
    assert!(said(b"{").starts_with("the body is not JSON: "));
    assert_eq!(said(b"[]"), "the body is not a JSON object");
}
