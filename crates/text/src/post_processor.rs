//! The part of a `tokenizer.json` that puts special tokens around a text.
//!
//! The tokenizers library looks a special token of a template up in the template's own table when it encodes, and
//! panics where it is not there. So tables are checked when the file is loaded.

use serde::Deserialize;
use serde_json::Value;

/// What of a `tokenizer.json` is looked at. The rest, megabytes, is not read.
#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    post_processor: Value,
}

/// A special token that a template names and its table does not have.
///
/// # Errors
/// The text is not JSON.
pub(crate) fn missing_token(tokenizer_json: &str) -> serde_json::Result<Option<String>> {
    let shape: Shape = serde_json::from_str(tokenizer_json)?;
    Ok(missing(&shape.post_processor))
}

/// serde_json bounds the nesting, and with it the recursion.
fn missing(processor: &Value) -> Option<String> {
    if let Some(list) = processor["processors"].as_array() {
        return list.iter().find_map(missing);
    }
    let table = &processor["special_tokens"];
    let has = |id: &str| match table {
        // Both forms are read: by id, and as a list.
        Value::Array(list) => list.iter().any(|token| token["id"] == id),
        table => table.get(id).is_some(),
    };
    let templates = ["single", "pair"].map(|template| named(&processor[template]));
    templates.into_iter().flatten().find(|id| !has(id))
}

/// The special tokens that a template names.
fn named(template: &Value) -> Vec<String> {
    match template {
        // `[CLS] $A:0 [SEP]`, as a text or as a list of its parts.
        Value::String(text) => text.split(' ').filter_map(named_by_text).collect(),
        Value::Array(pieces) => pieces.iter().filter_map(named_by_piece).collect(),
        _ => Vec::new(),
    }
}

fn named_by_piece(piece: &Value) -> Option<String> {
    match piece {
        Value::String(text) => named_by_text(text),
        piece => piece["SpecialToken"]["id"].as_str().map(str::to_owned),
    }
}

fn named_by_text(piece: &str) -> Option<String> {
    let is_token = !piece.is_empty() && !piece.starts_with('$');
    // Behind a colon stands the number of a type.
    is_token.then(|| piece.split(':').next().unwrap_or(piece).to_owned())
}

#[cfg(test)]
mod tests {
    use super::missing_token;

    #[test]
    fn a_template_names_tokens_of_its_table() {
        let said = |processor: &str| {
            missing_token(&format!(
                r#"{{"model": {{}}, "post_processor": {processor}}}"#
            ))
            .unwrap()
        };
        let template = r#"{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}}], "pair": "$A:0 </s>:1 $B",
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}"#;
        assert_eq!(said(template).as_deref(), Some("</s>"));
        assert_eq!(said(&template.replace("</s>", "<s>")), None);
        let sequence = format!(
            r#"{{"type": "Sequence", "processors": [{{"type": "ByteLevel"}}, {template}]}}"#
        );
        assert_eq!(said(&sequence).as_deref(), Some("</s>"));
        assert_eq!(said("null"), None);
        assert_eq!(said(r#"{"type": "ByteLevel"}"#), None);
        assert_eq!(missing_token("{}").unwrap(), None);
    }
}
