//! Which layers of a model a segment holds.

use crate::error::{Result, ShapeError};
use std::fmt;

/// A range of decoder layers within a model, `start..end`. Empty ranges are allowed: the front of
/// split 0 and the back of the last split have no layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerRange {
    start: usize,
    end: usize,
    layers: usize,
    has_head: bool,
}

impl LayerRange {
    /// The range `start..end` of a model of `layers` layers.
    ///
    /// # Errors
    /// When it is not within the model.
    pub fn new(start: usize, end: usize, layers: usize) -> Result<Self> {
        if start > end || end > layers {
            return Err(ShapeError::LayerRange { start, end, layers });
        }
        Ok(Self {
            start,
            end,
            layers,
            has_head: end == layers,
        })
    }

    /// First layer.
    pub fn start(self) -> usize {
        self.start
    }

    /// One past the last layer.
    pub fn end(self) -> usize {
        self.end
    }

    /// Number of layers.
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Layers of the whole model.
    pub fn of(self) -> usize {
        self.layers
    }

    /// True without layers.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// True when it begins the model: the segment then has the embedding.
    pub fn is_first(self) -> bool {
        self.start == 0
    }

    /// True when it ends the model: the segment then has norm and head.
    pub fn is_last(self) -> bool {
        self.has_head
    }

    /// The same layers without norm and head: a front hands its rows on even behind the last layer.
    #[must_use]
    pub fn without_head(self) -> Self {
        Self {
            has_head: false,
            ..self
        }
    }

    /// True when `other` lies within.
    pub fn contains(self, other: LayerRange) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

impl fmt::Display for LayerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{} of {}", self.start, self.end, self.layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_within_the_model_exist() {
        for (start, end) in [(0, 0), (0, 3), (1, 2), (3, 3)] {
            let range = LayerRange::new(start, end, 3).unwrap();
            assert_eq!(
                (range.start(), range.end(), range.len()),
                (start, end, end - start)
            );
            assert_eq!(range.is_empty(), start == end);
            assert_eq!(range.is_first(), start == 0);
            assert_eq!(range.is_last(), end == 3);
        }
        for (start, end) in [(2, 1), (0, 4), (4, 4), (usize::MAX, 0), (0, usize::MAX)] {
            let message = LayerRange::new(start, end, 3).unwrap_err().to_string();
            assert!(message.contains(&format!("{start}..{end}")), "{message}");
        }
    }

    #[test]
    fn a_range_contains_what_lies_within() {
        let range = |start, end| LayerRange::new(start, end, 5).unwrap();
        for (start, end) in [(1, 4), (2, 3), (1, 1), (4, 4)] {
            assert!(range(1, 4).contains(range(start, end)));
        }
        for (start, end) in [(0, 4), (1, 5), (0, 0), (5, 5), (0, 5)] {
            assert!(!range(1, 4).contains(range(start, end)));
        }
    }
}
