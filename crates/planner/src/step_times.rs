//! What a step of a segment takes, from steps that were measured.

use crate::curve::{Curve, InvalidCurve};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A measured step: `rows` rows behind `position` others, through `layers` layers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepSample {
    /// Layers that ran.
    pub layers: usize,
    /// Rows that ran.
    pub rows: usize,
    /// Positions before them.
    pub position: usize,
    /// Time it took, a median.
    pub seconds: f64,
}

/// What a step takes besides attention to earlier positions:
/// `fixed(rows) + layers · layer(rows)` seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerTimes {
    /// Seconds a step takes whatever its layers, by rows: embedding, hand-over.
    pub fixed: Curve,
    /// Seconds a layer adds, by rows.
    pub layer: Curve,
}

/// What attention to earlier positions adds to a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttentionTimes {
    /// Seconds a layer for one row, by the positions before it.
    pub decode: Curve,
    /// Seconds a layer for each row of a chunk, by the positions before the chunk.
    pub prefill: Curve,
}

/// Samples from which nothing follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// A curve lacks points, or has bad ones.
    #[error("the measured steps give no {what}: {source}")]
    Curve {
        /// Which one.
        what: &'static str,
        /// Why not.
        source: InvalidCurve,
    },
    /// A sample is of no layers or rows.
    #[error("a measured step has no layers, or no rows")]
    Empty,
}

fn curve(what: &'static str, points: Vec<(f64, f64)>) -> Result<Curve, FitError> {
    Curve::new(points).map_err(|source| FitError::Curve { what, source })
}

impl LayerTimes {
    /// From the samples at position 0: a line through the times of different depths, for each number
    /// of rows, by least squares. Where there is one depth, or the line does not rise, all of the
    /// time is the layers'.
    ///
    /// # Errors
    /// When there are no samples at position 0, or bad ones.
    pub fn fit(samples: &[StepSample]) -> Result<Self, FitError> {
        let mut by_rows: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in samples.iter().filter(|s| s.position == 0) {
            if sample.layers == 0 || sample.rows == 0 {
                return Err(FitError::Empty);
            }
            let depths = by_rows.entry(sample.rows).or_default();
            depths.push((sample.layers as f64, sample.seconds));
        }
        let (mut fixed, mut layer) = (Vec::new(), Vec::new());
        for (rows, depths) in by_rows {
            let (intercept, slope) = line(&depths);
            fixed.push((rows as f64, intercept));
            layer.push((rows as f64, slope));
        }
        Ok(Self {
            fixed: curve("time of a step", fixed)?,
            layer: curve("time of a layer", layer)?,
        })
    }

    /// Seconds of a step of `rows` through `layers`.
    pub fn seconds(&self, layers: usize, rows: usize) -> f64 {
        self.fixed.at(rows as f64) + layers as f64 * self.layer.at(rows as f64)
    }
}

/// Intercept and slope of the line that fits best, neither below zero.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let together: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let slope = together / spread;
    let intercept = y - slope * x;
    if slope.is_finite() && slope > 0.0 && intercept >= 0.0 {
        (intercept, slope)
    } else {
        (0.0, y / x)
    }
}

impl AttentionTimes {
    /// From samples at several positions, of one row and of as many rows as there are in one, beside
    /// what the same steps take `without` attention to earlier positions.
    ///
    /// # Errors
    /// When there are no samples of one row and of several, or bad ones.
    pub fn fit(samples: &[StepSample], without: &LayerTimes) -> Result<Self, FitError> {
        let (mut decode, mut prefill) = (Vec::new(), Vec::new());
        let chunk = samples.iter().map(|sample| sample.rows).max().unwrap_or(0);
        for sample in samples {
            if sample.layers == 0 || sample.rows == 0 {
                return Err(FitError::Empty);
            }
            let base = without.seconds(sample.layers, sample.rows);
            let extra = (sample.seconds - base).max(0.0) / (sample.layers * sample.rows) as f64;
            let points = match sample.rows {
                1 => &mut decode,
                rows if rows == chunk => &mut prefill,
                _ => continue,
            };
            points.push((sample.position as f64, extra));
        }
        Ok(Self {
            decode: curve("attention of a row", decode)?,
            prefill: curve("attention of a chunk", prefill)?,
        })
    }

    /// Seconds that attention of `rows` to `position` earlier positions adds to a layer.
    pub fn seconds(&self, rows: usize, position: usize) -> f64 {
        match rows {
            1 => self.decode.at(position as f64),
            _ => rows as f64 * self.prefill.at(position as f64),
        }
    }

    /// No attention to speak of: for a segment without layers.
    pub fn none() -> Self {
        Self {
            decode: Curve::constant(0.0),
            prefill: Curve::constant(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(layers: usize, rows: usize, position: usize, seconds: f64) -> StepSample {
        StepSample {
            layers,
            rows,
            position,
            seconds,
        }
    }

    /// 1 + 2·layers for one row; 4 + 6·layers for eight; a row's attention takes position/100.
    #[test]
    fn fixed_layer_and_attention_times_come_apart() {
        let samples = [
            sample(2, 1, 0, 5.0),
            sample(4, 1, 0, 9.0),
            sample(2, 8, 0, 16.0),
            sample(4, 8, 0, 28.0),
        ];
        let times = LayerTimes::fit(&samples).unwrap();
        assert_eq!(times.seconds(10, 1), 21.0);
        assert_eq!(times.seconds(10, 8), 64.0);
        let deep = [
            sample(4, 1, 0, 9.0),
            sample(4, 1, 100, 13.0),
            sample(4, 2, 0, 15.0),
            sample(4, 8, 0, 28.0),
            sample(4, 8, 100, 28.0 + 32.0),
        ];
        let attention = AttentionTimes::fit(&deep, &times).unwrap();
        assert_eq!(attention.seconds(1, 50), 0.5);
        assert_eq!(attention.seconds(8, 200), 16.0);
    }

    #[test]
    fn one_depth_is_all_layers() {
        let times = LayerTimes::fit(&[sample(4, 1, 0, 8.0)]).unwrap();
        assert_eq!((times.seconds(1, 1), times.seconds(3, 1)), (2.0, 6.0));
        // A shallower segment that took longer says nothing of what is fixed.
        let noisy = LayerTimes::fit(&[sample(2, 1, 0, 8.0), sample(6, 1, 0, 8.0)]).unwrap();
        assert_eq!(noisy.seconds(4, 1), 8.0);
    }

    #[test]
    fn samples_that_say_nothing_are_refused() {
        assert!(LayerTimes::fit(&[sample(2, 1, 5, 1.0)]).is_err());
        assert_eq!(
            LayerTimes::fit(&[sample(0, 1, 0, 1.0)]),
            Err(FitError::Empty)
        );
        let times = LayerTimes::fit(&[sample(2, 1, 0, 1.0)]).unwrap();
        let only_decode = [sample(2, 1, 0, 1.0)];
        let error = AttentionTimes::fit(&only_decode, &times).unwrap_err();
        assert!(error.to_string().contains("chunk"), "{error}");
    }
}
