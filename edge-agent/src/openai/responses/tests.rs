use super::*;
use crate::parts::{CallFormat, Callable};
use std::sync::Arc;

fn asked(fields: Value) -> Result<Asked, RequestError> {
    asked_as(fields, UnknownFields::Ignore)
}

fn asked_as(fields: Value, unknown: UnknownFields) -> Result<Asked, RequestError> {
    let mut body = json!({"model": "m", "input": "x"});
    if let (Value::Object(body), Value::Object(fields)) = (&mut body, fields) {
        body.extend(fields);
    }
    read(body.to_string().as_bytes(), unknown)
}

#[test]
fn a_text_is_what_the_user_says_behind_the_instructions() {
    let asked = asked(json!({
        "instructions": "Be brief.", "max_output_tokens": 9, "temperature": 0, "stream": true,
        "reasoning": {"effort": "low", "summary": "auto"}, "metadata": {"a": "b"}, "store": true,
        "text": {"format": {"type": "text"}},
    }))
    .unwrap();
    let expected = [
        said("system", "Be brief.".to_owned()),
        said("user", "x".to_owned()),
    ];
    assert_eq!(asked.conversation.messages, expected);
    assert_eq!(
        (asked.terms.max_tokens, asked.options.stream),
        (Some(9), true)
    );
    assert!(
        asked
            .conversation
            .variables
            .contains_key("reasoning_effort")
    );
    assert_eq!(asked.repeated["metadata"], json!({"a": "b"}));
    assert_eq!(asked.passed_over, ["reasoning.summary", "store"]);
}

#[test]
fn items_make_a_conversation_with_calls_and_their_results() {
    let asked = asked(json!({
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "1 + 2?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
             "content": [{"type": "output_text", "text": "I add.", "annotations": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "1", "name": "add", "arguments": "{\"a\": 1}"},
            {"type": "function_call", "call_id": "2", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "3"},
        ],
        "tools": [{"type": "function", "name": "add", "strict": true, "parameters": {"b": 1, "a": 2}}],
    }))
    .unwrap();
    let messages = &asked.conversation.messages;
    let roles: Vec<&str> = messages.iter().map(|message| &*message.role).collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
    assert_eq!(messages[1].content, "I add.");
    let calls: Vec<&str> = messages[1]
        .tool_calls
        .iter()
        .map(|call| &*call.id)
        .collect();
    assert_eq!(calls, ["1", "2"]);
    assert_eq!(messages[2].tool_call_id.as_deref(), Some("1"));
    let tool = serde_json::to_string(&asked.conversation.tools[0]).unwrap();
    let expected =
        json!({"type": "function", "function": {"name": "add", "parameters": {"b": 1, "a": 2}}});
    assert_eq!(serde_json::from_str::<Value>(&tool).unwrap(), expected);
    assert_eq!(asked.functions.all[0].name, "add");
}

#[test]
fn functions_are_handed_to_the_template_in_the_order_in_which_they_came() {
    let body = br#"{"model": "m", "input": "x", "tools": [
        {"type": "function", "name": "add", "parameters": {"b": 1, "a": 2}}
    ]}"#;
    let asked = read(body, UnknownFields::Ignore).unwrap();
    let tool = serde_json::to_string(&asked.conversation.tools[0]).unwrap();
    assert!(tool.contains("{\"b\":1,\"a\":2}"), "{tool}");
}

#[test]
fn the_form_and_the_function_that_are_asked_for_are_repeated() {
    let format =
        json!({"type": "json_schema", "name": "n", "strict": true, "schema": {"type": "integer"}});
    let choice = json!({"type": "function", "name": "add"});
    let asked = asked(json!({
        "text": {"format": format}, "tool_choice": choice, "parallel_tool_calls": false,
        "tools": [{"type": "function", "name": "add", "parameters": {}, "strict": true}],
    }))
    .unwrap();
    assert_eq!(asked.form, Form::Json(r#"{"type":"integer"}"#.to_owned()));
    assert_eq!(asked.functions.choice, ToolChoice::Named("add".to_owned()));
    assert!(asked.functions.only_one && asked.functions.all[0].strict);
    assert_eq!(asked.repeated["text"]["format"], format);
    assert_eq!(asked.repeated["tool_choice"], choice);
    assert!(asked.passed_over.is_empty());
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (fields, said) in [
        (json!({"input": 3}), "input: must be a string or an array"),
        (
            json!({"input": [{"type": "web_search_call"}]}),
            "input[0].type: is web_search_call, which is not served",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
            "input[0].content[0].type: is input_image, only text is served",
        ),
        (
            json!({"background": true}),
            "background: must be false: nothing is stored",
        ),
        (
            json!({"previous_response_id": "resp_1"}),
            "previous_response_id: is not served: nothing is stored",
        ),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "a"}}}),
            "text.format.schema: is absent",
        ),
        (
            json!({"tools": [{"type": "web_search"}]}),
            "tools[0].type: must be function: no other tool is here",
        ),
        (
            json!({"tool_choice": "required"}),
            "tool_choice: is required, without tools",
        ),
    ] {
        assert_eq!(asked(fields).unwrap_err().to_string(), said);
    }
    let strange = asked_as(json!({"beams": 2}), UnknownFields::Refuse);
    assert_eq!(strange.unwrap_err().to_string(), "beams: is not served");
}

fn splitter() -> Splitter {
    Splitter::new().with_reasoning(false).with_calls(Callable {
        format: CallFormat::Hermes,
        functions: Arc::new(["add".to_owned()].into()),
        only_one: false,
    })
}

