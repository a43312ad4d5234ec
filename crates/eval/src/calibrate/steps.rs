//! How fine a profile's steps have to be for the divergence that each codec may cost.
//!
//! Divergence grows with the square of the step, so a step at which it was measured once tells all others:
//! what is found of a codec at a cut is the constant of that law. Constants change little from cut to cut,
//! and their ratios less. So at **anchors**, a few cuts spread over the model, every codec is measured on
//! all chunks; at the cuts between, two codecs are, on a few tokens. What only anchors tell is
//! interpolated: how much more all chunks diverge than the few tokens, and the other codecs.

use super::measure::{Measure, first_scored};
use crate::error::Result;
use std::sync::Arc;
use tandem_codec::{Codec, Profile};
use tandem_engine::Back;

/// The mean divergence that each codec's step is set for. A little below what is promised of it
/// (2.2e-4, 9e-4, 7e-3), since another text is not this one.
pub(super) const TARGETS: [(Codec, f64); 4] = [
    (Codec::High, 1.6e-4),
    (Codec::TabQ, 6.5e-4),
    (Codec::Balanced, 6.8e-4),
    (Codec::Economy, 5.6e-3),
];
/// The codec that the others' ratios are of.
const EVERYWHERE: usize = 2;
/// What is measured between anchors: the others keep their ratio to the first of these.
const BETWEEN: [usize; 2] = [EVERYWHERE, 3];
/// Codecs without a step, whose divergence is of interest all the same. The second is next to nothing
/// everywhere, and measured at anchors alone.
pub(super) const WITHOUT_STEP: [Codec; 2] = [Codec::Int8, Codec::Bf16];
/// Cuts at which everything is measured.
const ANCHORS: usize = 5;
/// A guess whose divergence is off by no more than this factor is as good as a measurement.
const NEAR: f64 = 1.5;
/// At an anchor, and at a cut between, where the law is known to hold over more.
const FAR: f64 = 3.0;
const ROUNDS: usize = 3;

/// Whether one of `count` cuts is an anchor.
pub(super) fn is_anchor(number: usize, count: usize) -> bool {
    let anchors = ANCHORS.min(count);
    (0..anchors).any(|i| number == i * (count - 1) / (anchors - 1).max(1))
}

/// What is in front of a cut's back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    pub(super) measure: &'a Measure,
    pub(crate) back: &'a Back,
    /// Layers before the cut.
    pub(crate) cut: usize,
    /// The rows of the sequences that are kept back: first a few short ones, then whole chunks.
    pub(super) rows: &'a [Vec<f32>],
    /// How many of them are the few.
    pub(crate) few: usize,
}

impl At<'_> {
    /// The mean divergence by a codec of the sequences in `range`, and bits a value.
    pub(crate) fn measured(
        &self,
        codec: Codec,
        profile: Option<&Arc<Profile>>,
        range: std::ops::Range<usize>,
    ) -> Result<(f64, f64)> {
        let count = range.len() as f64;
        let (mut kl, mut bits) = (0.0, 0.0);
        for number in range {
            let rows = &self.rows[number];
            let hidden = self.back.config().hidden;
            let crossing = self.measure.cross(codec, profile, rows, hidden)?;
            let exact = (number, (self.back, self.cut, &rows[..]));
            let at = (self.back, self.cut);
            kl += self.measure.divergence(exact, at, &crossing)? / count;
            bits += crossing.bits / count;
        }
        Ok((kl, bits))
    }

    /// The mean divergence when the few sequences' rows are changed and then go through another back, or
    /// from another layer on.
    pub(crate) fn with_back(
        &self,
        back: &Back,
        split: usize,
        change: impl Fn(&[f32]) -> Result<Vec<f32>>,
    ) -> Result<f64> {
        let mut kl = 0.0;
        for (number, rows) in self.rows[..self.few].iter().enumerate() {
            let hidden = back.config().hidden;
            let crossing = self
                .measure
                .cross(Codec::F32, None, &change(rows)?, hidden)?;
            let exact = (number, (self.back, self.cut, &rows[..]));
            kl += self.measure.divergence(exact, (back, split), &crossing)? / self.few as f64;
        }
        Ok(kl)
    }

    /// Predictions that are compared of the few sequences.
    pub(crate) fn scored(&self) -> usize {
        let hidden = self.back.config().hidden;
        let tokens = self.rows[..self.few].iter().map(|rows| rows.len() / hidden);
        tokens.map(|tokens| tokens - first_scored(tokens)).sum()
    }
}

