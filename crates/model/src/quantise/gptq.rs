//! 4-bit codes from measured inputs (GPTQ, arXiv 2210.17323).
//!
//! What counts is not how far a weight moves but how far the matrix' outputs do, `(w − q)ᵀ H (w − q)`
//! with `H = Σ x·xᵀ` over inputs x. Weights are rounded one input after the other, and each
//! rounding error is made up for by the weights behind it, as far as inputs go together: with
//! `U`, the upper Cholesky factor of `H⁻¹`, an error e of input j takes `e · U[j, k] / U[j, j]` from
//! the weight of input k. A group's grid is chosen when its first input's turn comes, each error
//! counted as `1 / U[j, j]²`, which is what it costs after all the others have made up for it.

use crate::backend::torch::copied;
use crate::error::{ModelError, Result};
use crate::quantise::coded_row::CodedRow;
use crate::quantise::four_bits;
use crate::workers::for_each;
use std::sync::OnceLock;
use tandem_shape::Group;
use tch::{Kind, Tensor};

/// Outputs that take turns with a row of the factor while it is in the cache.
const TOGETHER: usize = 8;
/// What is added to the diagonal, as a share of its mean: inputs hardly seen would be free otherwise.
const DAMPING: f64 = 0.01;

/// The second moments of a matrix' inputs.
#[derive(Debug)]
pub(crate) struct Moments {
    /// `[inputs, inputs]` in f64.
    sum: Tensor,
}

/// The upper Cholesky factor of the inverse second moments.
#[derive(Debug)]
pub(crate) struct Factor {
    /// `[inputs, inputs]`.
    upper: Vec<f32>,
    /// What a squared error of each input's weight costs.
    importance: Vec<f32>,
}

impl Moments {
    pub(crate) fn new(inputs: usize) -> Result<Self> {
        let shape = [inputs as i64; 2];
        Ok(Self {
            sum: Tensor::f_zeros(shape, (Kind::Double, tch::Device::Cpu))?,
        })
    }

    /// Adds inputs, `[rows, inputs]`.
    pub(crate) fn add(&mut self, x: &[f32]) -> Result<()> {
        let inputs = self.sum.size().first().copied().unwrap_or(0);
        let x = Tensor::f_from_slice(x)?.f_view([-1, inputs])?;
        let _ = self.sum.f_add_(&x.f_transpose(0, 1)?.f_matmul(&x)?)?;
        Ok(())
    }

    /// # Errors
    /// When an input was not finite.
    pub(crate) fn factor(self) -> Result<Factor> {
        let diagonal = self.sum.f_diagonal(0, 0, 1)?;
        let mean = f64::try_from(diagonal.f_mean(Kind::Double)?)?;
        if !mean.is_finite() {
            return Err(ModelError::CalibrationNotFinite);
        }
        // Where nothing was seen, all inputs count the same.
        let added = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        // In place, and each step's result dropped in the next: there may be gigabytes of it.
        let inputs = diagonal.numel();
        let _ = self.sum.f_diagonal(0, 0, 1)?.f_add_scalar_(added)?;
        drop(diagonal);
        let lower = self.sum.f_linalg_cholesky(false)?;
        drop(self);
        let inverse = lower.f_cholesky_inverse(false)?;
        drop(lower);
        let mut upper = inverse.f_linalg_cholesky(true)?;
        drop(inverse);
        // Only ratios within a row count, and those of costs: kept in f32's range.
        let scale = f64::try_from(upper.f_diagonal(0, 0, 1)?.f_max()?)?;
        let _ = upper.f_div_scalar_(scale)?;
        let upper = copied(&upper.f_to_kind(Kind::Float)?)?;
        let importance = (0..inputs).map(|j| upper[j * inputs + j].powi(-2));
        Ok(Factor {
            importance: importance.collect(),
            upper,
        })
    }
}

impl Factor {
    /// Quantises rows of finite weights, `[outputs, inputs]`.
    pub(crate) fn code_rows(&self, group: Group, weights: &[f32]) -> Vec<CodedRow> {
        let inputs = self.importance.len();
        let blocks: Vec<&[f32]> = weights.chunks(TOGETHER * inputs.max(1)).collect();
        let coded: Vec<OnceLock<Vec<CodedRow>>> = blocks.iter().map(|_| OnceLock::new()).collect();
        for_each(blocks.len(), &|block| {
            coded[block].get_or_init(|| self.block(group, blocks[block].to_vec()));
        });
        let blocks = coded.into_iter().filter_map(OnceLock::into_inner);
        blocks.flatten().collect()
    }

