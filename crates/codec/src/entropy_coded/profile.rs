//! What a calibration has learnt about the rows at one cut of one model.
//!
//! A profile is bytes that both sides hold (`docs/codec.md` has the layout), named by their hash.
//! The built-in one belongs to no model: it assumes nothing but that values are spread as those of
//! language models are.

use super::reflectors::Reflectors;
use super::tables::{Tables, symbols};
use crate::error::ProfileError;
use std::sync::{Arc, OnceLock};

/// The most bytes of a profile.
pub const MAX_PROFILE_BYTES: usize = 1 << 20;
/// The most reflections of a transform: at 2 multiply-adds a value each, 128 a value.
pub const MAX_REFLECTIONS: usize = 64;
/// The most values a row.
const MAX_HIDDEN: usize = 1 << 16;
/// Operating points: `high`, `balanced`, `economy`.
pub(crate) const POINTS: usize = 3;
/// Fractions of a scale's unit that steps are calibrated in.
pub(crate) const FINE: i32 = 8;

/// Scales that a profile may hold: between 2⁻⁵⁰ and 2⁵⁰.
const SCALES: std::ops::RangeInclusive<i16> = -400..=400;

/// Means that a profile may hold are smaller: as scales, below 2⁵⁰.
const MEANS: f32 = 1_125_899_906_842_624.0;

const MAGIC: &[u8; 8] = b"tandem\x00p";
const VERSION: u8 = 2;
const BUILT_IN: &[u8] = include_bytes!("built_in.profile");

/// A profile of one cut.
#[derive(Debug, Clone)]
pub struct Profile {
    pub(crate) fingerprint: [u8; 32],
    /// Fingerprint of the weights whose rows it was calibrated on; zeros for the built-in one.
    pub(crate) weights: [u8; 32],
    /// Layers before the cut.
    pub(crate) split: u16,
    pub(crate) steps: Steps,
    /// What is known by channel; nothing in the built-in profile, which fits every model.
    pub(crate) channels: Option<Channels>,
    pub(crate) tables: Tables,
}

/// How a row's step follows from its scale, at each operating point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Steps {
    /// What scales of steps and spreads are relative to: about that of the channels' median.
    pub(crate) unit: i16,
    /// Logarithm of the step of a row of scale 1, in eighths of a scale's unit.
    pub(crate) base: [i16; POINTS],
    /// How the step grows with the row's scale: 0 not at all, 64 in proportion.
    pub(crate) slope: u8,
    /// The step of `tabq`.
    pub(crate) tabq: f32,
}

/// What is known of each channel, `[hidden]`.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    /// Taken off first.
    pub(crate) means: Vec<f32>,
    /// Spread of what is left, as a scale.
    pub(crate) spreads: Vec<i16>,
    pub(crate) reflectors: Reflectors,
    /// Spread of what comes out of the reflectors, as a scale.
    pub(crate) transformed: Vec<i16>,
}