/// What was found at a cut.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) profile: Profile,
    pub(super) is_anchor: bool,
    /// By codec of [`TARGETS`], on the few sequences.
    few: [Option<Law>; TARGETS.len()],
    /// The same on whole chunks, at anchors.
    all: [Option<Law>; TARGETS.len()],
    /// By codec of [`WITHOUT_STEP`]: the logarithm to base 2 of its divergence on the few.
    others: [Option<f64>; WITHOUT_STEP.len()],
}

/// A codec at a cut, whatever its step.
#[derive(Debug, Clone, Copy)]
struct Law {
    /// The logarithm to base 2 of divergence ÷ step².
    constant: f64,
    /// Bits a value at a step of 1: a doubling of the step saves one.
    bits: f64,
}

/// Measures a profile's codecs, with steps as at the cut before to begin with. `others` says whether
/// those without a step are of interest.
pub(super) fn find(
    at: At<'_>,
    mut profile: Profile,
    before: Option<&Found>,
    (is_anchor, others): (bool, bool),
) -> Result<Found> {
    if let Some(before) = before {
        for (codec, _) in TARGETS {
            if let Some(step) = before.profile.step(codec) {
                profile = profile.with_step(codec, step);
            }
        }
    }
    let measured: &[usize] = if is_anchor { &[0, 1, 2, 3] } else { &BETWEEN };
    let near = if is_anchor { NEAR } else { FAR };
    let mut few = [None; TARGETS.len()];
    for _ in 0..ROUNDS {
        let (laws, off) = laws(at, &mut profile, measured, 0..at.few)?;
        few = laws;
        if off < near {
            break;
        }
    }
    let mut all = [None; TARGETS.len()];
    if is_anchor {
        (all, _) = laws(at, &mut profile, measured, at.few..at.rows.len())?;
    }
    let mut without_step = [None; WITHOUT_STEP.len()];
    for (number, codec) in WITHOUT_STEP.into_iter().enumerate() {
        if others && (number == 0 || is_anchor) {
            let (kl, _) = at.measured(codec, None, 0..at.few)?;
            without_step[number] = Some(kl.max(1e-12).log2());
        }
    }
    Ok(Found {
        profile,
        is_anchor,
        few,
        all,
        others: without_step,
    })
}

/// Measures some codecs on some sequences, sets their steps by what is found, and says by which factor
/// the divergence at the steps before was off, at most.
fn laws(
    at: At<'_>,
    profile: &mut Profile,
    measured: &[usize],
    range: std::ops::Range<usize>,
) -> Result<([Option<Law>; TARGETS.len()], f64)> {
    let shared = Arc::new(profile.clone());
    let (mut laws, mut off) = ([None; TARGETS.len()], 1.0f64);
    for &number in measured {
        let (codec, target) = TARGETS[number];
        let Some(step) = shared.step(codec) else {
            continue;
        };
        let (kl, bits) = at.measured(codec, Some(&shared), range.clone())?;
        let kl = kl.max(1e-9);
        off = off.max(kl / target).max(target / kl);
        let law = Law {
            constant: kl.log2() - 2.0 * step,
            bits: bits + step,
        };
        *profile = profile
            .clone()
            .with_step(codec, set(target, law.constant, step));
        laws[number] = Some(law);
    }
    Ok((laws, off))
}

/// The step at which the law says the target, not too far from one that was measured.
fn set(target: f64, constant: f64, measured: f64) -> f64 {
    let step = 0.5 * (target.log2() - constant);
    step.clamp(measured - 6.0, measured + 6.0)
}

