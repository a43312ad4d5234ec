//! Every kernel that this processor has against a plain loop, to the bit.

#![allow(unsafe_code)]

#[cfg(feature = "torch")]
mod speed;

use super::codes::inputs_of_a_scale;
use super::integer_rows::IntegerRows;
use super::kernel::{Kernel, WIDTH};
use super::panels::{Panels, Part};
use super::product::DEPTH;
use crate::ModelError;
use crate::quantise::coded_row::{CodeFormat, code_rows};
use crate::simd::Simd;
use std::mem::MaybeUninit;
use tandem_shape::{Group, WeightType};

/// More than any kernel takes at once, several times over.
const ROWS: usize = 40;

/// A matrix `[outputs, inputs]`, its bias, and what is multiplied with it, `[ROWS, inputs]`.
struct Case {
    outputs: usize,
    inputs: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
    x: Vec<f32>,
}

impl Case {
    fn new(outputs: usize, inputs: usize) -> Self {
        let mut state = (outputs * 31 + inputs) as u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from((state >> 16) as i16) / 4096.0
        };
        let mut values = |count| (0..count).map(|_| next()).collect();
        Self {
            outputs,
            inputs,
            weights: values(outputs * inputs),
            bias: values(outputs),
            x: values(ROWS * inputs),
        }
    }

    fn panels(&self, kernel: Kernel) -> Panels {
        self.panels_of(kernel, None)
    }

    fn panels_of(&self, kernel: Kernel, format: Option<CodeFormat>) -> Panels {
        let mut panels = Panels::zeros(kernel, self.outputs, self.inputs, format).unwrap();
        panels.set_outputs(0, &self.weights, &[]);
        panels.set_bias(0, &self.bias);
        panels
    }

    /// The safe twin of all kernels: `[ROWS, outputs]`.
    fn twin(&self) -> Vec<f32> {
        let mut out = Vec::new();
        for row in 0..ROWS {
            let x = &self.x[row * self.inputs..][..self.inputs];
            for (output, &bias) in self.bias.iter().enumerate() {
                let weights = &self.weights[output * self.inputs..][..self.inputs];
                let pairs = x.iter().zip(weights);
                out.push(pairs.fold(bias, |sum, (x, w)| x.mul_add(*w, sum)));
            }
        }
        out
    }

    fn product(&self, panels: &Panels, rows: usize) -> Vec<f32> {
        let mut out = Vec::new();
        let x = &self.x[..rows * self.inputs];
        panels.product_of(x, rows, &mut out).unwrap();
        assert_eq!(out.len(), rows * self.outputs);
        out
    }
}

/// Every one that this processor has.
fn kernels() -> impl Iterator<Item = Kernel> {
    Simd::available().into_iter().map(Kernel::of)
}

const FORMS: [CodeFormat; 4] = [
    CodeFormat::Eight,
    CodeFormat::Four(Group::G32),
    CodeFormat::Four(Group::G64),
    CodeFormat::Four(Group::G128),
];

impl Case {
    /// The safe twin of the kernels for codes: `[ROWS, outputs]`.
    fn code_twin(&self, panels: &Panels, format: CodeFormat) -> Vec<f32> {
        let rows = IntegerRows::new(Simd::best(), format, &self.x, ROWS, self.inputs);
        let size = inputs_of_a_scale(format);
        let mut out = Vec::new();
        for row in 0..ROWS {
            for (output, &bias) in self.bias.iter().enumerate() {
                let (panel, column) = (output / WIDTH, output % WIDTH);
                let mut sum = bias;
                for from in (0..self.inputs).step_by(DEPTH) {
                    let depth = DEPTH.min(self.inputs - from);
                    let Part::Codes(codes) = panels.part(panel, from, depth) else {
                        panic!("{format:?} has no codes")
                    };
                    let x = &rows.values(row, from)[..depth];
                    let mut part = 0f32;
                    for (number, x) in x.chunks(size).enumerate() {
                        let first = number * size;
                        let scale = rows.scales(row, from)[number];
                        let product = |(i, &x): (usize, &i16)| {
                            let code = codes.code(first + i, column);
                            let code = match format {
                                CodeFormat::Eight => i64::from(code.cast_signed()),
                                CodeFormat::Four(_) => i64::from(code),
                            };
                            code * i64::from(x)
                        };
                        let integer: i64 = x.iter().enumerate().map(product).sum();
                        let integer = i32::try_from(integer).unwrap() as f32;
                        match format {
                            CodeFormat::Eight => part = integer.mul_add(scale.scale, part),
                            CodeFormat::Four(_) => {
                                let grid = codes.grid(first, column);
                                sum = (integer * grid.scale.to_f32()).mul_add(scale.scale, sum);
                                sum = grid.offset.to_f32().mul_add(scale.sum, sum);
                            }
                        }
                    }
                    if format == CodeFormat::Eight {
                        sum = part.mul_add(codes.scales[column], sum);
                    }
                }
                out.push(sum);
            }
        }
        out
    }
}

