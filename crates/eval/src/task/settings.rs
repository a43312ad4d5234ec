//! What a run's figures depend on, beside the items.

use crate::cli::TaskArgs;
use crate::precision::{PrecisionReport, Sides};
use crate::task::name::TaskName;
use serde::{Deserialize, Serialize};
use std::fmt;
use tandem_shape::BackendName;

/// The settings of a run. Runs with equal ones give equal figures for an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The task.
    pub task: TaskName,
    /// Fingerprint of the model's weights.
    pub weights: String,
    /// Where it was computed.
    pub device: String,
    /// What both sides were held in.
    pub precision: PrecisionReport,
    /// How the model is cut; null when it is not.
    pub cut: Option<CutSettings>,
}

/// The front, and the way across the cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutSettings {
    /// Layers of the front.
    pub split: usize,
    /// How rows are encoded.
    pub codec: String,
    /// Fingerprint of the profile they are encoded by; null for none.
    pub profile: Option<String>,
    /// Rows a frame: `decode` or `prefill`.
    pub framing: String,
}

impl Settings {
    /// Those that the arguments and the model's files come to.
    pub fn new(args: &TaskArgs, sides: &Sides) -> Self {
        let cut = args.cut;
        let profile = |split| {
            let profile = sides.profile(split);
            profile.filter(|_| cut.codec.uses_profile())
        };
        let hex = |bytes: [u8; 32]| bytes.iter().map(|b| format!("{b:02x}")).collect();
        Self {
            task: args.task,
            weights: sides.weights.to_string(),
            device: match args.model.backend {
                BackendName::Auto => args.model.device.to_string(),
                backend => format!("{} ({backend})", args.model.device),
            },
            precision: sides.report(),
            cut: cut
                .split
                .filter(|&split| split > 0)
                .map(|split| CutSettings {
                    split,
                    codec: cut.codec.to_string(),
                    profile: profile(split).map(|p| hex(p.fingerprint())),
                    framing: cut.framing.to_string(),
                }),
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |fingerprint: &str| fingerprint.chars().take(8).collect::<String>();
        let weights = short(&self.weights);
        write!(f, "{} with model {weights} on {}", self.task, self.device)?;
        let Some(cut) = &self.cut else {
            let precision = &self.precision;
            return write!(
                f,
                ", unsplit, {} (keys and values {})",
                precision.back_weights, precision.back_kv
            );
        };
        write!(
            f,
            ", split {}, {}, codec {}",
            cut.split, self.precision, cut.codec
        )?;
        if let Some(profile) = &cut.profile {
            write!(f, " by profile {}", short(profile))?;
        }
        write!(f, ", framing {}", cut.framing)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Settings of an unsplit model, and of one that is split.
    pub(crate) fn examples() -> [Settings; 2] {
        let unsplit = Settings {
            task: TaskName::ArcEasy,
            weights: "0123456789abcdef".to_owned(),
            device: "cpu".to_owned(),
            precision: PrecisionReport {
                front_weights: "int4:64".to_owned(),
                front_kv: "f32".to_owned(),
                back_weights: "f32".to_owned(),
                back_kv: "bf16".to_owned(),
            },
            cut: None,
        };
        let split = Settings {
            cut: Some(CutSettings {
                split: 10,
                codec: "balanced".to_owned(),
                profile: Some("fedcba9876543210".to_owned()),
                framing: "prefill".to_owned(),
            }),
            ..unsplit.clone()
        };
        [unsplit, split]
    }

    #[test]
    fn settings_are_named_in_a_line() {
        let [unsplit, split] = examples().map(|s| s.to_string());
        assert_eq!(
            unsplit,
            "arc-easy with model 01234567 on cpu, unsplit, f32 (keys and values bf16)"
        );
        assert_eq!(
            split,
            "arc-easy with model 01234567 on cpu, split 10, front int4:64 (keys and values f32), \
             back f32 (bf16), codec balanced by profile fedcba98, framing prefill"
        );
    }
}
