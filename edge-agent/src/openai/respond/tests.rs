use super::*;
use crate::answer::AnswerEvent;
use crate::openai::logprobs::Logprobs;
use crate::openai::reply::{Choice, Origin, Writer};
use crate::openai::request::{Endpoint, ReplyOptions};
use crate::parts::{CallFormat, Callable, Splitter};
use axum::body::to_bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use tandem_client::{AllRunning, CloudError};
use tandem_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

fn writer(endpoint: Endpoint, options: ReplyOptions) -> Writer {
    let choice = Choice::new(logprobs(), Splitter::new(), "".into());
    writer_of(endpoint, options, vec![choice], 1)
}

fn logprobs() -> Logprobs {
    Logprobs::new(|id| id.to_string())
}

fn writer_of(
    endpoint: Endpoint,
    options: ReplyOptions,
    choices: Vec<Choice>,
    answers: usize,
) -> Writer {
    let origin = Origin {
        model: "m".into(),
        fingerprint: "fp_1".into(),
    };
    Writer::new(endpoint, options, &origin, choices, answers)
}

/// Events of the only answer.
fn of_one<const N: usize>(
    events: [Result<AnswerEvent, AnswerError>; N],
) -> impl Stream<Item = Numbered> + Unpin + Send {
    tokio_stream::iter(events.map(|event| (0, event)))
}

const STREAM: ReplyOptions = ReplyOptions {
    stream: true,
    include_usage: true,
    include_split: false,
    echo: false,
};

fn started() -> AnswerEvent {
    AnswerEvent::Started(v1::Started {
        prompt_tokens: 5,
        reused_tokens: 3,
        context: 100,
    })
}

fn delta(text: &str) -> AnswerEvent {
    AnswerEvent::Delta(v1::Delta {
        text: text.to_owned(),
        token_ids: vec![1],
        ..v1::Delta::default()
    })
}

fn finished() -> AnswerEvent {
    AnswerEvent::Finished(v1::Finished {
        finish_reason: v1::FinishReason::Length.into(),
        prompt_tokens: 5,
        completion_tokens: 2,
        ..v1::Finished::default()
    })
}

fn usage() -> Value {
    json!({
        "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 3},
    })
}

async fn body(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The JSON of each event, and what is said last.
async fn events(response: Response) -> (Vec<Value>, String) {
    let body = body(response).await;
    let data = body.split_terminator("\n\n");
    let mut data: Vec<&str> = data.map(|e| e.strip_prefix("data: ").unwrap()).collect();
    let last = data.pop().unwrap().to_owned();
    let pieces = data.into_iter().map(|d| serde_json::from_str(d).unwrap());
    (pieces.collect(), last)
}

#[tokio::test]
async fn a_chat_streams_its_role_its_text_its_end_and_its_cost() {
    let all = [started(), delta("a"), delta(""), delta("b"), finished()];
    let stream = of_one(all.map(Ok));
    let response = pieces(stream, writer(Endpoint::Chat, STREAM))
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (pieces, last) = events(response).await;
    assert_eq!(last, "[DONE]");
    let choices: Vec<&Value> = pieces.iter().map(|p| &p["choices"]).collect();
    let choice = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
    assert_eq!(
        choices,
        [
            &choice(json!({"role": "assistant", "content": ""}), Value::Null),
            &choice(json!({"content": "a"}), Value::Null),
            &choice(json!({"content": "b"}), Value::Null),
            &choice(json!({}), json!("length")),
            &json!([]),
        ]
    );
    assert_eq!(pieces[4]["usage"], usage());
    for piece in &pieces {
        assert_eq!(piece["id"], pieces[0]["id"]);
        assert_eq!(piece["object"], "chat.completion.chunk");
        assert_eq!(
            (&piece["model"], &piece["system_fingerprint"]),
            (&json!("m"), &json!("fp_1"))
        );
    }
    assert_eq!(pieces[0].get("usage"), Some(&Value::Null));
}

#[tokio::test]
async fn a_completion_streams_text_and_no_usage_unless_asked() {
    let stream = of_one([started(), delta("a"), finished()].map(Ok));
    let wanted = ReplyOptions {
        include_usage: false,
        ..STREAM
    };
    let response = pieces(stream, writer(Endpoint::Completion, wanted)).await;
    let (pieces, last) = events(response.unwrap()).await;
    assert_eq!(last, "[DONE]");
    let texts: Vec<&Value> = pieces.iter().map(|p| &p["choices"][0]["text"]).collect();
    assert_eq!(texts, ["a", ""]);
    assert!(pieces.iter().all(|piece| piece.get("usage").is_none()));
}

#[tokio::test]
async fn a_whole_answer_is_one_object() {
    let stream = of_one([started(), delta("a"), delta("b"), finished()].map(Ok));
    let response = whole(stream, writer(Endpoint::Chat, ReplyOptions::default())).await;
    let answer: Value = serde_json::from_str(&body(response.unwrap()).await).unwrap();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["message"]["content"], "ab");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"], usage());
}

