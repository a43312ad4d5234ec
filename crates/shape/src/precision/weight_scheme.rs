//! Which type each matrix of a segment is held in.

use crate::error::{Result, ShapeError};
use crate::layer_range::LayerRange;
use crate::precision::{UnknownWeightType, WeightType};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A type for all matrices, and others for some layers or the head: written
/// `int4,0-1=int8,head=f32`, layers by their numbers in the model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WeightScheme {
    all: WeightType,
    layers: BTreeMap<usize, WeightType>,
    head: Option<WeightType>,
}

/// A text that is no [`WeightScheme`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScheme {
    /// It names a type that there is not.
    #[error(transparent)]
    Type(#[from] UnknownWeightType),
    /// A part behind the first is no exception.
    #[error("{0:?} is not of the form 3=int8, 0-1=int8 or head=f32")]
    Exception(String),
    /// Two exceptions for one layer, or for the head.
    #[error("{0:?} names what an exception before it has named")]
    Twice(String),
}

/// Layers that one exception may name: more than any model has.
const MOST_LAYERS: usize = 4096;

impl WeightScheme {
    /// The type of most layers.
    pub fn of_most(&self) -> WeightType {
        self.all
    }

    /// The type of a layer's matrices.
    pub fn of_layer(&self, layer: usize) -> WeightType {
        self.layers.get(&layer).copied().unwrap_or(self.all)
    }

    /// The type of the head's matrix. 4 bits are 8 there unless it is named: it hands its error
    /// straight to the probabilities.
    pub fn of_head(&self) -> WeightType {
        self.head.unwrap_or(head_of(self.all))
    }

    /// The same with another type for one layer.
    #[must_use]
    pub fn with_layer(mut self, layer: usize, weights: WeightType) -> Self {
        self.layers.insert(layer, weights);
        self
    }

    /// The same with another type for the head.
    #[must_use]
    pub fn with_head(mut self, weights: WeightType) -> Self {
        self.head = Some(weights);
        self
    }

    /// What is left of it for a part of what it was made for.
    #[must_use]
    pub fn within(&self, range: LayerRange) -> Self {
        let mut own = self.clone();
        own.layers
            .retain(|layer, _| (range.start()..range.end()).contains(layer));
        own.head = own.head.filter(|_| range.is_last());
        own
    }

    /// The types that it names, the head's last.
    pub fn types(&self) -> impl Iterator<Item = WeightType> {
        let layers = self.layers.values().copied();
        std::iter::once(self.all).chain(layers).chain(self.head)
    }

    /// True where some matrices of a range's layers have four bits.
    pub fn has_int4(&self, range: LayerRange) -> bool {
        let mut layers = range.start()..range.end();
        layers.any(|layer| matches!(self.of_layer(layer), WeightType::Int4(_)))
    }

    /// Refuses exceptions for what a segment does not hold: they would do nothing.
    pub fn check_within(&self, range: LayerRange) -> Result<()> {
        let held = range.start()..range.end();
        let outside = self.layers.keys().find(|layer| !held.contains(layer));
        let part = match outside {
            Some(layer) => format!("layer {layer}"),
            None if self.head.is_some() && !range.is_last() => "head".to_owned(),
            None => return Ok(()),
        };
        Err(ShapeError::SchemePart {
            scheme: self.to_string(),
            part,
            start: range.start(),
            end: range.end(),
        })
    }
}

fn head_of(all: WeightType) -> WeightType {
    match all {
        WeightType::Int4(_) => WeightType::Int8,
        other => other,
    }
}

impl From<WeightType> for WeightScheme {
    fn from(all: WeightType) -> Self {
        Self {
            all,
            ..Self::default()
        }
    }
}

impl fmt::Display for WeightScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.all)?;
        let mut layers = self.layers.iter().peekable();
        while let Some((&first, &weights)) = layers.next() {
            let mut last = first;
            while let Some((&next, _)) = layers.next_if(|&(&n, &w)| n == last + 1 && w == weights) {
                last = next;
            }
            if last == first {
                write!(f, ",{first}={weights}")?
            } else {
                write!(f, ",{first}-{last}={weights}")?
            }
        }
        match self.head {
            Some(head) => write!(f, ",head={head}"),
            None => Ok(()),
        }
    }
}

