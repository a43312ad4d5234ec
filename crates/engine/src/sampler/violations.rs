//! Every reason why sampling parameters are refused, by field.

use std::collections::HashSet;
use std::fmt;

use super::parameters::{
    MAX_LOGIT_BIAS, MAX_LOGIT_BIAS_ENTRIES, MAX_LOGPROBS, MAX_PENALTY, MAX_REPETITION_PENALTY,
    MAX_TEMPERATURE, SamplingParameters,
};

/// The most violations told of the logit bias: they travel in a gRPC trailer, which many proxies
/// bound at 8 KiB.
const MAX_LOGIT_BIAS_VIOLATIONS: usize = 8;

/// A field whose value is refused: what gRPC's `BadRequest.FieldViolation` wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field within the sampling parameters, in the names of `sampling.proto`, such as
    /// `top_p` or `logit_bias[3].token_id`.
    pub field: String,
    /// What it must be, and what it is.
    pub description: String,
}

/// Sampling parameters that are refused, with all the reasons: at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParameterErrors {
    violations: Vec<FieldViolation>,
}

impl ParameterErrors {
    /// The reasons, in the order of the fields. At most 8 concern the logit bias.
    #[must_use]
    pub fn violations(&self) -> &[FieldViolation] {
        &self.violations
    }
}

impl fmt::Display for ParameterErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(
                f,
                "{separator}{} {}",
                violation.field, violation.description
            )?;
        }
        Ok(())
    }
}

pub(super) fn check(
    parameters: &SamplingParameters,
    vocabulary: usize,
) -> Result<(), ParameterErrors> {
    let mut found = Vec::new();
    // Ranges are tested for what is allowed, so that NaN, which compares with nothing, is refused.
    let mut number = |field: &str, value: f32, allowed: bool, range: fmt::Arguments<'_>| {
        if !allowed {
            found.push(FieldViolation {
                field: field.to_owned(),
                description: format!("must be in {range}, is {value}"),
            });
        }
    };
    let SamplingParameters {
        temperature,
        top_k: _,
        top_p,
        min_p,
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
        seed: _,
        logit_bias,
        logprobs,
        ignore_eos: _,
    } = parameters;
    number(
        "temperature",
        *temperature,
        (0.0..=MAX_TEMPERATURE).contains(temperature),
        format_args!("[0, {MAX_TEMPERATURE}]"),
    );
    number(
        "top_p",
        *top_p,
        *top_p > 0.0 && *top_p <= 1.0,
        format_args!("(0, 1]"),
    );
    number(
        "min_p",
        *min_p,
        (0.0..=1.0).contains(min_p),
        format_args!("[0, 1]"),
    );
    number(
        "repetition_penalty",
        *repetition_penalty,
        *repetition_penalty > 0.0 && *repetition_penalty <= MAX_REPETITION_PENALTY,
        format_args!("(0, {MAX_REPETITION_PENALTY}]"),
    );
    for (field, penalty) in [
        ("presence_penalty", presence_penalty),
        ("frequency_penalty", frequency_penalty),
    ] {
        number(
            field,
            *penalty,
            (-MAX_PENALTY..=MAX_PENALTY).contains(penalty),
            format_args!("[-{MAX_PENALTY}, {MAX_PENALTY}]"),
        );
    }
    check_logit_bias(logit_bias, vocabulary, &mut found);
    if let Some(count) = logprobs.filter(|count| *count > MAX_LOGPROBS) {
        found.push(FieldViolation {
            field: "logprobs".to_owned(),
            description: format!("must be at most {MAX_LOGPROBS}, is {count}"),
        });
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(ParameterErrors { violations: found })
    }
}

