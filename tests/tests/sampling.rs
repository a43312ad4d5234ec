//! Sampling parameters from the client to the sampler in the cloud and back.

use tandem_proto::v1::{self, SamplingParameters};
use tandem_tests::client::{Client, assert_refused, greedy_parameters, ids_request, text_request};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Pair, PairOptions, ServerOptions};
use tonic::Code;
use tonic_types::StatusExt as _;

fn sampled(seed: Option<u64>) -> SamplingParameters {
    SamplingParameters {
        temperature: Some(1.0),
        top_p: Some(0.95),
        top_k: Some(100),
        seed,
        ..greedy_parameters()
    }
}

#[tokio::test]
async fn parameters_do_what_they_say() {
    // The ids of drafts would go up as well.
    let edge = ServerOptions::default().args(["--drafts", "0"]);
    let options = PairOptions::default().edge(edge);
    let pair = Pair::start(&default_model(), 10, options).await.unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let with = |sampling: SamplingParameters, max_tokens| {
        let mut request = text_request("Once upon a time", max_tokens);
        request.sampling = Some(sampling);
        client.generate(request)
    };

    let first = with(sampled(Some(7)), 16).await.unwrap();
    let second = with(sampled(Some(7)), 16).await.unwrap();
    assert_eq!(first.ids, second.ids, "the same seed gives the same text");
    let other = with(sampled(Some(8)), 16).await.unwrap();
    assert_ne!(first.ids, other.ids);
    let drawn = with(sampled(None), 16).await.unwrap();
    let again = with(sampled(Some(drawn.finished.seed)), 16).await.unwrap();
    assert_eq!(drawn.ids, again.ids, "a drawn seed is reported");

    let greedy = with(greedy_parameters(), 12).await.unwrap();
    assert_eq!(greedy.finished.finish_reason(), v1::FinishReason::Length);
    assert_eq!(greedy.finished.completion_tokens, 12);

    let logprobs = SamplingParameters {
        logprobs: Some(3),
        ..greedy_parameters()
    };
    let told = with(logprobs, 12).await.unwrap();
    assert_eq!(told.ids, greedy.ids);
    for (id, logprobs) in told.ids.iter().zip(&told.logprobs) {
        assert_eq!(logprobs.top.len(), 3);
        assert_eq!(
            logprobs.top[0].token_id, *id,
            "greedy takes the most likely"
        );
        assert_eq!(logprobs.top[0].logprob, logprobs.logprob);
        assert!(logprobs.logprob <= 0.0);
    }

    let biased = SamplingParameters {
        logit_bias: vec![v1::LogitBias {
            token_id: 1234,
            bias: 100.0,
        }],
        ..greedy_parameters()
    };
    assert_eq!(with(biased, 3).await.unwrap().ids, [1234, 1234, 1234]);

    let penalised = SamplingParameters {
        repetition_penalty: Some(5.0),
        ..greedy_parameters()
    };
    let varied = with(penalised, 60).await.unwrap();
    let plain = with(greedy_parameters(), 60).await.unwrap();
    assert!(repeats(&varied.ids) * 4 < repeats(&plain.ids));
    assert!(
        varied.wire().token_id_bytes > 0,
        "penalties need ids in the cloud"
    );
    assert_eq!(plain.wire().token_id_bytes, 0, "and nothing else does");
}

fn repeats(ids: &[u32]) -> usize {
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    ids.len() - distinct.len()
}

#[tokio::test]
async fn stop_strings_end_an_answer_and_never_leak() {
    let pair = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let prompt = "The history of the Roman Empire begins with";
    for (stop, expected) in [
        ("753 BCE by", " the founding of Rome in "),
        ("mulus Au", " the founding of Rome in 753 BCE by Ro"),
    ] {
        let mut request = text_request(prompt, 40);
        request.stop = vec!["never said".to_owned(), stop.to_owned()];
        let answer = client.generate(request).await.unwrap();
        assert_eq!(answer.text(), expected);
        assert_eq!(answer.finished.stop, stop);
        assert_eq!(answer.finished.finish_reason(), v1::FinishReason::Stop);
    }
    // The session is usable after a stop that the front had run ahead of.
    let onward = format!("{prompt} the founding of Rome in 753 BCE by");
    let answer = client.generate(text_request(&onward, 8)).await.unwrap();
    assert!(
        answer.started.reused_tokens > 10,
        "{}",
        answer.started.reused_tokens
    );
    assert!(
        answer.text().starts_with(" Romulus Augustus."),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn impossible_parameters_are_refused_with_their_fields() {
    let pair = Pair::start(&default_model(), 10, PairOptions::default())
        .await
        .unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    let mut request = ids_request(&[1], 4);
    request.sampling = Some(SamplingParameters {
        temperature: Some(-1.0),
        top_p: Some(f32::NAN),
        logit_bias: vec![v1::LogitBias {
            token_id: 1 << 30,
            bias: 1.0,
        }],
        ..greedy_parameters()
    });
    let status = client.generate(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_details_bad_request().unwrap();
    let fields: Vec<&str> = details
        .field_violations
        .iter()
        .map(|v| v.field.as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "sampling.temperature",
            "sampling.top_p",
            "sampling.logit_bias[0].token_id"
        ]
    );
    assert_refused(
        client.greedy(&[1], 0).await,
        Code::InvalidArgument,
        "MAX_TOKENS",
    );
    assert_refused(client.greedy(&[], 1).await, Code::InvalidArgument, "PROMPT");
    assert_refused(
        client.greedy(&[1 << 20], 1).await,
        Code::InvalidArgument,
        "TOKEN_ID",
    );
    let mut request = text_request("x", 4);
    request.stop = vec![String::new()];
    assert_refused(
        client.generate(request).await,
        Code::InvalidArgument,
        "STOP",
    );
}
