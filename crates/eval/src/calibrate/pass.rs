//! One pass through a model: its layers, the profiles that are learnt beside them, and what is measured
//! from each cut on.

use super::measure::Measure;
use super::steps::{At, Found, find, is_anchor, settle};
use super::walk::Walk;
use super::{CodecReport, CutReport, write};
use crate::cli::CalibrateArgs;
use crate::error::Result;
use crate::precision::Sides;
use crate::sensitivity::Costs;
use std::collections::VecDeque;
use std::thread::JoinHandle;
use tandem_codec::Profile;
use tandem_engine::{Back, Front, Layers, Profiles};
use tandem_planner::Sensitivity;
use tandem_program::progress::Progress;
use tandem_shape::Fingerprint;

/// Profiles that are learnt at once, at most: each holds its cut's rows.
const AT_ONCE: usize = 4;

/// What rows go through, and what predicts from them.
#[derive(Debug)]
pub(super) struct FrontAndBack {
    /// None where the back is the whole model.
    front: Option<Front>,
    back: Back,
}

impl FrontAndBack {
    /// The halves that cuts are calibrated for.
    pub(super) fn load(sides: &Sides, cuts: &[usize]) -> Result<Self> {
        if sides.are_exact() {
            return Self::exact(sides);
        }
        let first = cuts.first().copied().unwrap_or(0);
        let last = cuts.last().copied().unwrap_or(0);
        let (files, compute) = sides.front();
        let front = files.front(last, compute, |_| {})?;
        let (files, compute) = sides.back();
        Ok(Self {
            front: Some(front),
            back: files.back(first, compute, |_| {})?,
        })
    }

    /// The whole model as it is.
    pub(super) fn exact(sides: &Sides) -> Result<Self> {
        let (files, compute) = sides.exact();
        Ok(Self {
            front: None,
            back: files.back(0, &compute, |_| {})?,
        })
    }

    fn layers(&self) -> Layers<'_> {
        match &self.front {
            Some(front) => front.layers(),
            None => self.back.layers(),
        }
    }
}

/// One pass through a model.
pub(super) struct Pass<'a> {
    args: &'a CalibrateArgs,
    sides: &'a Sides,
    halves: FrontAndBack,
    walk: Walk,
    measure: Measure,
    /// Sequences that are enough where not all are needed: they come first.
    few: usize,
    cuts: &'a [usize],
    /// Cuts whose profiles are being learnt.
    learning: VecDeque<Learning>,
    found: Vec<Found>,
}

/// A cut whose profile is being learnt, and the rows that it will be measured on.
struct Learning {
    cut: usize,
    rows: Vec<Vec<f32>>,
    profile: JoinHandle<Profile>,
}

impl<'a> Pass<'a> {
    pub(super) fn begin(
        args: &'a CalibrateArgs,
        sides: &'a Sides,
        halves: FrontAndBack,
        (learn, check): (&[Vec<u32>], &[Vec<u32>]),
        cuts: &'a [usize],
    ) -> Result<Self> {
        let few = check.len().div_ceil(4);
        let halves_of = |chunk: &Vec<u32>| chunk[..chunk.len() / 2].to_vec();
        let few_tokens = check[..few].iter().map(halves_of);
        let check: Vec<Vec<u32>> = few_tokens.chain(check.iter().cloned()).collect();
        let walk = Walk::begin(halves.layers(), learn, &check)?;
        let exact = halves.front.is_none().then_some((&halves.back, 0));
        Ok(Self {
            measure: Measure::new(exact, &walk.check, args.model.threads())?,
            args,
            sides,
            walk,
            halves,
            few,
            cuts,
            learning: VecDeque::new(),
            found: Vec::new(),
        })
    }

    /// Goes through the layers, as far as there is something to learn.
    pub(super) fn run(&mut self, with_costs: bool) -> Result<Option<Sensitivity>> {
        let layers = self.sides.model.config.layers;
        let end = if with_costs {
            layers
        } else {
            self.cuts.last().copied().unwrap_or(0)
        };
        let mut costs = with_costs.then(|| Costs::new(self.args, self.sides));
        let mut progress = Progress::new("layer", end + 1, end + 1);
        if let Some(costs) = &mut costs {
            costs.keys_and_values(&self.at(&self.walk.check, 0))?;
        }
        loop {
            let cut = self.walk.cut;
            let calibrated = self.cuts.contains(&cut);
            if calibrated {
                self.learn();
            }
            if let Some(costs) = &mut costs {
                costs.layer(&self.at(&self.walk.check, cut))?;
                if !calibrated && (1..layers).contains(&cut) {
                    costs.cut(&self.at(&self.walk.check, cut))?;
                }
            }
            while self.learning.len() >= self.args.model.threads().min(AT_ONCE)
                || (cut == end && !self.learning.is_empty())
            {
                self.measure(with_costs)?;
            }
            progress.advance("");
            if cut == end {
                break;
            }
            self.walk.advance(self.halves.layers())?;
        }
        Ok(costs.map(Costs::into_sensitivity))
    }

    fn at<'b>(&'b self, rows: &'b [Vec<f32>], cut: usize) -> At<'b> {
        At {
            measure: &self.measure,
            back: &self.halves.back,
            cut,
            rows,
            few: self.few,
        }
    }

    fn learn(&mut self) {
        let rows = self.walk.learn.clone();
        let hidden = self.sides.model.config.hidden;
        let weights = self.sides.weights.0;
        let split = u16::try_from(self.walk.cut).unwrap_or(u16::MAX);
        let reflections = self.args.reflections;
        let fit = move || tandem_codec::fit(&rows, hidden, weights, split, reflections);
        self.learning.push_back(Learning {
            cut: self.walk.cut,
            rows: self.walk.check.clone(),
            profile: std::thread::spawn(fit),
        });
    }

    /// Measures the first of the cuts whose profiles are being learnt.
    fn measure(&mut self, others: bool) -> Result<()> {
        let Some(learnt) = self.learning.pop_front() else {
            return Ok(());
        };
        let profile = learnt.profile.join();
        let profile = profile.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let at = self.at(&learnt.rows, learnt.cut);
        let anchor = is_anchor(self.found.len(), self.cuts.len());
        let found = find(at, profile, self.found.last(), (anchor, others))?;
        self.found.push(found);
        Ok(())
    }

    /// Sets all steps and writes the profiles; what their codecs cost is part of what layers cost.
    pub(super) fn settle(mut self, costs: &mut Option<Sensitivity>) -> Result<Vec<CutReport>> {
        let settled = settle(&mut self.found);
        let directory = self.sides.front().0.directory();
        let mut reports = Vec::new();
        for (found, codecs) in self.found.iter().zip(settled) {
            let profile = &found.profile;
            let path = Profiles::path(directory, profile.split());
            let bytes = profile.to_bytes();
            write(&path, &bytes)?;
            if let Some(costs) = costs {
                let kl = codecs.iter().map(|c| (c.codec, c.kl));
                crate::sensitivity::put_cut(costs, profile, kl);
            }
            reports.push(CutReport {
                split: profile.split(),
                path,
                fingerprint: Fingerprint(profile.fingerprint()).to_string(),
                bytes: bytes.len(),
                codecs: codecs.iter().filter_map(CodecReport::of).collect(),
            });
        }
        Ok(reports)
    }
}