fn check_logit_bias(entries: &[(u32, f32)], vocabulary: usize, found: &mut Vec<FieldViolation>) {
    if entries.len() > MAX_LOGIT_BIAS_ENTRIES {
        found.push(FieldViolation {
            field: "logit_bias".to_owned(),
            description: format!(
                "must have at most {MAX_LOGIT_BIAS_ENTRIES} entries, has {}",
                entries.len()
            ),
        });
        return;
    }
    let most = found.len() + MAX_LOGIT_BIAS_VIOLATIONS;
    let mut seen = HashSet::with_capacity(entries.len());
    for (index, &(id, bias)) in entries.iter().enumerate() {
        let known = usize::try_from(id).is_ok_and(|id| id < vocabulary);
        let token = if !known {
            Some(format!(
                "must be below the vocabulary's {vocabulary}, is {id}"
            ))
        } else if !seen.insert(id) {
            Some(format!("must not repeat, but {id} does"))
        } else {
            None
        };
        let value = (!(-MAX_LOGIT_BIAS..=MAX_LOGIT_BIAS).contains(&bias))
            .then(|| format!("must be in [-{MAX_LOGIT_BIAS}, {MAX_LOGIT_BIAS}], is {bias}"));
        for (part, description) in [("token_id", token), ("bias", value)] {
            if let Some(description) = description
                && found.len() < most
            {
                found.push(FieldViolation {
                    field: format!("logit_bias[{index}].{part}"),
                    description,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(parameters: &SamplingParameters) -> Vec<String> {
        match parameters.validate(1000) {
            Ok(()) => Vec::new(),
            Err(errors) => errors
                .violations()
                .iter()
                .map(|v| v.field.clone())
                .collect(),
        }
    }

    type Set = fn(&mut SamplingParameters, f32);

    /// Each float field with a way to set it.
    fn floats() -> [(&'static str, Set); 6] {
        [
            ("temperature", |p, v| p.temperature = v),
            ("top_p", |p, v| p.top_p = v),
            ("min_p", |p, v| p.min_p = v),
            ("repetition_penalty", |p, v| p.repetition_penalty = v),
            ("presence_penalty", |p, v| p.presence_penalty = v),
            ("frequency_penalty", |p, v| p.frequency_penalty = v),
        ]
    }

    #[test]
    fn the_ends_of_every_range_are_where_the_docs_say() {
        let cases: [(&str, &[f32], &[f32]); 6] = [
            ("temperature", &[0.0, -0.0, 100.0], &[-0.1, 100.1]),
            ("top_p", &[1e-30, 1.0], &[0.0, -0.1, 1.001]),
            ("min_p", &[0.0, 1.0], &[-0.1, 1.001]),
            ("repetition_penalty", &[1e-30, 10.0], &[0.0, -1.0, 10.1]),
            ("presence_penalty", &[-2.0, 2.0], &[-2.1, 2.1]),
            ("frequency_penalty", &[-2.0, 2.0], &[-2.1, 2.1]),
        ];
        for ((name, good, bad), (field, set)) in cases.into_iter().zip(floats()) {
            assert_eq!(name, field);
            let with = |value| {
                let mut parameters = SamplingParameters::default();
                set(&mut parameters, value);
                fields(&parameters)
            };
            for &value in good {
                assert!(with(value).is_empty(), "{name} = {value}");
            }
            for &value in bad {
                assert_eq!(with(value), [name], "{name} = {value}");
            }
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert_eq!(with(value), [name], "{name} = {value}");
            }
        }
    }

    #[test]
    fn all_violations_are_told_at_once() {
        let mut parameters = SamplingParameters {
            logit_bias: vec![(3, 1.0), (1000, f32::NAN), (3, -100.5)],
            logprobs: Some(21),
            ..Default::default()
        };
        for (_, set) in floats() {
            set(&mut parameters, f32::NAN);
        }
        assert_eq!(
            fields(&parameters),
            [
                "temperature",
                "top_p",
                "min_p",
                "repetition_penalty",
                "presence_penalty",
                "frequency_penalty",
                "logit_bias[1].token_id",
                "logit_bias[1].bias",
                "logit_bias[2].token_id",
                "logit_bias[2].bias",
                "logprobs",
            ]
        );
    }

    #[test]
    fn a_violation_says_what_is_wanted_and_what_came() {
        let parameters = SamplingParameters {
            top_p: 1.5,
            logit_bias: vec![(1000, 0.0)],
            ..Default::default()
        };
        let message = parameters
            .validate(1000)
            .map_err(|errors| errors.to_string());
        assert_eq!(
            message,
            Err("top_p must be in (0, 1], is 1.5; \
                 logit_bias[0].token_id must be below the vocabulary's 1000, is 1000"
                .to_owned())
        );
    }

    #[test]
    fn what_is_told_of_a_bad_logit_bias_is_bounded() {
        let mut parameters = SamplingParameters {
            logit_bias: vec![(5000, f32::NAN); MAX_LOGIT_BIAS_ENTRIES],
            ..Default::default()
        };
        assert_eq!(fields(&parameters).len(), MAX_LOGIT_BIAS_VIOLATIONS);
        parameters.logit_bias.push((0, 0.0));
        assert_eq!(fields(&parameters), ["logit_bias"]);
    }
}