/// A codec at a cut, as it is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    pub(super) codec: Codec,
    pub(super) kl: f64,
    pub(super) bits: Option<f64>,
}

/// Sets the steps of all cuts' profiles, and says what each codec comes to.
pub(super) fn settle(found: &mut [Found]) -> Vec<Vec<Settled>> {
    let anchors: Vec<usize> = (0..found.len()).filter(|&i| found[i].is_anchor).collect();
    let settle = |number: usize| -> (Profile, Vec<Settled>) {
        let between = |of: &dyn Fn(&Found) -> Option<f64>| {
            let known = anchors.iter().filter_map(|&i| Some((i, of(&found[i])?)));
            interpolated(known, number)
        };
        let at = &found[number];
        // What is known of a codec on whole chunks here, or from what was measured here and the anchors.
        let law = |i: usize, of: fn(Law) -> f64| -> Option<f64> {
            if let Some(law) = at.all[i] {
                return Some(of(law));
            }
            let more = |i: usize| between(&move |f| Some(of(f.all[i]?) - of(f.few[i]?)));
            let here = |i: usize| Some(of(at.few[i]?) + more(i)?);
            let ratio = || between(&|f| Some(of(f.all[i]?) - of(f.all[EVERYWHERE]?)));
            here(i).or_else(|| {
                let everywhere = at.all[EVERYWHERE].map(of);
                Some(everywhere.or_else(|| here(EVERYWHERE))? + ratio()?)
            })
        };
        let mut profile = at.profile.clone();
        let mut settled = Vec::new();
        for (i, (codec, target)) in TARGETS.into_iter().enumerate() {
            let constant = law(i, |law| law.constant);
            let (Some(constant), Some(step)) = (constant, profile.step(codec)) else {
                continue;
            };
            profile = profile.with_step(codec, set(target, constant, step));
            let step = profile.step(codec).unwrap_or(step);
            settled.push(Settled {
                codec,
                kl: (constant + 2.0 * step).exp2(),
                bits: law(i, |law| law.bits).map(|bits| bits - step),
            });
        }
        let more = between(&|f| Some(f.all[EVERYWHERE]?.constant - f.few[EVERYWHERE]?.constant));
        for (i, codec) in WITHOUT_STEP.into_iter().enumerate() {
            if let Some(kl) = at.others[i].or_else(|| between(&|f| f.others[i])) {
                settled.push(Settled {
                    codec,
                    kl: (kl + more.unwrap_or(0.0)).exp2(),
                    bits: None,
                });
            }
        }
        (profile, settled)
    };
    let all: Vec<_> = (0..found.len()).map(settle).collect();
    let mut reports = Vec::new();
    for (found, (profile, settled)) in found.iter_mut().zip(all) {
        found.profile = profile;
        reports.push(settled);
    }
    reports
}

/// The value at `place` of a line through the known ones, which are in the order of their places; that of
/// the nearest beyond them.
fn interpolated(known: impl Iterator<Item = (usize, f64)>, place: usize) -> Option<f64> {
    let mut before: Option<(usize, f64)> = None;
    for (next, value) in known {
        if next >= place {
            let Some((last, from)) = before else {
                return Some(value);
            };
            let along = (place - last) as f64 / (next - last) as f64;
            return Some(from + along * (value - from));
        }
        before = Some((next, value));
    }
    before.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_spread_from_end_to_end() {
        let of = |count| {
            (0..count)
                .filter(|&n| is_anchor(n, count))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(29), [0, 7, 14, 21, 28]);
        assert_eq!(of(1), [0]);
        assert_eq!(of(3), [0, 1, 2]);
        assert_eq!(of(6), [0, 1, 2, 3, 5]);
    }

    #[test]
    fn what_lies_between_is_on_a_line() {
        let known = || [(2, 1.0), (6, 3.0)].into_iter();
        for (place, value) in [(0, 1.0), (2, 1.0), (3, 1.5), (6, 3.0), (9, 3.0)] {
            assert_eq!(interpolated(known(), place), Some(value));
        }
        assert_eq!(interpolated(std::iter::empty(), 1), None);
    }
}
