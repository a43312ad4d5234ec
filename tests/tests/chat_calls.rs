//! What gRPC's clients ask of `Chat` and `Generate` besides an answer: tools, several answers, what each step took.

use serde_json::{Value, json};
use tandem_proto::v1::{self, SamplingParameters, constraint::Form};
use tandem_tests::client::{Client, assert_refused, greedy_parameters, message, text_request};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Pair, PairOptions};
use tonic::Code;

async fn pair() -> (Pair, Client) {
    let options = PairOptions::default();
    let pair = Pair::start(&default_model(), 10, options).await.unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    (pair, client)
}

fn chat(question: &str) -> v1::ChatRequest {
    v1::ChatRequest {
        messages: vec![message("user", question)],
        sampling: Some(greedy_parameters()),
        max_tokens: Some(300),
        ..v1::ChatRequest::default()
    }
}

fn tool(name: &str, parameters: &Value) -> v1::Tool {
    v1::Tool {
        name: name.to_owned(),
        description: "Counts how often a letter is in a word.".to_owned(),
        parameters: parameters.to_string(),
        strict: false,
    }
}

fn count() -> v1::Tool {
    let parameters = json!({
        "type": "object", "additionalProperties": false, "required": ["word", "letter"],
        "properties": {
            "word": {"type": "string", "pattern": "^[a-z]{1,12}$"},
            "letter": {"type": "string", "pattern": "^[a-z]$"},
        },
    });
    tool("count", &parameters)
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_goes_into_the_next_turn() {
    let (_pair, client) = pair().await;
    let sing = tool("sing", &json!({"type": "object", "properties": {}}));
    let request = v1::ChatRequest {
        tools: vec![sing, count()],
        tool_name: "count".to_owned(),
        one_tool_call: true,
        ..chat("How often is the letter r in strawberry?")
    };
    let answer = client.chat(request.clone()).await.unwrap();
    let [call] = &answer.tool_calls[..] else {
        panic!("{answer:?}")
    };
    assert_eq!(call.name, "count");
    assert!(!call.id.is_empty());
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
    assert_eq!(arguments["letter"].as_str().map(str::len), Some(1));
    assert_eq!(answer.text(), "", "the call is no text");
    assert_eq!(answer.ids.len(), answer.finished.completion_tokens as usize);

    // The next turn has the call and what it came to, and the model is not told of the tools again.
    let result = v1::ChatMessage {
        tool_call_id: call.id.clone(),
        ..message("tool", "3")
    };
    let called = v1::ChatMessage {
        tool_calls: vec![call.clone()],
        ..message("assistant", "")
    };
    let mut next = v1::ChatRequest {
        tool_mode: v1::ToolMode::None.into(),
        tool_name: String::new(),
        max_tokens: Some(8),
        ..request.clone()
    };
    next.messages.extend([called, result]);
    let said = client.chat(next).await.unwrap();
    assert!(said.tool_calls.is_empty());
    assert_eq!(said.finished.completion_tokens, 8);
    assert!(said.started.prompt_tokens > 0);

    // Of several answers each has its calls.
    let several = v1::ChatRequest {
        tool_name: String::new(),
        tool_mode: v1::ToolMode::Required.into(),
        answers: 2,
        ..request.clone()
    };
    for answer in client.chat_all(several).await.unwrap() {
        assert!(!answer.tool_calls.is_empty(), "{answer:?}");
    }

    let wrong = v1::ChatRequest {
        tool_name: "dance".to_owned(),
        ..request
    };
    let refused = client.chat(wrong).await;
    assert_refused(refused, Code::InvalidArgument, "FIELD");
}

#[tokio::test]
async fn text_that_calls_nothing_and_a_form_go_together_with_tools() {
    let (_pair, client) = pair().await;
    let plain = client.chat(chat("What is the sky?")).await.unwrap();
    // The template is told of the tool, so the words may differ, but nothing of them is lost.
    let offered = v1::ChatRequest {
        tools: vec![count()],
        ..chat("What is the sky?")
    };
    let answer = client.chat(offered.clone()).await.unwrap();
    assert!(!answer.text().is_empty());
    assert!(answer.started.prompt_tokens > plain.started.prompt_tokens + 20);
    let colour = v1::ChatRequest {
        constraint: Some(v1::Constraint {
            form: Some(Form::Regex("blue|red".to_owned())),
        }),
        tool_mode: v1::ToolMode::None.into(),
        tells_reasoning: true,
        ..offered
    };
    let answer = client.chat(colour).await.unwrap();
    assert!(["blue", "red"].contains(&&*answer.text()), "{answer:?}");
    // Tokenised as it is sent.
    let conversation = v1::Conversation {
        messages: vec![message("user", "Hi")],
        tools: vec![count()],
    };
    let mut client = client;
    let mut length = async |conversation: v1::Conversation| {
        let input = v1::tokenize_request::Input::Chat(conversation);
        let request = v1::TokenizeRequest { input: Some(input) };
        let response = client.raw().tokenize(request).await.unwrap();
        response.into_inner().ids.len()
    };
    let with_tools = length(conversation.clone()).await;
    let without = v1::Conversation {
        tools: Vec::new(),
        ..conversation
    };
    assert!(with_tools > length(without).await + 20);
}

#[tokio::test]
async fn several_answers_are_those_of_their_seeds_one_by_one() {
    let (_pair, client) = pair().await;
    let request = |seed: u64, answers: u32| v1::GenerateRequest {
        answers,
        sampling: Some(SamplingParameters {
            temperature: Some(1.0),
            seed: Some(seed),
            ..SamplingParameters::default()
        }),
        ..text_request("Once upon a time", 12)
    };
    let all = client.generate_all(request(u64::MAX, 3)).await.unwrap();
    assert_eq!(all.len(), 3);
    for (answer, seed) in all.iter().zip([u64::MAX, 0, 1]) {
        let alone = client.generate(request(seed, 0)).await.unwrap();
        assert_eq!(answer.ids, alone.ids);
        assert_eq!(answer.finished.seed, seed);
    }
    assert_ne!(all[0].ids, all[1].ids);
    let refused = client.generate(request(1, 129)).await;
    assert_refused(refused, Code::InvalidArgument, "FIELD");
}

#[tokio::test]
async fn steps_add_up_to_what_the_answer_took() {
    let (_pair, client) = pair().await;
    let request = |tells_steps| v1::GenerateRequest {
        tells_steps,
        ..text_request("Once upon a time", 24)
    };
    let quiet = client.generate(request(false)).await.unwrap();
    assert!(quiet.steps.is_empty());
    let told = client.generate(request(true)).await.unwrap();
    assert_eq!(told.ids, quiet.ids);
    let sum = |value: fn(&v1::Step) -> u64| told.steps.iter().map(value).sum::<u64>();
    let (finished, wire) = (&told.finished, told.wire());
    assert_eq!(
        sum(|step| step.tokens.into()),
        u64::from(finished.completion_tokens)
    );
    let drafts = finished.drafts.unwrap_or_default();
    assert_eq!(
        sum(|step| step.drafts.unwrap_or_default().accepted),
        drafts.accepted
    );
    // What came after the last tokens is in no step.
    assert!(sum(|step| step.rows) <= wire.rows && sum(|step| step.up_bytes) <= wire.up_bytes);
    let seconds: f64 = told.steps.iter().map(|step| step.seconds).sum();
    let timings = finished.timings.unwrap_or_default();
    let whole = timings.ttft_seconds + timings.decode_seconds;
    assert!((seconds - whole).abs() < 0.05, "{seconds} of {whole}");
    assert!(told.steps[0].edge_compute_seconds > 0.0 && told.steps[0].cloud_compute_seconds > 0.0);
    assert!(!told.steps[0].codec.is_empty());
}
