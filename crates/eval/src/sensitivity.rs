//! What precision costs, part by part: the divergence that a layer adds when it alone is held in fewer
//! bits, that keys and values add, and that a codec adds at each cut, all else in f32.
//!
//! The rows before a layer are exact, so the layers before it need no second run: the layer alone is loaded
//! in each type, and the rows behind it go on through the model as it is.

use crate::calibrate::At;
use crate::cli::CalibrateArgs;
use crate::error::Result;
use crate::precision::Sides;
use std::collections::BTreeMap;
use std::fmt;
use tandem_codec::{Codec, Profile};
use tandem_engine::{Back, Compute, Front};
use tandem_planner::{
    CodecSensitivity, CutSensitivity, KvSensitivity, Sensitivity, TypeSensitivity,
};
use tandem_shape::{Fingerprint, KvType, WeightScheme, WeightType};

/// What has been measured so far.
#[derive(Debug)]
pub(crate) struct Costs<'a> {
    sides: &'a Sides,
    args: &'a CalibrateArgs,
    tokens: usize,
    kv: Vec<KvSensitivity>,
    types: Vec<TypeSensitivity>,
    /// By cut, of those that are not calibrated on the way.
    cuts: BTreeMap<usize, Vec<(Codec, CutSensitivity)>>,
}

impl<'a> Costs<'a> {
    /// Nothing yet.
    pub(crate) fn new(args: &'a CalibrateArgs, sides: &'a Sides) -> Self {
        let types = args.sensitivity.iter().map(|weights| TypeSensitivity {
            weights: weights.to_string(),
            layer_kl: Vec::new(),
            head_kl: 0.0,
        });
        Self {
            types: types.collect(),
            sides,
            args,
            tokens: 0,
            kv: Vec::new(),
            cuts: BTreeMap::new(),
        }
    }

    fn compute(&self, weights: WeightScheme) -> Compute {
        Compute {
            place: self.args.model.place(),
            weights: Some(weights),
            kv: Some(KvType::F32),
        }
    }

    /// Measures keys and values of all layers, at the cut before the first.
    pub(crate) fn keys_and_values(&mut self, at: &At<'_>) -> Result<()> {
        self.tokens = at.scored();
        for kind in KvType::ALL {
            // As exact as what it is compared with.
            let kl = match kind {
                KvType::F32 => 0.0,
                _ => {
                    let compute = Compute {
                        kv: Some(kind),
                        ..self.compute(WeightScheme::default())
                    };
                    let files = &self.sides.model;
                    let back = files.back(at.cut, &compute, |_| {})?;
                    at.with_back(&back, at.cut, |rows| Ok(rows.to_vec()))?
                }
            };
            self.kv.push(KvSensitivity {
                kv: kind.to_string(),
                kl,
            });
        }
        Ok(())
    }

    /// Measures the layer behind a cut, or the head behind the last layer, in each type.
    pub(crate) fn layer(&mut self, at: &At<'_>) -> Result<()> {
        let files = &self.sides.model;
        let is_head = at.cut == files.config.layers;
        let mut found = Vec::new();
        for &weights in &self.args.sensitivity {
            found.push(match (weights, is_head) {
                (WeightType::F32, _) => 0.0,
                (_, true) => {
                    let compute = self.compute(WeightScheme::default().with_head(weights));
                    let head: Back = files.back(at.cut, &compute, |_| {})?;
                    at.with_back(&head, at.cut, |rows| Ok(rows.to_vec()))?
                }
                (_, false) => {
                    let compute = self.compute(WeightScheme::default().with_layer(at.cut, weights));
                    let layer: Front = files.layer(at.cut, &compute)?;
                    at.with_back(at.back, at.cut + 1, |rows| {
                        Ok(layer.layers().through(at.cut, rows)?)
                    })?
                }
            });
        }
        for (costs, kl) in self.types.iter_mut().zip(found) {
            if is_head {
                costs.head_kl = kl
            } else {
                costs.layer_kl.push(kl)
            }
        }
        Ok(())
    }

    /// Measures all codecs at a cut, by the profile that it has, or by the built-in one.
    pub(crate) fn cut(&mut self, at: &At<'_>) -> Result<()> {
        let profile = self.sides.model.profiles.of(at.cut);
        let mut codecs = Vec::new();
        for codec in Codec::ALL.into_iter().filter(|&c| c != Codec::F32) {
            let (kl, _) = at.measured(codec, profile, 0..at.few)?;
            codecs.push((codec, sensitivity(codec, profile.map(AsRef::as_ref), kl)));
        }
        self.cuts.insert(at.cut, codecs);
        Ok(())
    }

