//! OpenBookQA, `openbookqa/openbookqa.yaml`.

use super::lettered::Lettered;
use crate::task::item::Item;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Record {
    question_stem: String,
    choices: Lettered,
    #[serde(rename = "answerKey")]
    answer_key: String,
}

impl super::Record for Record {
    const EXPECTED: &'static str =
        "an object with `question_stem`, `choices` of `text` and `label`, and `answerKey`";

    /// The stem as it is, then a choice that ends it.
    fn item(self, _: Option<usize>) -> Result<Item, String> {
        let gold = self.choices.place(self.answer_key.trim_start())?;
        Ok(Item::new(&self.question_stem, &self.choices.text, gold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::formats::item;
    use crate::task::name::TaskName;

    #[test]
    fn a_choice_ends_the_stem() {
        let line = r#"{"question_stem": "Snow is made of", "answerKey": " B",
            "choices": {"text": ["sand", "frozen water"], "label": ["A", "B"]}}"#;
        let found = item(TaskName::Openbookqa, line, None).unwrap();
        assert_eq!(
            found,
            Item::new("Snow is made of", &["sand", "frozen water"], 1)
        );
        assert_eq!(found.choices[1].continuation, " frozen water");
        assert_eq!(found.choices[1].characters, 12);
    }
}
