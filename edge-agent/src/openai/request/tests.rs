use super::*;
use serde_json::json;

/// The body of a chat with these fields besides.
fn chat(fields: Value) -> Result<Request, RequestError> {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    read(Endpoint::Chat, with(body, fields).as_bytes())
}

/// The body of a completion with these fields besides.
fn completion(fields: Value) -> Result<Request, RequestError> {
    let body = json!({"model": "m", "prompt": "x"});
    read(Endpoint::Completion, with(body, fields).as_bytes())
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
    assert_eq!(request.prompt, Prompt::Text("x".to_owned()));
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
    for (prompt, expected) in [
        (json!(["y"]), Prompt::Text("y".to_owned())),
        (json!([1, 2]), Prompt::Ids(vec![1, 2])),
        (json!([[3]]), Prompt::Ids(vec![3])),
    ] {
        let read = completion(json!({"prompt": prompt})).unwrap();
        assert_eq!(read.prompt, expected);
    }
}

#[test]
fn fields_that_ask_for_nothing_pass() {
    chat(json!({
        "n": 1, "user": "u", "metadata": {"a": "b"}, "store": false, "service_tier": "auto",
        "safety_identifier": "s", "prompt_cache_key": "k", "tools": [{"type": "function"}],
        "tool_choice": "none", "parallel_tool_calls": true, "functions": [],
        "function_call": "none", "response_format": {"type": "text"}, "modalities": ["text"],
        "logit_bias": {}, "audio": null, "max_tokens": null, "top_logprobs": 0, "logprobs": false,
    }))
    .unwrap();
    completion(json!({"best_of": 1, "echo": false, "suffix": "", "logprobs": null})).unwrap();
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    for (fields, said) in [
        (json!({"n": 2}), "n: must be 1: one answer a request"),
        (
            json!({"tools": [{}]}),
            "tools: are not served unless tool_choice is none",
        ),
        (
            json!({"tools": [{}], "tool_choice": "required"}),
            "tool_choice: must be none: tools are not served",
        ),
        (
            json!({"response_format": {"type": "json_object"}}),
            "response_format: must be of type text",
        ),
        (
            json!({"store": true}),
            "store: must be false: nothing is stored",
        ),
        (json!({"audio": {"voice": "x"}}), "audio: is not served"),
        (json!({"guided_json": {}}), "guided_json: is not served"),
        (json!({"best_of": 1}), "best_of: is not served"),
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
        (
            json!({"stream_options": {"include_usage": true}}),
            "stream_options: needs stream: true",
        ),
    ] {
        assert_eq!(chat(fields).unwrap_err().to_string(), said);
    }
    for (fields, said) in [
        (
            json!({"best_of": 2}),
            "best_of: must be 1: one answer a request",
        ),
        (
            json!({"echo": true}),
            "echo: must be false: the prompt is not repeated",
        ),
        (
            json!({"suffix": "y"}),
            "suffix: is not served: text is only continued",
        ),
        (json!({"tools": []}), "tools: is not served"),
        (
            json!({"prompt": ["a", "b"]}),
            "prompt: has 2 prompts, must be one string, or one array of token ids",
        ),
        (
            json!({"prompt": [-1]}),
            "prompt: must be one string, or one array of token ids",
        ),
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
    let message = said(json!({"stream": true, "stream_options": {"often": true}}));
    assert!(
        message.starts_with("stream_options.often: unknown field"),
        "{message}"
    );
}

#[test]
fn a_body_that_is_no_object_is_refused_as_such() {
    let said = |body: &[u8]| read(Endpoint::Chat, body).unwrap_err().to_string();
    assert!(said(b"{").starts_with("the body is not JSON: "));
    assert_eq!(said(b"[]"), "the body is not a JSON object");
}
