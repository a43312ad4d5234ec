//! HellaSwag, `hellaswag/hellaswag.yaml` and `utils.py`.

use super::Label;
use crate::task::item::Item;
use serde::Deserialize;

/// A line as the data set has it, or with its texts already in the harness's form.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Record {
    Original {
        activity_label: String,
        ctx_a: String,
        ctx_b: String,
        endings: Vec<String>,
        label: Label,
    },
    Prepared {
        query: String,
        choices: Vec<String>,
        gold: usize,
    },
}

impl super::Record for Record {
    const EXPECTED: &'static str = "an object with `activity_label`, `ctx_a`, `ctx_b`, `endings` and \
                                    `label`, or with `query`, `choices` and `gold`";

    /// The activity, a colon, both parts of the context with the second one's first letter as a
    /// capital and the others small; then an ending.
    fn item(self, _: Option<usize>) -> Result<Item, String> {
        match self {
            Self::Original {
                activity_label,
                ctx_a,
                ctx_b,
                endings,
                label,
            } => {
                let context = format!("{activity_label}: {ctx_a} {}", capitalised(&ctx_b));
                let endings: Vec<_> = endings.iter().map(|e| clean(e)).collect();
                Ok(Item::new(&clean(&context), &endings, label.value()?))
            }
            Self::Prepared {
                query,
                choices,
                gold,
            } => Ok(Item::new(&query, &choices, gold)),
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().into_iter().flat_map(char::to_uppercase);
    first.collect::<String>() + &rest.as_str().to_lowercase()
}

/// Takes out what WikiHow's pages have left: marks in brackets, and the double spaces behind them.
/// A heading's mark becomes a full stop.
fn clean(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    without_brackets(&text).replace("  ", " ")
}

/// Without `[…]` that ends on its line.
fn without_brackets(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('[') {
        kept.push_str(before);
        match behind.find([']', '\n']) {
            Some(end) if behind[end..].starts_with(']') => rest = &behind[end + 1..],
            _ => {
                kept.push('[');
                rest = behind;
            }
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::formats::item;
    use crate::task::name::TaskName;

    #[test]
    fn an_ending_stands_behind_activity_and_context() {
        let line = r#"{"activity_label": "Baking bread", "ctx_a": "A woman kneads dough.",
            "ctx_b": "the Dough", "endings": ["rises.", "[substeps] sings  a song."],
            "label": "0", "ind": 7}"#;
        let item = item(TaskName::Hellaswag, line, None).unwrap();
        let [first, second] = &item.choices[..] else {
            panic!("{item:?}")
        };
        assert_eq!(
            first.context,
            "Baking bread: A woman kneads dough. The dough"
        );
        assert_eq!(first.continuation, " rises.");
        assert_eq!(first.characters, 6);
        // The mark goes, the space behind it stays.
        assert_eq!(second.continuation, "  sings a song.");
        assert_eq!(item.gold, 0);
    }

    #[test]
    fn prepared_texts_are_left_as_they_are() {
        let line = r#"{"query": "Baking: [a]  b", "choices": ["c", "d"], "gold": 1}"#;
        let found = item(TaskName::Hellaswag, line, None).unwrap();
        assert_eq!(found, Item::new("Baking: [a]  b", &["c", "d"], 1));
    }

    #[test]
    fn marks_in_brackets_are_taken_out() {
        assert_eq!(
            clean(" How to sing [title] Breathe. [step] Stand up. "),
            "How to sing. Breathe. Stand up."
        );
        assert_eq!(clean("a [b] [c]d"), "a d");
        assert_eq!(clean("a [b\n] [c]d ["), "a [b\n] d [");
        assert_eq!(clean("a [b [c] d]"), "a d]");
        assert_eq!(capitalised("éTé ß"), "Été ß");
        assert_eq!(capitalised(""), "");
    }
}
