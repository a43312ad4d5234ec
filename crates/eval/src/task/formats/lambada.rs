//! LAMBADA, `lambada/lambada_openai.yaml`.

use crate::task::item::Item;
use serde::Deserialize;

/// A passage, whole or with its last word apart.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Record {
    Parted {
        context: String,
        continuation: String,
    },
    Whole {
        text: String,
    },
}

impl super::Record for Record {
    const EXPECTED: &'static str = "an object with `context` and `continuation`, or with `text`";

    /// The passage up to its last space, then what is behind it: the only choice, right where a
    /// greedy answer would be the same.
    fn item(self, _: Option<usize>) -> Result<Item, String> {
        match self {
            Self::Parted {
                context,
                continuation,
            } => Ok(Item::new(&context, &[continuation], 0)),
            Self::Whole { text } => {
                let parts = text.rsplit_once(' ').ok_or("the text has one word only")?;
                Ok(Item::new(parts.0, &[parts.1], 0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::formats::item;
    use crate::task::name::TaskName;

    #[test]
    fn the_last_word_is_the_only_choice() {
        let parted = r#"{"context": "Mia lost her hat. \"Where,\" she said, \"is my",
            "continuation": "hat"}"#;
        let whole = r#"{"text": "Mia lost her hat. \"Where,\" she said, \"is my hat"}"#;
        let found = item(TaskName::Lambada, parted, None).unwrap();
        let context = "Mia lost her hat. \"Where,\" she said, \"is my";
        assert_eq!(found, Item::new(context, &["hat"], 0));
        assert_eq!(found.choices[0].continuation, " hat");
        assert_eq!(item(TaskName::Lambada, whole, None).unwrap(), found);
        assert!(item(TaskName::Lambada, r#"{"text": "hat"}"#, None).is_err());
    }
}
