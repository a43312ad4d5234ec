//! One output's weights as integers: what matrices in integers are made of, in memory and on disk.

use crate::quantise::{Grid, eight_bits, four_bits};
use crate::workers::for_each;
use half::f16;
use std::sync::OnceLock;
use tandem_shape::{Group, WeightType};

/// How weights are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodeFormat {
    /// See [`eight_bits`].
    Eight,
    /// See [`four_bits`].
    Four(Group),
}

/// One output's weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CodedRow {
    /// One an input; with 8 bits as two's complement.
    pub(crate) codes: Vec<u8>,
    /// One a group, 4 bits only.
    pub(crate) grids: Vec<Grid>,
    /// 8 bits only.
    pub(crate) scale: f32,
}

impl CodeFormat {
    /// The form of a weight type that has one.
    pub(crate) fn of(weights: WeightType) -> Option<Self> {
        match weights {
            WeightType::F32 | WeightType::Bf16 => None,
            WeightType::Int8 => Some(Self::Eight),
            WeightType::Int4(group) => Some(Self::Four(group)),
        }
    }

    /// Bytes of a row's codes on disk.
    pub(crate) fn code_bytes(self, inputs: usize) -> usize {
        match self {
            Self::Eight => inputs,
            Self::Four(_) => inputs.div_ceil(2),
        }
    }

    /// Groups of a row; none for 8 bits.
    pub(crate) fn groups(self, inputs: usize) -> usize {
        match self {
            Self::Eight => 0,
            Self::Four(group) => inputs.div_ceil(group.inputs()),
        }
    }
}

impl CodedRow {
    /// Quantises an output's weights, each finite. See [`four_bits`] about importance.
    pub(crate) fn new(format: CodeFormat, weights: &[f32], importance: &[f32]) -> Self {
        let mut coded = Self {
            codes: vec![0; weights.len()],
            grids: Vec::new(),
            scale: 0.0,
        };
        match format {
            CodeFormat::Eight => {
                let codes = bytemuck::cast_slice_mut(&mut coded.codes);
                coded.scale = eight_bits(weights, codes);
            }
            CodeFormat::Four(group) => {
                let codes = coded.codes.chunks_mut(group.inputs());
                let groups = weights.chunks(group.inputs()).zip(codes).enumerate();
                let grids = groups.map(|(number, (weights, codes))| {
                    four_bits(weights, group.of(importance, number), codes)
                });
                coded.grids = grids.collect();
            }
        }
        coded
    }

    /// Appends what the codes stand for.
    pub(crate) fn append_weights(&self, format: CodeFormat, weights: &mut Vec<f32>) {
        match format {
            CodeFormat::Eight => {
                let codes = self.codes.iter();
                weights.extend(codes.map(|c| f32::from(c.cast_signed()) * self.scale));
            }
            CodeFormat::Four(group) => {
                for (codes, grid) in self.codes.chunks(group.inputs()).zip(&self.grids) {
                    weights.extend(codes.iter().map(|&c| grid.weight(c)));
                }
            }
        }
    }

    /// Appends the codes as they lie on disk: 4 bits two a byte, the first of both in the lower half.
    pub(crate) fn append_codes(&self, format: CodeFormat, bytes: &mut Vec<u8>) {
        match format {
            CodeFormat::Eight => bytes.extend(&self.codes),
            CodeFormat::Four(_) => {
                let pairs = self.codes.chunks(2);
                bytes.extend(pairs.map(|p| p[0] | p.get(1).map_or(0, |upper| upper << 4)));
            }
        }
    }

    /// Appends scale and offset of each group, or the one scale, little endian.
    pub(crate) fn append_scales(&self, format: CodeFormat, bytes: &mut Vec<u8>) {
        match format {
            CodeFormat::Eight => bytes.extend(self.scale.to_le_bytes()),
            CodeFormat::Four(_) => {
                let pairs = self.grids.iter().flat_map(|g| [g.scale, g.offset]);
                bytes.extend(pairs.flat_map(f16::to_le_bytes));
            }
        }
    }

    /// Reads what was written by [`CodedRow::append_codes`] and [`CodedRow::append_scales`], which
    /// must have that many bytes.
    pub(crate) fn read(format: CodeFormat, inputs: usize, codes: &[u8], scales: &[u8]) -> Self {
        match format {
            CodeFormat::Eight => Self {
                codes: codes.to_vec(),
                grids: Vec::new(),
                scale: scales
                    .first_chunk()
                    .copied()
                    .map_or(0.0, f32::from_le_bytes),
            },
            CodeFormat::Four(_) => {
                let half = |at: &[u8]| f16::from_le_bytes([at[0], at[1]]);
                let mut nibbles = Vec::with_capacity(codes.len() * 2);
                nibbles.extend(codes.iter().flat_map(|byte| [byte & 0xf, byte >> 4]));
                nibbles.truncate(inputs);
                let grids = scales.chunks_exact(4).map(|pair| Grid {
                    scale: half(pair),
                    offset: half(&pair[2..]),
                });
                Self {
                    codes: nibbles,
                    grids: grids.collect(),
                    scale: 0.0,
                }
            }
        }
    }
}

/// Quantises rows of finite weights, `[outputs, inputs]`, on all threads.
pub(crate) fn code_rows(
    format: CodeFormat,
    weights: &[f32],
    inputs: usize,
    importance: &[f32],
) -> Vec<CodedRow> {
    let rows: Vec<&[f32]> = weights.chunks_exact(inputs.max(1)).collect();
    let coded: Vec<OnceLock<CodedRow>> = rows.iter().map(|_| OnceLock::new()).collect();
    for_each(rows.len(), &|row| {
        coded[row].get_or_init(|| CodedRow::new(format, rows[row], importance));
    });
    coded.into_iter().filter_map(OnceLock::into_inner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_is_read_as_it_is_written(
            weights in prop::collection::vec(-2f32..2.0, 1..200), format in 0usize..4,
        ) {
            let (format, group) = [
                (CodeFormat::Eight, 200),
                (CodeFormat::Four(Group::G32), 32),
                (CodeFormat::Four(Group::G64), 64),
                (CodeFormat::Four(Group::G128), 128),
            ][format];
            let coded = CodedRow::new(format, &weights, &[]);
            let (mut codes, mut scales) = (Vec::new(), Vec::new());
            coded.append_codes(format, &mut codes);
            coded.append_scales(format, &mut scales);
            prop_assert_eq!(codes.len(), format.code_bytes(weights.len()));
            let read = CodedRow::read(format, weights.len(), &codes, &scales);
            prop_assert_eq!(&read, &coded);
            let mut made = Vec::new();
            read.append_weights(format, &mut made);
            prop_assert_eq!(made.len(), weights.len());
            // Few weights of a group may be clipped, but never at a greater squared error than the
            // steps of the whole range have: half of 4 / 15, and what rounding to 16 bits costs.
            for (made, weights) in made.chunks(group).zip(weights.chunks(group)) {
                let squares = made.iter().zip(weights).map(|(m, w)| (m - w).powi(2));
                let mean = squares.sum::<f32>() / weights.len() as f32;
                prop_assert!(mean.sqrt() < 0.14, "{}", mean.sqrt());
            }
        }
    }
}
