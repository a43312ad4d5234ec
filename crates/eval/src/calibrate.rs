//! `tandem-eval calibrate`: codec profiles for the cuts of a model, and what each layer costs in fewer bits.
//!
//! All in one pass. The rows of all chunks go through the model together, layer by layer. At each cut the
//! first chunks teach a profile what rows look like, and the others are sent across and go on to the
//! model's end, which tells what that costs: see [`steps`]. Profiles are learnt on threads of their
//! own, several at once, while the layers go on.

mod measure;
mod steps;
mod walk;

use crate::cli::{CalibrateArgs, Split};
use crate::error::{EvalError, Result};
use crate::precision::Sides;
use crate::sensitivity::{Costs, Tables};
use measure::Measure;
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::thread::JoinHandle;
pub(crate) use steps::At;
use steps::{Found, Settled, find, is_anchor, settle};
use tandem_codec::Profile;
use tandem_engine::{Back, Front, KvBudget, Layers, Profiles};
use tandem_model::Fingerprint;
use tandem_planner::Sensitivity;
use tandem_service::progress::Progress;
use tandem_text::{Corpus, Tokenizer};
use walk::Walk;

/// Profiles that are learnt at once, at most: each holds its cut's rows.
const AT_ONCE: usize = 4;

/// What `calibrate --json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// One entry a cut.
    pub cuts: Vec<CutReport>,
    /// What each layer costs alone; null unless asked for.
    pub sensitivity: Option<Sensitivity>,
}

/// A calibrated cut.
#[derive(Debug, Serialize)]
pub struct CutReport {
    /// Layers before it.
    pub split: usize,
    /// The profile's file.
    pub path: PathBuf,
    /// The profile's fingerprint.
    pub fingerprint: String,
    /// Its bytes.
    pub bytes: usize,
    /// What its codecs come to.
    pub codecs: Vec<CodecReport>,
}

/// A codec at a calibrated cut.
#[derive(Debug, Serialize)]
pub struct CodecReport {
    /// Its name.
    pub codec: String,
    /// Mean divergence on the chunks kept back, as it follows from the step at which it was measured.
    pub kl_mean: f64,
    /// Bits a value, one row a frame, likewise.
    pub bits_per_value: f64,
}