    /// All of it. Cuts that were calibrated on the way are still to be [`put_cut`].
    pub(crate) fn into_sensitivity(self) -> Sensitivity {
        let cuts = 1..self.sides.model.config.layers;
        let of = |codec: Codec, cut: usize| {
            let measured = self.cuts.get(&cut)?.iter().find(|(c, _)| *c == codec);
            measured.map(|(_, found)| found.clone())
        };
        let codecs = Codec::ALL.map(|codec| CodecSensitivity {
            codec: codec.to_string(),
            cuts: cuts
                .clone()
                .map(|cut| of(codec, cut).unwrap_or_else(|| sensitivity(codec, None, 0.0)))
                .collect(),
        });
        Sensitivity {
            weights_fingerprint: self.sides.weights.to_string(),
            tokens: self.tokens,
            types: self.types,
            kv: self.kv,
            codecs: codecs.into(),
        }
    }
}

/// Enters what codecs cost at the cut of a profile.
pub(crate) fn put_cut(
    costs: &mut Sensitivity,
    profile: &Profile,
    codecs: impl Iterator<Item = (Codec, f64)>,
) {
    for (codec, kl) in codecs {
        let named = |c: &&mut CodecSensitivity| c.codec == codec.name();
        let Some(entry) = costs.codecs.iter_mut().find(named) else {
            continue;
        };
        if let Some(cut) = entry.cuts.get_mut(profile.split().wrapping_sub(1)) {
            *cut = sensitivity(codec, Some(profile), kl);
        }
    }
}

fn sensitivity(codec: Codec, profile: Option<&Profile>, kl: f64) -> CutSensitivity {
    let profile = profile.filter(|_| codec.uses_profile());
    CutSensitivity {
        profile: profile.map(|p| Fingerprint(p.fingerprint()).to_string()),
        kl,
    }
}

/// The tables as a person reads them.
#[derive(Debug)]
pub struct Tables<'a>(pub &'a Sensitivity);

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.0;
        writeln!(f, "mean KL of one layer alone, {} tokens\n", found.tokens)?;
        let names = found.types.iter().map(|t| t.weights.clone());
        row(f, ["layer".to_owned()].into_iter().chain(names))?;
        row(f, vec!["---".to_owned(); found.types.len() + 1])?;
        let layers = found.types.first().map_or(0, |t| t.layer_kl.len());
        for layer in 0..layers {
            let costs = found.types.iter().map(|t| t.layer_kl[layer]);
            row(f, [layer.to_string()].into_iter().chain(costs.map(kl)))?;
        }
        let heads = found.types.iter().map(|t| kl(t.head_kl));
        row(f, ["head".to_owned()].into_iter().chain(heads))?;
        writeln!(f, "\nmean KL of the keys and values of all layers\n")?;
        row(f, found.kv.iter().map(|k| k.kv.clone()))?;
        row(f, found.kv.iter().map(|_| "---".to_owned()))?;
        row(f, found.kv.iter().map(|k| kl(k.kl)))?;
        writeln!(
            f,
            "\nmean KL of a codec at a cut; c: by a calibrated profile\n"
        )?;
        let names = found.codecs.iter().map(|c| c.codec.clone());
        row(f, ["after layer".to_owned()].into_iter().chain(names))?;
        row(f, vec!["---".to_owned(); found.codecs.len() + 1])?;
        let cuts = found.codecs.first().map_or(0, |c| c.cuts.len());
        for cut in 0..cuts {
            let cost = |c: &CodecSensitivity| {
                let at = &c.cuts[cut];
                kl(at.kl) + if at.profile.is_some() { " c" } else { "" }
            };
            let costs = found.codecs.iter().map(cost);
            row(f, [(cut + 1).to_string()].into_iter().chain(costs))?;
        }
        Ok(())
    }
}

fn kl(value: f64) -> String {
    format!("{value:.2e}")
}

fn row(f: &mut fmt::Formatter<'_>, cells: impl IntoIterator<Item = String>) -> fmt::Result {
    let cells: Vec<String> = cells.into_iter().collect();
    writeln!(f, "| {} |", cells.join(" | "))
}
