//! Choices with letters, as ARC and OpenBookQA have them.

use serde::Deserialize;

/// Choices, and a letter for each.
#[derive(Debug, Deserialize)]
pub(super) struct Lettered {
    pub(super) text: Vec<String>,
    label: Vec<String>,
}

impl Lettered {
    /// The place of the choice with this letter.
    pub(super) fn place(&self, letter: &str) -> Result<usize, String> {
        let place = self.label.iter().position(|l| l == letter);
        place.ok_or_else(|| format!("no choice has the letter {letter:?}, of {:?}", self.label))
    }
}