/// Calibrates on this thread, and writes a profile a cut.
///
/// # Errors
/// When model or text cannot be read, the model fails, or a file cannot be written.
pub fn calibrate(args: &CalibrateArgs) -> Result<Report> {
    let tokenizer = Tokenizer::load(&args.model.model)?;
    let corpus = Corpus::read(&args.text, &tokenizer, args.context)?;
    let needed = args.chunks.get() + args.check_chunks.get();
    if corpus.len() < needed {
        return Err(EvalError::ShortText {
            found: corpus.len() * args.context,
            needed: needed * args.context,
        });
    }
    let _no_grad = tandem_model::no_grad();
    tandem_model::set_threads(args.model.threads());
    let sides = Sides::open(&args.model, &args.precision)?;
    let layers = sides.model.config.layers;
    let mut cuts = Vec::new();
    for split in &args.split {
        match *split {
            Split::All => cuts.extend(1..layers),
            Split::After(cut) if (1..=layers).contains(&cut) => cuts.push(cut),
            Split::After(cut) => return Err(EvalError::NoSuchCut { cut, layers }),
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut chunks: Vec<Vec<u32>> = corpus.chunks().take(needed).collect();
    let check = chunks.split_off(args.chunks.get());
    let mut report = Report {
        cuts: Vec::new(),
        sensitivity: None,
    };
    let with_costs = !args.sensitivity.is_empty();
    // What layers cost is told of the model as it is, so other halves take a pass of their own.
    let together = sides.are_exact() && with_costs;
    if !cuts.is_empty() {
        let halves = Halves::load(&sides, &cuts)?;
        let mut pass = Pass::begin(args, &sides, halves, (&chunks, &check), &cuts)?;
        report.sensitivity = pass.run(together)?;
        report.cuts = pass.settle(&mut report.sensitivity)?;
    }
    if with_costs && !together || cuts.is_empty() {
        // With the profiles that were just written.
        let sides = Sides::open(&args.model, &args.precision)?;
        let halves = Halves::exact(&sides)?;
        let mut pass = Pass::begin(args, &sides, halves, (&[], &check), &[])?;
        report.sensitivity = pass.run(true)?;
    }
    if let Some(measured) = &report.sensitivity {
        let json = serde_json::to_vec_pretty(measured).map_err(EvalError::Json)?;
        write(&args.model.model.join(Sensitivity::FILE), &json)?;
    }
    Ok(report)
}

/// What rows go through, and what predicts from them.
#[derive(Debug)]
struct Halves {
    /// None where the back is the whole model.
    front: Option<Front>,
    back: Back,
}

impl Halves {
    /// The halves that cuts are calibrated for.
    fn load(sides: &Sides, cuts: &[usize]) -> Result<Self> {
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
            back: files.back(first, compute, KvBudget::new(u64::MAX), |_| {})?,
        })
    }

    /// The whole model as it is.
    fn exact(sides: &Sides) -> Result<Self> {
        let (files, compute) = sides.exact();
        Ok(Self {
            front: None,
            back: files.back(0, &compute, KvBudget::new(u64::MAX), |_| {})?,
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
struct Pass<'a> {
    args: &'a CalibrateArgs,
    sides: &'a Sides,
    halves: Halves,
    walk: Walk,
    measure: Measure,
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
    fn begin(
        args: &'a CalibrateArgs,
        sides: &'a Sides,
        halves: Halves,
        (learn, check): (&[Vec<u32>], &[Vec<u32>]),
        cuts: &'a [usize],
    ) -> Result<Self> {
        let walk = Walk::begin(halves.layers(), learn, check)?;
        let exact = halves.front.is_none().then_some((&halves.back, 0));
        Ok(Self {
            measure: Measure::new(exact, &walk.check, args.model.threads())?,
            args,
            sides,
            walk,
            halves,
            cuts,
            learning: VecDeque::new(),
            found: Vec::new(),
        })
    }

    /// Chunks that are enough where not all are needed.
    fn few(&self) -> usize {
        self.walk.check.len().div_ceil(4)
    }

    /// Goes through the layers, as far as there is something to learn.
    fn run(&mut self, with_costs: bool) -> Result<Option<Sensitivity>> {
        let layers = self.sides.model.config.layers;
        let end = match with_costs {
            true => layers,
            false => self.cuts.last().copied().unwrap_or(0),
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
            few: self.few(),
        }
    }

    fn learn(&mut self) {
        let rows = self.walk.learn.clone();
        let hidden = self.sides.model.config.hidden;
        let weights = self.sides.model.weights_fingerprint.0;
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
    fn settle(mut self, costs: &mut Option<Sensitivity>) -> Result<Vec<CutReport>> {
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

impl CodecReport {
    fn of(settled: &Settled) -> Option<Self> {
        Some(Self {
            codec: settled.codec.to_string(),
            kl_mean: settled.kl,
            bits_per_value: settled.bits?,
        })
    }
}
/// Whole or not at all: a reader never sees half a profile.
fn write(path: &std::path::Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| EvalError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let partial = path.with_extension("partial");
    std::fs::write(&partial, bytes).map_err(failed)?;
    std::fs::rename(&partial, path).map_err(failed)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, cut) in self.cuts.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(
                f,
                "after layer {}: {} ({} bytes, {:.16})",
                cut.split,
                cut.path.display(),
                cut.bytes,
                cut.fingerprint
            )?;
            for codec in &cut.codecs {
                write!(
                    f,
                    "\n  {:<9} KL {:.2e} at {:.2} bits a value",
                    codec.codec, codec.kl_mean, codec.bits_per_value
                )?;
            }
        }
        let Some(sensitivity) = &self.sensitivity else {
            return Ok(());
        };
        if !self.cuts.is_empty() {
            writeln!(f, "\n")?;
        }
        write!(f, "{}", Tables(sensitivity))
    }
}