    fn block(&self, group: Group, mut weights: Vec<f32>) -> Vec<CodedRow> {
        let inputs = self.importance.len();
        let outputs = weights.len() / inputs;
        let mut rows: Vec<CodedRow> = (0..outputs)
            .map(|_| CodedRow {
                codes: vec![0; inputs],
                grids: Vec::new(),
                scale: 0.0,
            })
            .collect();
        let mut scratch = vec![0; group.inputs()];
        for input in 0..inputs {
            let upper = &self.upper[input * inputs + input..][..inputs - input];
            if input % group.inputs() == 0 {
                let importance = group.of(&self.importance, input / group.inputs());
                for (row, weights) in rows.iter_mut().zip(weights.chunks(inputs)) {
                    let weights = &weights[input..][..importance.len()];
                    let codes = &mut scratch[..importance.len()];
                    row.grids.push(four_bits(weights, importance, codes));
                }
            }
            for (row, weights) in rows.iter_mut().zip(weights.chunks_mut(inputs)) {
                let Some(grid) = row.grids.last() else {
                    continue;
                };
                let (weights, code) = (&mut weights[input..], &mut row.codes[input]);
                grid.codes(&weights[..1], std::slice::from_mut(code));
                let error = (weights[0] - grid.weight(*code)) / upper[0];
                for (weight, &u) in weights.iter_mut().zip(upper) {
                    *weight -= error * u;
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantise::coded_row::{CodeFormat, code_rows};

    fn noise(count: usize, mut state: u32) -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from((state >> 16) as i16) / 32768.0
        };
        (0..count).map(|_| (0..4).map(|_| next()).sum()).collect()
    }

    /// `[rows, inputs]` of which neighbours go together.
    fn inputs_of(rows: usize, inputs: usize) -> Tensor {
        let own = noise(rows * inputs, 5);
        let values: Vec<f32> = (0..rows * inputs)
            .map(|i| {
                let row = i / inputs * inputs;
                (0..6)
                    .map(|k| own[row + (i - row + k) % inputs])
                    .sum::<f32>()
            })
            .collect();
        let shape = [rows as i64, inputs as i64];
        Tensor::f_from_slice(&values)
            .unwrap()
            .f_view(shape)
            .unwrap()
    }

    /// The mean squared error of the outputs.
    fn cost(x: &Tensor, weights: &[f32], rows: &[CodedRow], format: CodeFormat) -> f64 {
        let mut made = Vec::new();
        rows.iter()
            .for_each(|r| r.append_weights(format, &mut made));
        let errors: Vec<f32> = made.iter().zip(weights).map(|(a, b)| a - b).collect();
        let inputs = x.size()[1];
        let errors = Tensor::f_from_slice(&errors).unwrap();
        let out = x.f_matmul(
            &errors
                .f_view([-1, inputs])
                .unwrap()
                .f_transpose(0, 1)
                .unwrap(),
        );
        f64::try_from(
            out.unwrap()
                .f_square()
                .unwrap()
                .f_mean(Kind::Double)
                .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn outputs_are_nearer_than_by_rounding_each_weight() {
        let (outputs, inputs) = (19, 150);
        let group = Group::G64;
        let format = CodeFormat::Four(group);
        let weights = noise(outputs * inputs, 1);
        let x = inputs_of(400, inputs);
        let mut moments = Moments::new(inputs).unwrap();
        moments.add(&copied(&x.narrow(0, 0, 150)).unwrap()).unwrap();
        moments
            .add(&copied(&x.narrow(0, 150, 250)).unwrap())
            .unwrap();
        let rows = moments.factor().unwrap().code_rows(group, &weights);
        assert_eq!(rows.len(), outputs);
        assert!(
            rows.iter()
                .all(|r| r.grids.len() == 3 && r.codes.len() == inputs)
        );
        let plain = code_rows(format, &weights, inputs, &[]);
        let (found, plain) = (
            cost(&x, &weights, &rows, format),
            cost(&x, &weights, &plain, format),
        );
        assert!(found < 0.5 * plain, "{found} of {plain}");
    }

    /// Without anything known of the inputs there is nothing to make up for.
    #[test]
    fn inputs_that_do_not_go_together_change_nothing() {
        let weights = noise(3 * 64, 9);
        let x = Tensor::f_eye(64, (Kind::Float, tch::Device::Cpu)).unwrap();
        let mut moments = Moments::new(64).unwrap();
        moments.add(&copied(&x).unwrap()).unwrap();
        let rows = moments.factor().unwrap().code_rows(Group::G64, &weights);
        assert_eq!(
            rows,
            code_rows(CodeFormat::Four(Group::G64), &weights, 64, &[1.0; 64])
        );
    }

    #[test]
    fn inputs_that_are_no_numbers_are_refused() {
        let mut moments = Moments::new(2).unwrap();
        moments.add(&[f32::NAN, 1.0]).unwrap();
        assert!(matches!(
            moments.factor(),
            Err(ModelError::CalibrationNotFinite)
        ));
        let unseen = Moments::new(2).unwrap();
        assert_eq!(
            unseen
                .factor()
                .unwrap()
                .code_rows(Group::G32, &[0.5, -0.5])
                .len(),
            1
        );
    }
}
