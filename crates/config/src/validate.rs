//! Range checks that gather every violation with its path, instead of stopping at the first.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds};

use crate::path::FieldPath;

/// A part of the configuration that knows which of its values cannot be.
pub trait Validate {
    /// Reports every value that cannot be to `at`, which stands at this part of the tree.
    fn validate(&self, at: &mut Violations);
}

/// A value that the type allows and the meaning does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where the value stands.
    pub path: FieldPath,
    /// What is wrong with it, as the rest of a sentence: `is 0, must be at least 1`.
    pub message: String,
}

/// Collects violations on a walk through the tree.
#[derive(Debug, Default)]
pub struct Violations {
    at: FieldPath,
    found: Vec<Violation>,
}

impl Violations {
    /// Everything that is wrong with `tree`, in the order in which it was checked.
    pub fn of(tree: &impl Validate) -> Vec<Violation> {
        let mut violations = Self::default();
        tree.validate(&mut violations);
        violations.found
    }

    /// Reports that the value of `field` cannot be.
    pub fn push(&mut self, field: &str, message: impl Into<String>) {
        self.at.push_key(field);
        let path = self.at.clone();
        self.at.pop();
        let message = message.into();
        self.found.push(Violation { path, message });
    }

    /// Reports `message` for `field` unless the condition holds.
    pub fn check(&mut self, field: &str, holds: bool, message: impl Into<String>) {
        if !holds {
            self.push(field, message);
        }
    }

    /// Reports the value of `field` unless it lies in `range`; says both in the message.
    pub fn within<T>(&mut self, field: &str, value: T, range: impl RangeBounds<T>)
    where
        T: PartialOrd + Display,
    {
        if range.contains(&value) {
            return;
        }
        let mut message = format!("is {value}, must be ");
        match range.start_bound() {
            Bound::Included(low) => message += &format!("at least {low}"),
            Bound::Excluded(low) => message += &format!("more than {low}"),
            Bound::Unbounded => {}
        }
        if !matches!(range.start_bound(), Bound::Unbounded)
            && !matches!(range.end_bound(), Bound::Unbounded)
        {
            message += " and ";
        }
        match range.end_bound() {
            Bound::Included(high) => message += &format!("at most {high}"),
            Bound::Excluded(high) => message += &format!("less than {high}"),
            Bound::Unbounded => {}
        }
        self.push(field, message);
    }

    /// Checks the part of the tree under `field`.
    pub fn nested(&mut self, field: &str, part: &impl Validate) {
        self.under(field, |at| part.validate(at));
    }

    /// Checks something of the part of the tree under `field`, such as how it fits another part.
    pub fn under(&mut self, field: &str, check: impl FnOnce(&mut Self)) {
        self.at.push_key(field);
        check(self);
        self.at.pop();
    }

    /// Checks every item of the list under `field`.
    pub fn each<'a, T>(&mut self, field: &str, items: impl IntoIterator<Item = &'a T>)
    where
        T: Validate + 'a,
    {
        self.at.push_key(field);
        for (index, item) in items.into_iter().enumerate() {
            self.at.push_index(index);
            item.validate(self);
            self.at.pop();
        }
        self.at.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Limits {
        sessions: u32,
        share: f64,
    }

    impl Validate for Limits {
        fn validate(&self, at: &mut Violations) {
            at.within("sessions", self.sessions, 1..=64);
            at.within(
                "share",
                self.share,
                (Bound::Excluded(0.0), Bound::Included(1.0)),
            );
        }
    }

    struct Tree {
        limits: Limits,
        peers: Vec<Limits>,
        name: String,
    }

    impl Validate for Tree {
        fn validate(&self, at: &mut Violations) {
            at.nested("limits", &self.limits);
            at.each("peers", &self.peers);
            at.check("name", !self.name.is_empty(), "must not be empty");
        }
    }

    #[test]
    fn every_violation_is_gathered_with_its_path() {
        let good = || Limits {
            sessions: 1,
            share: 1.0,
        };
        let tree = Tree {
            limits: Limits {
                sessions: 0,
                share: 0.0,
            },
            peers: vec![
                good(),
                Limits {
                    sessions: 65,
                    ..good()
                },
            ],
            name: String::new(),
        };
        let found: Vec<String> = Violations::of(&tree)
            .iter()
            .map(|violation| format!("{}: {}", violation.path, violation.message))
            .collect();
        assert_eq!(
            found,
            [
                "limits.sessions: is 0, must be at least 1 and at most 64",
                "limits.share: is 0, must be more than 0 and at most 1",
                "peers[1].sessions: is 65, must be at least 1 and at most 64",
                "name: must not be empty",
            ]
        );
    }

    #[test]
    fn one_sided_ranges_say_only_their_side() {
        let mut at = Violations::default();
        at.within("a", 0, 1..);
        at.within("b", 9, ..9);
        at.within("c", f64::NAN, 0.0..);
        let found: Vec<&str> = at.found.iter().map(|v| v.message.as_str()).collect();
        assert_eq!(
            found,
            [
                "is 0, must be at least 1",
                "is 9, must be less than 9",
                "is NaN, must be at least 0"
            ]
        );
    }
}
