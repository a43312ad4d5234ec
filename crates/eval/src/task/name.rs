//! The tasks by name.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskName {
    /// HellaSwag: which sentence comes next (Zellers et al. 2019).
    Hellaswag,
    /// PIQA: which way of doing something works (Bisk et al. 2020).
    Piqa,
    /// ARC, of either set: questions of school science (Clark et al. 2018).
    Arc,
    /// ARC's easy set.
    ArcEasy,
    /// ARC's challenge set.
    ArcChallenge,
    /// WinoGrande: whom a sentence speaks of (Sakaguchi et al. 2020).
    Winogrande,
    /// OpenBookQA: elementary science (Mihaylov et al. 2018).
    Openbookqa,
    /// BoolQ: yes or no, by a passage (Clark et al. 2019).
    Boolq,
    /// LAMBADA: the last word of a passage (Paperno et al. 2016).
    Lambada,
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hellaswag => "hellaswag",
            Self::Piqa => "piqa",
            Self::Arc => "arc",
            Self::ArcEasy => "arc-easy",
            Self::ArcChallenge => "arc-challenge",
            Self::Winogrande => "winogrande",
            Self::Openbookqa => "openbookqa",
            Self::Boolq => "boolq",
            Self::Lambada => "lambada",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn a_name_is_the_same_on_the_command_line_and_in_a_report() {
        for task in TaskName::value_variants() {
            let name = task.to_string();
            assert_eq!(TaskName::from_str(&name, false).as_ref(), Ok(task));
            assert_eq!(serde_json::to_value(task).unwrap(), name);
        }
    }
}