#[tokio::test]
async fn what_fails_at_once_has_a_status_and_what_fails_later_is_the_last_event() {
    let full = || Err(AllRunning { max: 1 }.into());
    let refused = pieces(of_one([full()]), writer(Endpoint::Chat, STREAM)).await;
    assert_eq!(refused.unwrap_err().into_response().status(), 429);
    let refused = whole(of_one([full()]), writer(Endpoint::Chat, STREAM)).await;
    assert_eq!(refused.unwrap_err().into_response().status(), 429);

    let away = CloudError::Lost {
        why: "broken pipe".to_owned(),
    };
    let stream = of_one([Ok(started()), Ok(delta("a")), Err(away.into())]);
    let response = pieces(stream, writer(Endpoint::Chat, STREAM))
        .await
        .unwrap();
    let (pieces, last) = events(response).await;
    assert_eq!(pieces.len(), 2);
    let error: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(error["error"]["code"], "cloud_unreachable");
}

#[tokio::test]
async fn an_answer_that_ends_before_its_end_is_a_failure() {
    let stream = of_one([Ok(started())]);
    let refused = whole(stream, writer(Endpoint::Chat, ReplyOptions::default())).await;
    assert_eq!(refused.unwrap_err().into_response().status(), 500);
    let stream = of_one([Ok(started())]);
    let response = pieces(stream, writer(Endpoint::Chat, STREAM))
        .await
        .unwrap();
    let (_, last) = events(response).await;
    assert!(last.contains("ended_early"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_long_prompts_client_is_told_that_the_answer_still_comes() {
    let (sender, events) = mpsc::channel(1);
    let prefill = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(32)).await;
        for event in [started(), finished()] {
            sender.send((0, Ok(event))).await.unwrap();
        }
    });
    let stream = ReceiverStream::new(events);
    let response = pieces(stream, writer(Endpoint::Completion, STREAM))
        .await
        .unwrap();
    let body = body(response).await;
    // The headers went after 5 s; comments at 15 s and 25 s.
    assert!(body.starts_with(":\n\n:\n\ndata: {"), "{body}");
    assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
    prefill.await.unwrap();
}

/// Two answers to one prompt, and their events side by side.
fn two() -> (Vec<Choice>, Vec<Numbered>) {
    let choice = || Choice::new(logprobs(), Splitter::new(), "x".into());
    let events = vec![
        (0, Ok(started())),
        (1, Ok(started())),
        (1, Ok(delta("b"))),
        (0, Ok(delta("a"))),
        (1, Ok(finished())),
        (0, Ok(finished())),
    ];
    (vec![choice(), choice()], events)
}