impl Profile {
    /// The profile for models without one of their own. Its tables and its unit are part of format 5, its
    /// steps are not: those are for the encoder, and say what keeps the promised divergence at the
    /// most sensitive of the cuts and models that were measured.
    pub fn built_in() -> &'static Arc<Self> {
        static PROFILE: OnceLock<Arc<Profile>> = OnceLock::new();
        PROFILE.get_or_init(|| match Self::read(BUILT_IN) {
            Ok(profile) => Arc::new(profile),
            Err(error) => unreachable!("the built-in profile is read by a test: {error}"),
        })
    }

    /// BLAKE3 of the bytes that it is written as: its name.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Fingerprint of the weights it was calibrated on.
    pub fn weights(&self) -> [u8; 32] {
        self.weights
    }

    /// Layers before its cut.
    pub fn split(&self) -> usize {
        usize::from(self.split)
    }

    /// Values a row, unless it fits rows of any length.
    pub fn hidden(&self) -> Option<usize> {
        self.channels.as_ref().map(|c| c.means.len())
    }

    /// The step of `tabq`.
    pub(crate) fn tabq_step(&self) -> f32 {
        self.steps.tabq
    }

    /// Whether rows of `hidden` values can be written by it.
    pub(crate) fn fits(&self, hidden: usize) -> bool {
        self.hidden().is_none_or(|own| own == hidden)
    }

    /// The profile as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.extend_from_slice(&self.weights);
        out.extend_from_slice(&self.split.to_le_bytes());
        self.steps
            .base
            .iter()
            .for_each(|s| out.extend_from_slice(&s.to_le_bytes()));
        out.push(self.steps.slope);
        out.extend_from_slice(&self.steps.unit.to_le_bytes());
        out.extend_from_slice(&self.steps.tabq.to_le_bytes());
        let (hidden, count) = match &self.channels {
            Some(c) => (c.means.len() as u32, c.reflectors.count() as u8),
            None => (0, 0),
        };
        out.extend_from_slice(&hidden.to_le_bytes());
        out.push(count);
        for frequency in self.tables.frequencies() {
            out.extend_from_slice(&frequency.to_le_bytes());
        }
        if let Some(channels) = &self.channels {
            channels.put(&mut out);
        }
        out
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// When the bytes are none, or not of this version. Nothing is allocated beyond their size.
    pub fn read(bytes: &[u8]) -> Result<Self, ProfileError> {
        if bytes.len() > MAX_PROFILE_BYTES {
            return Err(ProfileError::TooLarge(bytes.len()));
        }
        let mut reader = Reader(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(ProfileError::NoProfile);
        }
        match reader.byte()? {
            VERSION => {}
            other => return Err(ProfileError::Version(other)),
        }
        let mut weights = [0; 32];
        weights.copy_from_slice(reader.take(32)?);
        let split = reader.u16()?;
        let mut base = [0; POINTS];
        for step in &mut base {
            *step = reader.u16()? as i16;
        }
        let slope = reader.byte()?;
        let unit = reader.u16()? as i16;
        let tabq = reader.f32()?;
        let hidden = reader.f32()?.to_bits() as usize;
        let count = usize::from(reader.byte()?);
        if slope > 64 || !SCALES.contains(&unit) || !(tabq > 0.0 && tabq.is_finite()) {
            return Err(ProfileError::Malformed("steps"));
        }
        if hidden > MAX_HIDDEN || count > MAX_REFLECTIONS || (hidden == 0 && count > 0) {
            return Err(ProfileError::Malformed("sizes"));
        }
        let tables = Tables::new(|_, band| (0..symbols(band)).map(|_| reader.u16().ok()).collect())
            .ok_or(ProfileError::Malformed("tables"))?;
        let channels = match hidden {
            0 => None,
            hidden => Some(reader.channels(hidden, count)?),
        };
        if !reader.0.is_empty() {
            return Err(ProfileError::Malformed("length"));
        }
        Ok(Self {
            fingerprint: blake3::hash(bytes).into(),
            weights,
            split,
            steps: Steps {
                unit,
                base,
                slope,
                tabq,
            },
            channels,
            tables,
        })
    }
}

impl Channels {
    fn put(&self, out: &mut Vec<u8>) {
        for mean in &self.means {
            out.extend_from_slice(&mean.to_le_bytes());
        }
        for scale in self.spreads.iter().chain(&self.transformed) {
            out.extend_from_slice(&scale.to_le_bytes());
        }
        for vector in self.reflectors.vectors() {
            out.extend_from_slice(&vector.to_le_bytes());
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], ProfileError> {
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or(ProfileError::Malformed("length"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, ProfileError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, ProfileError> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn f32(&mut self) -> Result<f32, ProfileError> {
        let bytes = self.take(4)?;
        Ok(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn channels(&mut self, hidden: usize, count: usize) -> Result<Channels, ProfileError> {
        let means = self.take(4 * hidden)?;
        let means: Vec<f32> = means
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        if !means.iter().all(|m| m.abs() < MEANS) {
            return Err(ProfileError::Malformed("means"));
        }
        let spreads = self.scales(hidden)?;
        let transformed = self.scales(hidden)?;
        let vectors = self.take(2 * hidden * count)?;
        let vectors = vectors
            .chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]))
            .collect();
        let reflectors =
            Reflectors::new(hidden, vectors).ok_or(ProfileError::Malformed("reflectors"))?;
        Ok(Channels {
            means,
            spreads,
            reflectors,
            transformed,
        })
    }

    fn scales(&mut self, hidden: usize) -> Result<Vec<i16>, ProfileError> {
        let scales: Vec<i16> = self
            .take(2 * hidden)?
            .chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]))
            .collect();
        if scales.iter().all(|s| SCALES.contains(s)) {
            Ok(scales)
        } else {
            Err(ProfileError::Malformed("spreads"))
        }
    }
}