impl FromStr for WeightScheme {
    type Err = InvalidScheme;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(',');
        let mut scheme = Self::from(parts.next().unwrap_or_default().parse::<WeightType>()?);
        for part in parts {
            let bad = || InvalidScheme::Exception(part.to_owned());
            let (what, weights) = part.split_once('=').ok_or_else(bad)?;
            let weights = weights.parse()?;
            let fresh = match what {
                "head" => scheme.head.replace(weights).is_none(),
                _ => {
                    let (first, last) = what.split_once('-').unwrap_or((what, what));
                    let number = |text: &str| {
                        if text.bytes().all(|b| b.is_ascii_digit()) {
                            text.parse::<usize>().map_err(|_| bad())
                        } else {
                            Err(bad())
                        }
                    };
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last || last >= MOST_LAYERS {
                        return Err(bad());
                    }
                    (first..=last).all(|l| scheme.layers.insert(l, weights).is_none())
                }
            };
            if !fresh {
                return Err(InvalidScheme::Twice(part.to_owned()));
            }
        }
        // What is no exception is not kept: equal schemes are equal.
        let all = scheme.all;
        scheme.layers.retain(|_, weights| *weights != all);
        scheme.head = scheme.head.filter(|head| *head != head_of(all));
        Ok(scheme)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::precision::Group;

    #[test]
    fn a_scheme_is_read_as_it_is_written() {
        for text in [
            "f32",
            "int4:64,0-1=int8,9=bf16,head=f32",
            "int8,3=int4:32,4=int4:64,5-7=f32",
        ] {
            let scheme: WeightScheme = text.parse().unwrap();
            assert_eq!(scheme.to_string(), text);
        }
        let same: WeightScheme = "int4,2=int4,head=int8".parse().unwrap();
        assert_eq!(same, "int4".parse().unwrap());
        let scheme: WeightScheme = "int4,0-1=int8,head=f32".parse().unwrap();
        assert_eq!(scheme.of_layer(1), WeightType::Int8);
        assert_eq!(scheme.of_layer(2), WeightType::Int4(Group::G64));
        assert_eq!(scheme.of_head(), WeightType::F32);
        assert_eq!(
            WeightScheme::from(scheme.of_most()).of_head(),
            WeightType::Int8
        );
    }

    #[test]
    fn what_is_none_is_named() {
        for (text, named) in [
            ("", "\"\""),
            ("int4,", "\"\""),
            ("int4,3", "\"3\""),
            ("int4,3=int9", "\"int9\""),
            ("int4,5-3=int8", "\"5-3=int8\""),
            ("int4,+3=int8", "\"+3=int8\""),
            ("int4,0-99999=int8", "\"0-99999=int8\""),
            ("int4,tail=int8", "\"tail=int8\""),
            ("int4,1-3=int8,3=f32", "\"3=f32\""),
            ("int4,head=int8,head=f32", "\"head=f32\""),
        ] {
            let message = text.parse::<WeightScheme>().unwrap_err().to_string();
            assert!(message.contains(named), "{text}: {message}");
        }
    }

    #[test]
    fn an_exception_for_what_is_not_held_is_refused() {
        let scheme: WeightScheme = "int4,3=int8".parse().unwrap();
        let range = |start, end| LayerRange::new(start, end, 6).unwrap();
        assert!(scheme.check_within(range(3, 4)).is_ok());
        for held in [range(0, 3), range(4, 6)] {
            let message = scheme.check_within(held).unwrap_err().to_string();
            assert!(message.contains("layer 3"), "{message}");
        }
        assert_eq!(scheme.within(range(0, 3)).to_string(), "int4:64");
        assert_eq!(scheme.within(range(3, 6)), scheme);
        let head: WeightScheme = "int4,head=f32".parse().unwrap();
        assert_eq!(
            head.within(range(3, 6).without_head()).to_string(),
            "int4:64"
        );
        assert!(head.check_within(range(3, 6)).is_ok());
        assert!(head.check_within(range(0, 5)).is_err());
    }
}
