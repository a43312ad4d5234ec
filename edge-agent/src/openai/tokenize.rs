//! Text and conversations to token ids and back, in the form of vLLM's calls.

use super::Api;
use super::body::JsonBody;
use super::error::Failure;
use super::fields::{Fields, PassedOver};
use super::request::{conversation, refuse_everywhere, refuse_of_conversations};
use crate::error::RequestError;
use crate::forms::Functions;
use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;

/// `POST /tokenize`
pub(super) async fn tokenize(
    State(api): State<Arc<Api>>,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    let mut passed_over = PassedOver::new(api.unknown_fields);
    let mut fields = Fields::of_body(&body)?;
    api.check_named_model(&mut fields)?;
    refuse_everywhere(&mut fields)?;
    let with_texts = fields.take("return_token_strs")?.unwrap_or(false);
    let edge = &api.service.edge;
    let ids = match fields.take::<String>("prompt")? {
        Some(text) => {
            let special_tokens = fields.take("add_special_tokens")?.unwrap_or(true);
            fields.end(&mut passed_over)?;
            edge.text_ids_with(text, special_tokens).await?
        }
        None => {
            let conversation =
                conversation(&mut fields, &mut Functions::default(), &mut passed_over)?;
            refuse_of_conversations(&mut fields)?;
            let off = |value: &serde_json::Value| value == false;
            fields.only(
                "add_special_tokens",
                off,
                "must be false: the template writes them",
            )?;
            fields.end(&mut passed_over)?;
            edge.prompt_of(conversation).await?.ids
        }
    };
    let texts = if with_texts {
        Some(edge.prompts.of_each(ids.clone()).await?)
    } else {
        None
    };
    Ok(api.reply(
        &json!({
            "count": ids.len(),
            "max_model_len": edge.client().most_positions(),
            "tokens": ids,
            "token_strs": texts,
        }),
        &passed_over.into_paths(),
    ))
}

/// `POST /detokenize`
pub(super) async fn detokenize(
    State(api): State<Arc<Api>>,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    let mut passed_over = PassedOver::new(api.unknown_fields);
    let mut fields = Fields::of_body(&body)?;
    api.check_named_model(&mut fields)?;
    let ids: Vec<u32> = fields.require("tokens")?;
    fields.end(&mut passed_over)?;
    let edge = &api.service.edge;
    edge.check_ids(&ids)
        .map_err(|error| fields_of("tokens", error))?;
    let text = edge.text_of(ids, true).await?;
    Ok(api.reply(&json!({"prompt": text}), &passed_over.into_paths()))
}

/// What is wrong with ids, at the field that has them here.
fn fields_of(path: &str, error: RequestError) -> RequestError {
    match error {
        RequestError::TokenId { id, vocabulary } => {
            let why = format!("{id} is outside the vocabulary of {vocabulary}");
            RequestError::field(path, why)
        }
        RequestError::PromptTooLong { problem, .. } => RequestError::field(path, problem),
        other => other,
    }
}
