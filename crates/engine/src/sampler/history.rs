//! The tokens of a session that penalties look at.

use std::collections::HashMap;

/// How often a token occurs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Occurrences {
    /// Before the current run.
    pub(super) prompt: u32,
    /// In the current run.
    pub(super) generated: u32,
}

/// The ids of a session by position, from 0 on, and where the current run begins to generate: what
/// lies before is prompt, earlier answers of a conversation included, as it is to an API without
/// sessions. Counts are kept up to date, so that a penalty costs time by distinct tokens and not by
/// length.
#[derive(Clone, Debug)]
pub struct TokenHistory {
    ids: Vec<u32>,
    generated_from: usize,
    occurrences: HashMap<u32, Occurrences>,
}

impl TokenHistory {
    /// No tokens, of which none count as generated until [`begin_run`](Self::begin_run) says where.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ids: Vec::new(),
            generated_from: usize::MAX,
            occurrences: HashMap::new(),
        }
    }

    /// Number of tokens: the position that the next [`push`](Self::push) takes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The ids, by position.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Adds the token of the next position: prompt before the run's beginning, generated from there
    /// on.
    pub fn push(&mut self, id: u32) {
        let position = self.ids.len();
        self.ids.push(id);
        let occurrences = self.occurrences.entry(id).or_default();
        if position < self.generated_from {
            occurrences.prompt += 1;
        } else {
            occurrences.generated += 1;
        }
    }

    /// Drops all tokens from position `len` on. The run's beginning stays where it is.
    pub fn truncate(&mut self, len: usize) {
        let generated_from = self.generated_from;
        let kept = len.min(self.ids.len());
        for (offset, id) in self.ids.drain(kept..).enumerate() {
            if let Some(occurrences) = self.occurrences.get_mut(&id) {
                if kept + offset < generated_from {
                    occurrences.prompt -= 1;
                } else {
                    occurrences.generated -= 1;
                }
                if *occurrences == Occurrences::default() {
                    self.occurrences.remove(&id);
                }
            }
        }
    }

    /// Begins a run whose first generated token is at position `generated_from`. The position may
    /// lie ahead, when the prompt is still to come, or behind, when a replay brings tokens that the
    /// run has generated already.
    pub fn begin_run(&mut self, generated_from: usize) {
        let len = self.ids.len();
        let (old, new) = (self.generated_from.min(len), generated_from.min(len));
        self.generated_from = generated_from;
        for id in &self.ids[old.min(new)..old.max(new)] {
            if let Some(occurrences) = self.occurrences.get_mut(id) {
                if new > old {
                    occurrences.generated -= 1;
                    occurrences.prompt += 1;
                } else {
                    occurrences.prompt -= 1;
                    occurrences.generated += 1;
                }
            }
        }
    }

    /// The distinct tokens, in no particular order, with how often each occurs.
    pub(super) fn occurrences(&self) -> impl Iterator<Item = (u32, Occurrences)> + '_ {
        self.occurrences.iter().map(|(&id, &count)| (id, count))
    }
}

impl Default for TokenHistory {
    fn default() -> Self {
        Self::new()
    }
}

impl Extend<u32> for TokenHistory {
    /// Pushes every id in turn.
    fn extend<I: IntoIterator<Item = u32>>(&mut self, ids: I) {
        for id in ids {
            self.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u32),
        Truncate(usize),
        BeginRun(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u32..6).prop_map(Step::Push),
            1 => (0_usize..40).prop_map(Step::Truncate),
            1 => (0_usize..40).prop_map(Step::BeginRun),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_ids_whatever_happened(steps in steps()) {
            let mut history = TokenHistory::new();
            let (mut ids, mut from) = (Vec::new(), usize::MAX);
            for step in steps {
                match step {
                    Step::Push(id) => {
                        history.push(id);
                        ids.push(id);
                    }
                    Step::Truncate(len) => {
                        history.truncate(len);
                        ids.truncate(len);
                    }
                    Step::BeginRun(position) => {
                        history.begin_run(position);
                        from = position;
                    }
                }
            }
            let mut expected: HashMap<u32, Occurrences> = HashMap::new();
            for (position, &id) in ids.iter().enumerate() {
                let count = expected.entry(id).or_default();
                if position < from { count.prompt += 1 } else { count.generated += 1 }
            }
            prop_assert_eq!(history.ids(), ids.as_slice());
            prop_assert_eq!(history.len(), ids.len());
            prop_assert_eq!(history.occurrences().collect::<HashMap<_, _>>(), expected);
        }
    }

    #[test]
    fn the_answer_of_one_turn_is_prompt_to_the_next() {
        let mut history = TokenHistory::new();
        history.extend([1, 2]);
        history.begin_run(2);
        history.extend([7, 7]);
        history.begin_run(5);
        history.extend([3, 7]);
        let seven = history.occurrences().find(|(id, _)| *id == 7);
        let expected = Occurrences {
            prompt: 2,
            generated: 1,
        };
        assert_eq!(seven, Some((7, expected)));
    }
}
