//! What an answer can be held to: a JSON schema, a regular expression, or a grammar.

use crate::error::FormError;
use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};

/// How deep brackets may be within brackets: those who compile them call themselves as deep.
const DEEPEST: usize = 100;

/// White space where JSON allows it, as people write it: a blank, or a new line and what it is indented by. Without a bound,
/// a model that has nothing to say writes nothing else.
pub const WHITE_SPACE: &str = r"[ ]|\n[ \t]{0,40}";

/// What an answer is to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Form {
    /// A JSON text that a JSON schema allows.
    JsonSchema(String),
    /// A text that a regular expression matches from its beginning to its end.
    Regex(String),
    /// A text of a grammar in llguidance's form of Lark, from its rule `start` on.
    Grammar(String),
}

impl Form {
    /// How it is written.
    pub fn text(&self) -> &str {
        match self {
            Self::JsonSchema(text) | Self::Regex(text) | Self::Grammar(text) => text,
        }
    }

    /// What llguidance compiles.
    pub(crate) fn grammar(&self) -> Result<TopLevelGrammar, FormError> {
        check_depth(self.text())?;
        match self {
            Self::JsonSchema(text) => {
                let schema: Value = serde_json::from_str(text)
                    .map_err(|error| FormError::Refused(format!("it is no JSON: {error}")))?;
                Ok(TopLevelGrammar::from_json_schema(with_white_space(schema)))
            }
            Self::Regex(text) => Ok(TopLevelGrammar::from_regex(text)),
            Self::Grammar(text) => Ok(TopLevelGrammar::from_lark(text.clone())),
        }
    }
}

/// The schema with our white space, where it does not say how JSON is to be written.
fn with_white_space(mut schema: Value) -> Value {
    const OPTIONS: &str = "x-guidance";
    match &mut schema {
        Value::Object(fields) => {
            fields
                .entry(OPTIONS)
                .or_insert_with(|| json!({"whitespace_pattern": WHITE_SPACE}));
            schema
        }
        // `true` is every JSON text; `false` is refused where it is compiled.
        Value::Bool(true) => with_white_space(json!({})),
        _ => schema,
    }
}

fn check_depth(text: &str) -> Result<(), FormError> {
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(FormError::TooDeep { most: DEEPEST });
        }
    }
    Ok(())
}
