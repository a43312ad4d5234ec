//! PIQA, `piqa/piqa.yaml`.

use super::Label;
use crate::task::item::Item;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Record {
    goal: String,
    sol1: String,
    sol2: String,
    label: Option<Label>,
}

impl super::Record for Record {
    const EXPECTED: &'static str =
        "an object with `goal`, `sol1` and `sol2`, and `label` where no --labels are given";

    /// The goal as a question, a solution as its answer.
    fn item(self, label: Option<usize>) -> Result<Item, String> {
        let gold = match (label, &self.label) {
            (Some(label), _) => label,
            (None, Some(label)) => label.value()?,
            (None, None) => return Err("missing field `label`".to_owned()),
        };
        let context = format!("Question: {}\nAnswer:", self.goal);
        Ok(Item::new(&context, &[self.sol1, self.sol2], gold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::formats::item;
    use crate::task::name::TaskName;

    #[test]
    fn a_solution_answers_the_goal() {
        let line = r#"{"goal": "Dry a wet shoe.", "sol1": "Stuff it with paper.", "sol2": "Ice."}"#;
        let found = item(TaskName::Piqa, line, Some(0)).unwrap();
        let context = "Question: Dry a wet shoe.\nAnswer:";
        assert_eq!(
            found,
            Item::new(context, &["Stuff it with paper.", "Ice."], 0)
        );
        assert_eq!(found.choices[1].continuation, " Ice.");
        assert_eq!(found.choices[1].characters, 4);
    }
}
