use super::*;
use crate::openai::logprobs::Logprobs;
use crate::openai::reply::Origin;
use crate::openai::request::{Endpoint, ReplyOptions};
use axum::body::to_bytes;
use serde_json::{Value, json};
use tandem_client::{AllRunning, CloudError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

fn writer(endpoint: Endpoint, options: ReplyOptions) -> Writer {
    let origin = Origin {
        model: "m".into(),
        fingerprint: "fp_1".into(),
    };
    Writer::new(
        endpoint,
        options,
        &origin,
        Logprobs::new(|id| id.to_string()),
    )
}

const STREAM: ReplyOptions = ReplyOptions {
    stream: true,
    include_usage: true,
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
        logprobs: Vec::new(),
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
    let stream = tokio_stream::iter(all.map(Ok));
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
    let stream = tokio_stream::iter([started(), delta("a"), finished()].map(Ok));
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
    let stream = tokio_stream::iter([started(), delta("a"), delta("b"), finished()].map(Ok));
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
    let refused = pieces(tokio_stream::iter([full()]), writer(Endpoint::Chat, STREAM)).await;
    assert_eq!(refused.unwrap_err().into_response().status(), 429);
    let refused = whole(tokio_stream::iter([full()]), writer(Endpoint::Chat, STREAM)).await;
    assert_eq!(refused.unwrap_err().into_response().status(), 429);

    let away = CloudError::Lost {
        why: "broken pipe".to_owned(),
    };
    let stream = tokio_stream::iter([Ok(started()), Ok(delta("a")), Err(away.into())]);
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
    let stream = tokio_stream::iter([Ok(started())]);
    let refused = whole(stream, writer(Endpoint::Chat, ReplyOptions::default())).await;
    assert_eq!(refused.unwrap_err().into_response().status(), 500);
    let stream = tokio_stream::iter([Ok(started())]);
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
            sender.send(Ok(event)).await.unwrap();
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
