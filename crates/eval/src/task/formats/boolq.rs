//! BoolQ, `super_glue/boolq/default.yaml`: SuperGLUE's form, whose passages begin with a title.

use super::Label;
use crate::task::item::Item;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Record {
    passage: String,
    question: String,
    #[serde(alias = "answer")]
    label: Label,
}

impl super::Record for Record {
    const EXPECTED: &'static str =
        "an object with `passage`, `question`, and `label` or `answer`, true for yes";

    /// The passage, the question with its mark, then no or yes.
    fn item(self, _: Option<usize>) -> Result<Item, String> {
        let context = format!("{}\nQuestion: {}?\nAnswer:", self.passage, self.question);
        Ok(Item::new(&context, &["no", "yes"], self.label.value()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::formats::item;
    use crate::task::name::TaskName;

    #[test]
    fn no_and_yes_answer_the_question() {
        let line = r#"{"passage": "Owl -- Owls hunt at night.", "question": "do owls hunt by day",
            "label": false}"#;
        let found = item(TaskName::Boolq, line, None).unwrap();
        let context = "Owl -- Owls hunt at night.\nQuestion: do owls hunt by day?\nAnswer:";
        assert_eq!(found, Item::new(context, &["no", "yes"], 0));
        let answered = line.replace("\"label\": false", "\"answer\": true");
        assert_eq!(item(TaskName::Boolq, &answered, None).unwrap().gold, 1);
    }
}