fn writer(parts: Splitter) -> Writer {
    let origin = Origin {
        model: "m".to_owned(),
        fingerprint: "fp_1".to_owned(),
    };
    Writer::new(&origin, asked(json!({})).unwrap().repeated, parts)
}

fn events(reason: v1::FinishReason) -> Vec<AnswerEvent> {
    let texts = [
        "<think>so</think>I a",
        "dd. <tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>",
    ];
    let deltas = texts.map(|text| {
        AnswerEvent::Delta(v1::Delta {
            text: text.to_owned(),
            ..v1::Delta::default()
        })
    });
    let started = AnswerEvent::Started(v1::Started {
        reused_tokens: 3,
        ..v1::Started::default()
    });
    let finished = AnswerEvent::Finished(v1::Finished {
        finish_reason: reason.into(),
        prompt_tokens: 5,
        completion_tokens: 2,
        ..v1::Finished::default()
    });
    let all = [started].into_iter().chain(deltas);
    all.chain([finished]).collect()
}

#[test]
fn a_response_has_what_was_thought_said_and_called_as_items() {
    let mut writer = writer(splitter());
    for event in events(v1::FinishReason::Stop) {
        writer.gather(0, event);
    }
    assert!(writer.is_done());
    let response: Value = serde_json::from_str(&writer.whole()).unwrap();
    assert_eq!(
        (&response["object"], &response["status"]),
        (&json!("response"), &json!("completed"))
    );
    let output = response["output"].as_array().unwrap();
    assert_eq!(
        output[0]["content"][0],
        json!({"type": "reasoning_text", "text": "so"})
    );
    assert_eq!(output[1]["content"][0]["text"], "I add.");
    assert_eq!(
        (&output[2]["name"], &output[2]["arguments"]),
        (&json!("add"), &json!("{\"a\": 1}"))
    );
    assert_eq!(
        response["usage"]["input_tokens_details"]["cached_tokens"],
        3
    );
    assert_eq!(response["usage"]["total_tokens"], 7);
}

#[test]
fn a_stream_says_each_item_from_its_begin_to_its_end() {
    let mut writer = writer(splitter());
    let mut said = Vec::new();
    for event in events(v1::FinishReason::Length) {
        said.extend(writer.pieces(0, event));
    }
    let all: Vec<Value> = said
        .iter()
        .map(|said| serde_json::from_str(&said.data).unwrap())
        .collect();
    for (number, (event, said)) in all.iter().zip(&said).enumerate() {
        assert_eq!(event["sequence_number"], number);
        assert_eq!(event["type"].as_str(), said.name.as_deref());
    }
    let types: Vec<&str> = all
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    let text = |kind: &'static str| {
        [
            "response.output_item.added".to_owned(),
            "response.content_part.added".to_owned(),
            format!("response.{kind}.delta"),
            format!("response.{kind}.done"),
            "response.content_part.done".to_owned(),
            "response.output_item.done".to_owned(),
        ]
    };
    let mut expected = vec![
        "response.created".to_owned(),
        "response.in_progress".to_owned(),
    ];
    expected.extend(text("reasoning_text"));
    let mut of_message = text("output_text").to_vec();
    of_message.insert(3, "response.output_text.delta".to_owned());
    expected.extend(of_message);
    expected.extend(
        [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "incomplete",
        ]
        .map(|name| format!("response.{name}")),
    );
    assert_eq!(types, expected);
    let last = &all.last().unwrap()["response"];
    assert_eq!(last["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(last["output"].as_array().unwrap().len(), 3);
}

#[test]
fn a_call_is_streamed_as_it_comes() {
    let arguments = "{\"a\": \"12\"}";
    let text = format!("<tool_call>{{\"name\": \"add\", \"arguments\": {arguments}}}</tool_call>");
    for (length, cut, status) in [
        (text.len(), false, "completed"),
        // Its arguments are all there.
        (text.len() - 5, true, "completed"),
        (text.find('2').unwrap(), true, "incomplete"),
    ] {
        let mut writer = writer(splitter().in_pieces());
        let delta = |text: &str| {
            AnswerEvent::Delta(v1::Delta {
                text: text.to_owned(),
                ..v1::Delta::default()
            })
        };
        let mut said = Vec::new();
        for byte in 0..length {
            said.extend(writer.pieces(0, delta(&text[byte..=byte])));
        }
        let reason = if cut {
            v1::FinishReason::Length
        } else {
            v1::FinishReason::Stop
        };
        let finished = AnswerEvent::Finished(v1::Finished {
            finish_reason: reason.into(),
            ..v1::Finished::default()
        });
        said.extend(writer.pieces(0, finished));
        let events: Vec<Value> = said
            .iter()
            .map(|said| serde_json::from_str(&said.data).unwrap())
            .collect();
        let of = |kind: &str| -> Vec<&Value> {
            let kind = format!("response.{kind}");
            events
                .iter()
                .filter(|e| e["type"] == kind.as_str())
                .collect()
        };
        let pieces: Vec<&str> = of("function_call_arguments.delta")
            .iter()
            .map(|event| event["delta"].as_str().unwrap())
            .collect();
        assert!(pieces.len() > 5, "{pieces:?}");
        let told = pieces.concat();
        assert!(arguments.starts_with(&told));
        assert_eq!(of("function_call_arguments.done")[0]["arguments"], *told);
        let [added, done] = ["output_item.added", "output_item.done"].map(|kind| of(kind)[0]);
        assert_eq!(added["item"]["call_id"], done["item"]["call_id"]);
        let item = &done["item"];
        assert_eq!(
            (&item["name"], &item["status"]),
            (&json!("add"), &json!(status))
        );
    }
}