/// Also: a row has the same bits whichever rows run with it, on any number of threads.
#[test]
fn products_with_codes_are_their_safe_twin() {
    for outputs in [1, WIDTH / 2 + 1, WIDTH, WIDTH + 9, 3 * WIDTH + 16] {
        for inputs in [0, 1, 31, 64, 102, DEPTH, DEPTH + 75] {
            let case = Case::new(outputs, inputs);
            for format in FORMS {
                for kernel in kernels() {
                    let panels = case.panels_of(kernel, Some(format));
                    let expected = case.code_twin(&panels, format);
                    for threads in [1, 2] {
                        crate::set_threads(threads);
                        for rows in [0, 1, 2, 3, 4, 5, 6, 11, ROWS] {
                            let found = case.product(&panels, rows);
                            let same = found == expected[..rows * outputs];
                            assert!(
                                same,
                                "{format:?}: {rows} rows of {inputs}, {outputs} outputs"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Also of codes at both ends of what they may be.
#[test]
fn the_greatest_integers_are_summed_without_loss() {
    let mut case = Case::new(WIDTH, DEPTH + 20);
    for (i, weight) in case.weights.iter_mut().enumerate() {
        *weight = if i % 31 == 0 { -1.0 } else { 1.0 };
    }
    for (row, x) in case.x.chunks_mut(case.inputs).enumerate() {
        for (i, x) in x.iter_mut().enumerate() {
            let negative = [false, true, i % 2 == 0][row % 3];
            *x = if negative { -1.0 } else { 1.0 };
        }
    }
    for format in FORMS {
        for kernel in kernels() {
            let panels = case.panels_of(kernel, Some(format));
            let expected = case.code_twin(&panels, format);
            for rows in [1, 2, 4, ROWS] {
                let found = case.product(&panels, rows);
                let same = found == expected[..rows * case.outputs];
                assert!(same, "{format:?}: {rows} rows");
            }
        }
    }
}

/// What rounding rows to integers costs, by the sum of the magnitudes of the products.
#[test]
fn products_with_codes_are_near_those_with_their_weights() {
    let case = Case::new(WIDTH + 9, DEPTH + 70);
    for format in FORMS {
        let kernel = Kernel::of(Simd::best());
        let panels = case.panels_of(kernel, Some(format));
        let found = case.product(&panels, ROWS);
        for (row, found) in found.chunks(case.outputs).enumerate() {
            let x = &case.x[row * case.inputs..][..case.inputs];
            for (output, &found) in found.iter().enumerate() {
                let (mut expected, mut magnitude) = (f64::from(case.bias[output]), 0.0);
                for (input, &x) in x.iter().enumerate() {
                    let from = input / DEPTH * DEPTH;
                    let depth = DEPTH.min(case.inputs - from);
                    let Part::Codes(codes) = panels.part(output / WIDTH, from, depth) else {
                        panic!("{format:?} has no codes")
                    };
                    let weight = codes.weight(input - from, output % WIDTH);
                    let product = f64::from(weight) * f64::from(x);
                    expected += product;
                    magnitude += product.abs();
                }
                let error = (f64::from(found) - expected).abs();
                assert!(error < 5e-6 * magnitude, "{format:?}: {found}, {expected}");
            }
        }
    }
}

#[test]
fn codes_are_near_their_weights_and_few_bytes() {
    let case = Case::new(2 * WIDTH, 256);
    let kernel = Kernel::of(Simd::best());
    for (weights, bits, within) in [
        (WeightType::Int8, 8.2, 0.005),
        (WeightType::Int4(Group::G32), 5.2, 0.1),
        (WeightType::Int4(Group::G64), 4.7, 0.1),
        (WeightType::Int4(Group::G128), 4.45, 0.1),
    ] {
        let panels = case.panels_of(kernel, CodeFormat::of(weights));
        let bytes = (panels.bytes() - 4 * case.outputs) as f64;
        let found = 8.0 * bytes / case.weights.len() as f64;
        assert!(found < bits, "{weights}: {found} bits");
        let mut rounded = Vec::new();
        if let Some(format) = CodeFormat::of(weights) {
            for row in code_rows(format, &case.weights, case.inputs, &[]) {
                row.append_weights(format, &mut rounded);
            }
        }
        let (mut error, mut square) = (0.0, 0.0);
        for (output, row) in rounded.chunks(case.inputs).enumerate() {
            let Part::Codes(codes) = panels.part(output / WIDTH, 0, case.inputs) else {
                panic!("{weights} has no codes")
            };
            for (input, &rounded) in row.iter().enumerate() {
                assert_eq!(codes.weight(input, output % WIDTH), rounded);
                let weight = case.weights[output * case.inputs + input];
                error += f64::from(rounded - weight).powi(2);
                square += f64::from(weight).powi(2);
            }
        }
        let relative = (error / square).sqrt();
        assert!(relative < within, "{weights}: {relative}");
    }
}

/// Also: a row has the same bits whichever rows run with it.
#[test]
fn every_kernel_is_its_safe_twin() {
    for outputs in [1, WIDTH - 1, WIDTH, WIDTH + 1, 3 * WIDTH + 5] {
        for inputs in [0, 1, 7, DEPTH - 1, DEPTH, DEPTH + 1, 2 * DEPTH + 3] {
            let case = Case::new(outputs, inputs);
            let expected = case.twin();
            for kernel in kernels() {
                let panels = case.panels(kernel);
                for rows in 0..=ROWS {
                    let found = case.product(&panels, rows);
                    let same = found == expected[..rows * outputs];
                    assert!(same, "{rows} rows of {inputs}, {outputs} outputs");
                }
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for (outputs, inputs) in [(40, 1000), (2000, 70), (3 * WIDTH, 2 * DEPTH)] {
        let case = Case::new(outputs, inputs);
        let expected = case.twin();
        for kernel in kernels() {
            let panels = case.panels(kernel);
            for threads in [1, 2, 3] {
                crate::set_threads(threads);
                for rows in [1, 5, ROWS] {
                    let found = case.product(&panels, rows);
                    let same = found == expected[..rows * outputs];
                    assert!(same, "{threads} threads, {rows} rows");
                }
            }
        }
    }
}

#[test]
fn nothing_is_written_past_the_rows() {
    const CANARY: f32 = 12345.0;
    for outputs in [5, WIDTH, WIDTH + 1] {
        let case = Case::new(outputs, 9);
        for kernel in kernels() {
            let panels = case.panels(kernel);
            for rows in 1..=ROWS {
                let length = rows * outputs;
                let mut out = vec![MaybeUninit::new(CANARY); length + 2 * WIDTH];
                assert!(panels.multiply(&case.x[..rows * 9], rows, &mut out[..length]));
                // SAFETY: all values were set when the vector was made.
                let beyond = out[length..].iter().map(|v| unsafe { v.assume_init() });
                assert!(beyond.into_iter().all(|v| v == CANARY), "{rows} rows");
            }
        }
    }
}

#[test]
fn a_value_that_is_no_number_stays_in_its_row() {
    let mut case = Case::new(WIDTH + 3, DEPTH + 1);
    let expected = case.twin();
    case.x[2 * case.inputs + DEPTH] = f32::NAN;
    for kernel in kernels() {
        let found = case.product(&case.panels(kernel), ROWS);
        for (row, (found, expected)) in found
            .chunks(case.outputs)
            .zip(expected.chunks(case.outputs))
            .enumerate()
        {
            match row {
                2 => assert!(found.iter().all(|v| v.is_nan())),
                _ => assert_eq!(found, expected, "row {row}"),
            }
        }
    }
}

#[test]
fn a_value_that_is_no_number_stays_in_its_row_with_codes_too() {
    let kernel = Kernel::of(Simd::best());
    for format in FORMS {
        let mut case = Case::new(WIDTH + 3, DEPTH + 1);
        let panels = case.panels_of(kernel, Some(format));
        let expected = case.code_twin(&panels, format);
        for bad in [f32::NAN, f32::INFINITY] {
            case.x[2 * case.inputs + DEPTH] = bad;
            let found = case.product(&panels, ROWS);
            let rows = found
                .chunks(case.outputs)
                .zip(expected.chunks(case.outputs));
            for (row, (found, expected)) in rows.enumerate() {
                match row {
                    2 => assert!(found.iter().all(|v| v.is_nan())),
                    _ => assert_eq!(found, expected, "row {row}"),
                }
            }
        }
    }
}

#[test]
fn rows_of_another_width_are_refused() {
    let case = Case::new(40, 70);
    for kernel in kernels() {
        let panels = case.panels(kernel);
        for (values, rows) in [(2 * 69, 2), (2 * 71, 2), (70, 0), (70, 2), (0, 1)] {
            let x = vec![1.0; values];
            let error = panels.product_of(&x, rows, &mut Vec::new()).unwrap_err();
            assert!(
                matches!(error, ModelError::RowShape { hidden: 70, .. }),
                "{error}"
            );
        }
    }
}