#[tokio::test]
async fn answers_to_one_prompt_have_their_numbers_and_cost_it_once() {
    let cost = json!({
        "prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 3},
    });
    let (choices, events_of_two) = two();
    let whole_writer = writer_of(Endpoint::Completion, ReplyOptions::default(), choices, 2);
    let response = whole(tokio_stream::iter(events_of_two), whole_writer).await;
    let answer: Value = serde_json::from_str(&body(response.unwrap()).await).unwrap();
    for (index, text) in [(0, "xa"), (1, "xb")] {
        assert_eq!(answer["choices"][index]["text"], text);
        assert_eq!(answer["choices"][index]["index"], index);
    }
    assert_eq!(answer["usage"], cost);

    let (choices, events_of_two) = two();
    let writer = writer_of(Endpoint::Completion, STREAM, choices, 2);
    let response = pieces(tokio_stream::iter(events_of_two), writer).await;
    let (pieces, last) = events(response.unwrap()).await;
    assert_eq!(last, "[DONE]");
    assert_eq!(pieces.last().unwrap()["usage"], cost);
    for (index, text) in [(0, "xa"), (1, "xb")] {
        let own = pieces.iter().map(|piece| &piece["choices"][0]);
        let own = own.filter(|choice| choice["index"] == index);
        let texts = own.filter_map(|choice| choice["text"].as_str());
        assert_eq!(texts.collect::<String>(), text);
    }
}

/// An answer that thinks, says and calls something.
fn parts(in_pieces: bool) -> Writer {
    let mut splitter = Splitter::new().with_reasoning(false).with_calls(Callable {
        format: CallFormat::Hermes,
        functions: Arc::new(["add".to_owned()].into()),
        only_one: false,
    });
    if in_pieces {
        splitter = splitter.in_pieces();
    }
    let choice = Choice::new(logprobs(), splitter, "".into());
    let options = ReplyOptions {
        stream: true,
        ..ReplyOptions::default()
    };
    writer_of(Endpoint::Chat, options, vec![choice], 1)
}

fn events_of_parts() -> impl Stream<Item = Numbered> + Unpin + Send {
    let ended = AnswerEvent::Finished(v1::Finished {
        finish_reason: v1::FinishReason::Stop.into(),
        ..v1::Finished::default()
    });
    of_one(
        [
            started(),
            delta("<think>so</think>I add. <tool_"),
            delta("call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>"),
            ended,
        ]
        .map(Ok),
    )
}

#[tokio::test]
async fn what_is_thought_said_and_called_have_fields_of_their_own() {
    let response = whole(events_of_parts(), parts(false)).await;
    let answer: Value = serde_json::from_str(&body(response.unwrap()).await).unwrap();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let message = &choice["message"];
    assert_eq!(message["reasoning_content"], "so");
    assert_eq!(message["content"], "I add.");
    let function = json!({"name": "add", "arguments": "{\"a\": 1}"});
    assert_eq!(message["tool_calls"][0]["function"], function);
    assert!(
        message["tool_calls"][0]["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("call_"))
    );

    let response = pieces(events_of_parts(), parts(true)).await;
    let (pieces, _) = events(response.unwrap()).await;
    let deltas: Vec<&Value> = pieces.iter().map(|p| &p["choices"][0]["delta"]).collect();
    let text = |name: &str| -> String { deltas.iter().filter_map(|d| d[name].as_str()).collect() };
    assert_eq!(
        (text("reasoning_content"), text("content")),
        ("so".to_owned(), "I add.".to_owned())
    );
    let calls: Vec<&Value> = deltas
        .iter()
        .filter_map(|d| d["tool_calls"].get(0))
        .collect();
    assert!(calls.len() > 1 && calls.iter().all(|call| call["index"] == 0));
    assert!(calls[0]["id"].is_string() && calls[1].get("id").is_none());
    assert_eq!(
        calls[0]["function"],
        json!({"name": "add", "arguments": ""})
    );
    let arguments = calls
        .iter()
        .filter_map(|call| call["function"]["arguments"].as_str());
    assert_eq!(arguments.collect::<String>(), "{\"a\": 1}");
    assert_eq!(
        pieces.last().unwrap()["choices"][0]["finish_reason"],
        "tool_calls"
    );
}
