//! WinoGrande, `winogrande/default.yaml` and `preprocess_winogrande.py`.

use super::Label;
use crate::task::item::{Choice, Item};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Record {
    sentence: String,
    option1: String,
    option2: String,
    answer: Label,
}

impl super::Record for Record {
    const EXPECTED: &'static str = "an object with `sentence`, in which _ is the blank, `option1`, \
                                    `option2`, and `answer`, 1 or 2";

    /// An option fills the blank, and the end of the sentence, the same for both, is scored behind
    /// it (partial evaluation, Trinh and Le 2018).
    fn item(self, _: Option<usize>) -> Result<Item, String> {
        let blank = self.sentence.split_once('_');
        let (before, behind) = blank.ok_or("the sentence has no _")?;
        let gold = match self.answer.value()? {
            number @ 1..=2 => number - 1,
            number => return Err(format!("the answer is {number}, not 1 or 2")),
        };
        let options = [self.option1, self.option2];
        let choices = options.map(|o| Choice::new(&format!("{before}{o}"), behind.trim()));
        Ok(Item {
            choices: choices.into(),
            gold,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::task::formats::item;
    use crate::task::item::{Choice, Item};
    use crate::task::name::TaskName;

    #[test]
    fn the_end_of_the_sentence_is_scored_behind_each_option() {
        let line = r#"{"sentence": "The cup fell on the rug and the _ broke.", "option1": "cup",
            "option2": "rug", "answer": "1"}"#;
        let found = item(TaskName::Winogrande, line, None).unwrap();
        let before = "The cup fell on the rug and the";
        let choices = ["cup", "rug"].map(|o| Choice::new(&format!("{before} {o}"), "broke."));
        assert_eq!(found.choices, choices);
        assert_eq!(found.choices[0].continuation, " broke.");
        assert_eq!(found.gold, 0);
        assert!(item(TaskName::Winogrande, &line.replace('_', "it"), None).is_err());
        assert!(item(TaskName::Winogrande, &line.replace("\"1\"", "\"0\""), None).is_err());
        let Item { gold, .. } =
            item(TaskName::Winogrande, &line.replace("\"1\"", "2"), None).unwrap();
        assert_eq!(gold, 1);
    }
}
