//! The text of an answer, and what ends it.

use crate::asking::{LocalEdge, PROMPT, cloud, expected, request, text_of};
use tandem_in_process::{demanding, model_directory};
use tandem_proto::v1::{FinishReason, LogitBias, SamplingParameters};
use tandem_text::Tokenizer;

#[tokio::test]
async fn each_token_is_streamed_with_its_text() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let answer = edge.answer(request(&PROMPT, 12)).await;
    let expected = expected(&PROMPT, 12);
    assert_eq!(answer.tokens, expected);
    assert_eq!(answer.pieces.len(), 12);
    assert_eq!(answer.text(), text_of(&PROMPT, &expected));
    let started = answer.started.as_ref().unwrap();
    let begun = (
        started.prompt_tokens,
        started.reused_tokens,
        started.context,
    );
    assert_eq!(begun, (5, 0, 256));
    let finished = answer.finished();
    assert_eq!(finished.finish_reason(), FinishReason::Length);
    assert_eq!(
        (finished.prompt_tokens, finished.completion_tokens),
        (5, 12)
    );
    assert_eq!(finished.replays, 0);
    // The row of the last token does not go up, nor do those of tokens that were drafted.
    let drafts = finished.drafts.unwrap();
    let rows = 5 + 11 - drafts.accepted + drafts.sent;
    assert_eq!(finished.wire.as_ref().unwrap().rows, rows);
}

#[tokio::test]
async fn a_stop_string_ends_an_answer_and_nothing_of_it_is_streamed() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let tokens = expected(&PROMPT, 30);
    let text = text_of(&PROMPT, &tokens);
    let characters: Vec<char> = text.chars().collect();
    // One that no earlier text has, of as many characters as that takes.
    let (begins, stop) = (3..8)
        .map(|length| {
            let from = characters.len() / 2;
            characters[from..from + length].iter().collect::<String>()
        })
        .map(|stop| (text.find(&stop).unwrap(), stop))
        .max()
        .unwrap();
    let mut request = request(&PROMPT, 200);
    request.terms.stop = vec!["nowhere to be found".to_owned(), stop.clone()];
    let answer = edge.answer(request).await;
    assert_eq!(answer.text(), text[..begins]);
    let finished = answer.finished();
    assert_eq!(finished.finish_reason(), FinishReason::Stop);
    assert_eq!(finished.stop, stop);
    assert!((finished.completion_tokens as usize) < tokens.len() + 1);
    assert_eq!(answer.tokens, tokens[..answer.tokens.len()]);
    // The cloud, which knows no text, is told.
    cloud.rests().await;
}

#[tokio::test]
async fn a_beginning_of_a_stop_string_comes_with_the_last_token() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let text = text_of(&PROMPT, &expected(&PROMPT, 6));
    let mut request = request(&PROMPT, 6);
    // All of the text could be its beginning.
    request.terms.stop = vec![format!("{text}!")];
    let answer = edge.answer(request).await;
    assert_eq!(answer.text(), text);
    assert_eq!(answer.pieces[..5].concat(), "");
    assert_eq!(answer.finished().finish_reason(), FinishReason::Length);
}

#[tokio::test]
async fn the_models_own_end_is_no_text() {
    let cloud = cloud().await;
    let edge = LocalEdge::of(&cloud).await;
    let tokenizer = Tokenizer::load(&model_directory()).unwrap();
    let end = tokenizer.eos_token_ids()[0];
    let mut request = request(&PROMPT, 12);
    request.terms.sampling = Some(SamplingParameters {
        ignore_eos: false,
        logit_bias: vec![LogitBias {
            token_id: end,
            bias: 100.0,
        }],
        ..demanding()
    });
    let answer = edge.answer(request).await;
    assert_eq!(
        (answer.tokens.as_slice(), answer.text()),
        (&[end][..], String::new())
    );
    assert_eq!(answer.finished().finish_reason(), FinishReason::Stop);
    assert_eq!(answer.finished().stop, "");
}
