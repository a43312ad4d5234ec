//! Answers that have to be JSON of a schema, or what a regular expression matches: they are, whatever happens to them.

use serde_json::{Value, json};
use tandem_proto::v1::{self, SamplingParameters, constraint::Form};
use tandem_tests::client::{Answer, Client, assert_refused, greedy_parameters, text_request};
use tandem_tests::link::{Cut, LinkProfile};
use tandem_tests::paths::default_model;
use tandem_tests::process::{Pair, PairOptions, ServerOptions};
use tonic::Code;

async fn pair(edge: &str, cloud: &str) -> (Pair, Client) {
    let options = PairOptions::default()
        .link(LinkProfile::unshaped())
        .edge(ServerOptions::default().config(edge))
        .cloud(ServerOptions::default().config(cloud));
    let pair = Pair::start(&default_model(), 10, options).await.unwrap();
    let client = Client::connect(&pair.edge.url()).await.unwrap();
    (pair, client)
}

/// People, three of them at most.
fn people() -> Form {
    let person = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "likes": {"enum": ["tea", "coffee", "neither"]},
        },
        "required": ["name", "age", "likes"],
        "additionalProperties": false,
    });
    let schema = json!({"type": "array", "items": person, "minItems": 2, "maxItems": 3});
    Form::JsonSchema(schema.to_string())
}

fn request(form: Form) -> v1::GenerateRequest {
    v1::GenerateRequest {
        constraint: Some(v1::Constraint { form: Some(form) }),
        ..text_request("Some people in JSON:\n", 300)
    }
}

/// Everything that a token depends on besides.
fn demanding(seed: u64) -> v1::GenerateRequest {
    v1::GenerateRequest {
        sampling: Some(SamplingParameters {
            temperature: Some(1.0),
            seed: Some(seed),
            repetition_penalty: Some(1.1),
            frequency_penalty: Some(0.2),
            logprobs: Some(1),
            ..greedy_parameters()
        }),
        ..request(people())
    }
}

/// Holds that an answer is people, and has ended by itself.
fn assert_people(answer: &Answer) {
    assert_eq!(
        answer.finished.finish_reason(),
        v1::FinishReason::Stop,
        "{}",
        answer.text()
    );
    let text = answer.text();
    let people: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    assert!((2..=3).contains(&people.len()), "{text}");
    for person in people {
        let fields: Vec<&String> = person.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["name", "age", "likes"], "{text}");
        assert!(
            person["name"].as_str().unwrap().chars().count() <= 12,
            "{text}"
        );
        assert!(person["age"].as_u64().unwrap() <= 150, "{text}");
        let likes = person["likes"].as_str().unwrap();
        assert!(["tea", "coffee", "neither"].contains(&likes), "{text}");
    }
}

#[tokio::test]
async fn answers_keep_a_schema_in_any_company_and_are_the_same_as_alone() {
    let (pair, client) = pair("", "").await;
    let mut alone = Vec::new();
    for seed in 0..4 {
        let answer = client.generate(demanding(seed)).await.unwrap();
        assert_people(&answer);
        assert_eq!(answer.logprobs.len(), answer.ids.len());
        alone.push(answer.ids);
    }
    let asking = (0..4).map(|seed| {
        let client = client.clone();
        tokio::spawn(async move { client.generate(demanding(seed)).await })
    });
    let asking: Vec<_> = asking.collect();
    // And one that is free to say anything.
    let free = client
        .generate(text_request("Once upon a time", 40))
        .await
        .unwrap();
    assert_eq!(free.ids.len(), 40);
    for (asking, alone) in asking.into_iter().zip(alone) {
        assert_eq!(asking.await.unwrap().unwrap().ids, alone);
    }
    let metrics = pair.cloud.metrics().await.unwrap();
    let answers = metrics.sum_with(
        "tandem_cloud_constrained_answers_total",
        &[("form", "json_schema")],
    );
    assert_eq!(answers, 8.0);
    assert_eq!(
        metrics.sum("tandem_cloud_constraint_compile_seconds_count"),
        8.0
    );
}

