//! ARC, `arc/arc_easy.yaml` and `arc_challenge.yaml`.

use super::lettered::Lettered;
use crate::task::item::Item;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    question: String,
    choices: Lettered,
    answer_key: String,
}

impl super::Record for Record {
    const EXPECTED: &'static str =
        "an object with `question`, `choices` of `text` and `label`, and `answerKey`";

    /// The question, then a choice's text as its answer; the letters are not shown.
    fn item(self, _: Option<usize>) -> Result<Item, String> {
        let context = format!("Question: {}\nAnswer:", self.question);
        let gold = self.choices.place(&self.answer_key)?;
        Ok(Item::new(&context, &self.choices.text, gold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::formats::item;
    use crate::task::name::TaskName;

    #[test]
    fn a_choice_answers_the_question() {
        let line = r#"{"question": "What do bees make?", "answerKey": "2",
            "choices": {"text": ["milk", "honey"], "label": ["1", "2"]}}"#;
        for task in [TaskName::Arc, TaskName::ArcEasy, TaskName::ArcChallenge] {
            let found = item(task, line, None).unwrap();
            let context = "Question: What do bees make?\nAnswer:";
            assert_eq!(found, Item::new(context, &["milk", "honey"], 1));
            assert_eq!(found.choices[1].continuation, " honey");
        }
        let unknown = line.replace("\"2\",", "\"C\",");
        assert!(
            item(TaskName::Arc, &unknown, None)
                .unwrap_err()
                .contains("\"C\"")
        );
    }
}