#[tokio::test]
async fn drafts_change_no_token_of_an_answer_that_keeps_something() {
    let (_on, drafting) = pair("drafts: {max: 8}", "").await;
    let (_off, plain) = pair("drafts: {max: 0}", "").await;
    let mut sent = 0;
    for request in [request(people()), demanding(7), demanding(8)] {
        let drafted = drafting.generate(request.clone()).await.unwrap();
        let expected = plain.generate(request).await.unwrap();
        assert_people(&drafted);
        assert_eq!(drafted.ids, expected.ids);
        sent += drafted.finished.drafts.unwrap_or_default().sent;
    }
    assert!(sent > 0, "nothing was drafted");
}

#[tokio::test]
async fn an_answer_goes_on_keeping_it_where_another_session_takes_over() {
    let (pair, client) = pair("", "sessions: {lease: 0s}").await;
    let alone = client.generate(demanding(3)).await.unwrap();
    assert_people(&alone);
    let mut raw = client.clone();
    let mut stream = raw.raw().generate(demanding(3)).await.unwrap().into_inner();
    let (mut ids, mut finished) = (Vec::new(), None);
    while let Some(response) = stream.message().await.unwrap() {
        use v1::generate_response::Event;
        match response.event {
            Some(Event::Delta(delta)) => {
                ids.extend(delta.token_ids);
                if [5, 20].contains(&ids.len()) {
                    pair.link().drop_connections(Cut::Reset);
                }
            }
            Some(Event::Finished(end)) => finished = Some(end),
            Some(Event::Started(_) | Event::Step(_)) | None => {}
        }
    }
    assert_eq!(ids, alone.ids);
    let finished = finished.unwrap();
    assert!(finished.replays >= 1 && finished.exact, "{finished:?}");
}

#[tokio::test]
async fn a_regular_expression_and_a_grammar_are_kept_too() {
    let (_pair, client) = pair("", "").await;
    let dates = Form::Regex("20[0-9]{2}-[01][0-9]-[0-3][0-9]".to_owned());
    let answer = client.generate(request(dates)).await.unwrap();
    let text = answer.text();
    assert!(
        text.len() == 10 && text.starts_with("20") && text.as_bytes()[4] == b'-',
        "{text}"
    );
    assert_eq!(answer.finished.finish_reason(), v1::FinishReason::Stop);
    let sum = "start: NUMBER (\" + \" NUMBER){2}\nNUMBER: /[1-9][0-9]?/";
    let answer = client
        .generate(request(Form::Grammar(sum.to_owned())))
        .await
        .unwrap();
    assert_eq!(
        answer
            .text()
            .split(" + ")
            .filter(|n| n.parse::<u8>().is_ok())
            .count(),
        3
    );
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_with_the_reason_and_costs_nothing_else() {
    let (_pair, client) = pair("", "limits: {constraint: 1KiB}").await;
    let refused = async |request: v1::GenerateRequest, said: &str| {
        let error = client.generate(request).await.unwrap_err();
        let message = error.message().to_owned();
        assert_refused::<Answer>(Err(error), Code::InvalidArgument, "CONSTRAINT");
        assert!(message.contains(said), "{message}");
    };
    refused(request(Form::JsonSchema("{".to_owned())), "it is no JSON").await;
    let format = json!({"type": "string", "format": "unheard-of"}).to_string();
    refused(request(Form::JsonSchema(format)), "unheard-of").await;
    refused(request(Form::Regex("a(b".to_owned())), "constraint: ").await;
    refused(request(Form::Regex("a".repeat(1025))), "may have 1024").await;
    let mut endless = request(people());
    endless.sampling.as_mut().unwrap().ignore_eos = true;
    refused(endless, "ignore_eos").await;
    let formless = v1::GenerateRequest {
        constraint: Some(v1::Constraint { form: None }),
        ..text_request("x", 1)
    };
    refused(formless, "no known form").await;
    let answer = client.generate(request(people())).await.unwrap();
    assert_people(&answer);
}

#[tokio::test]
async fn a_cloud_that_serves_none_is_not_asked_for_any() {
    let (_pair, client) = pair("", "limits: {constraint: 0B}").await;
    let error = client.generate(request(people())).await.unwrap_err();
    assert!(
        error.message().contains("the cloud serves no answers"),
        "{}",
        error.message()
    );
    assert_refused::<Answer>(Err(error), Code::InvalidArgument, "CONSTRAINT");
    let free = client.generate(text_request("Once", 5)).await.unwrap();
    assert_eq!(free.ids.len(), 5);
}
