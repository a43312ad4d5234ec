//! The tensors of a package, in the order they are written.

use crate::checkpoint::stored_matrix::{
    StoredMatrix, codes_layout, codes_name, scales_layout, scales_name,
};
use crate::checkpoint::{Checkpoint, FloatType, StoredTensor};
use crate::embedding::EMBEDDING;
use crate::error::{ModelError, Result};
use crate::matrices::{HEAD, Input, Stacked, Stored};
use crate::package::prepare::{EmbeddingType, Preparation};
use crate::package::weights_file::{Planned, WeightsFile};
use crate::quantise::calibrator::CodedLayer;
use crate::quantise::coded_row::{CodeFormat, CodedRow, code_rows};
use crate::quantise::input_squares::InputSquares;
use half::bf16;
use safetensors::Dtype;
use tandem_shape::{Norms, WeightType};

/// Rows that are read at once.
const ROWS: usize = 256;

/// A tensor or two of a package.
pub(crate) struct Piece {
    /// Of which layer; none for what is before and behind them.
    pub(crate) layer: Option<usize>,
    what: What,
}

enum What {
    /// A tensor as it is stored.
    Copy { name: String, shape: Vec<usize> },
    /// A matrix in the type it will be held in.
    Matrix {
        stored: Stored,
        inputs: usize,
        weights: WeightType,
        /// What it is called in the package.
        name: String,
        /// What it multiplies; a table nothing.
        input: Option<Input>,
    },
}

/// Everything that is written, in order.
pub(crate) fn package_tensors(preparation: &Preparation<'_>) -> Result<Vec<Piece>> {
    let (config, range) = (preparation.config, preparation.range);
    let head = preparation.weights.of_head();
    let int8 = preparation.embedding == EmbeddingType::Int8;
    let head_is_table = range.is_last() && config.tied_head && CodeFormat::of(head).is_none();
    if head_is_table && int8 {
        return Err(ModelError::TableOfHead { head });
    }
    let mut pieces = Vec::new();
    if range.is_first() || head_is_table {
        let table = Stored {
            name: EMBEDDING.trim_end_matches(".weight").to_owned(),
            outputs: config.vocabulary,
            bias: false,
        };
        let weights = match int8 {
            true => WeightType::Int8,
            false if range.is_first() => WeightType::F32,
            false => head,
        };
        pieces.push(Piece::matrix(None, table, config.hidden, weights, None));
    }
    for number in range.start()..range.end() {
        let weights = preparation.weights.of_layer(number);
        let norms = config.architecture.family().norms;
        let norm = |name: &str| Norms::tensor(name, number);
        let mut copy = |name: String, size| {
            let shape = vec![size];
            pieces.push(Piece {
                layer: Some(number),
                what: What::Copy { name, shape },
            });
        };
        copy(norm(norms.before_attention), config.hidden);
        copy(norm(norms.before_mlp), config.hidden);
        if config.qk_norm {
            copy(norm(norms.query), config.head_dim);
            copy(norm(norms.key), config.head_dim);
        }
        for matrix in [
            Stacked::query_key_value(config, number),
            Stacked::attention_output(config, number),
            Stacked::gate_up(config, number),
            Stacked::down(config, number),
        ] {
            for part in matrix.parts {
                let bias = part.bias.then(|| (part.bias(), part.outputs));
                let layer = Some(number);
                let input = Some(matrix.input);
                pieces.push(Piece::matrix(layer, part, matrix.inputs, weights, input));
                if let Some((name, size)) = bias {
                    let shape = vec![size];
                    let what = What::Copy { name, shape };
                    pieces.push(Piece { layer, what });
                }
            }
        }
    }
    if range.is_last() {
        pieces.push(Piece {
            layer: None,
            what: What::Copy {
                name: "model.norm.weight".to_owned(),
                shape: vec![config.hidden],
            },
        });
        if !head_is_table {
            let matrix = Stacked::head(config, preparation.checkpoint);
            for part in matrix.parts {
                let what = What::Matrix {
                    name: format!("{HEAD}.weight"),
                    stored: part,
                    inputs: matrix.inputs,
                    weights: head,
                    input: Some(matrix.input),
                };
                pieces.push(Piece { layer: None, what });
            }
        }
    }
    Ok(pieces)
}

impl Piece {
    fn matrix(
        layer: Option<usize>,
        stored: Stored,
        inputs: usize,
        weights: WeightType,
        input: Option<Input>,
    ) -> Self {
        let what = What::Matrix {
            name: stored.weight(),
            stored,
            inputs,
            weights,
            input,
        };
        Self { layer, what }
    }

    /// The tensors it will be.
    pub(crate) fn planned(&self, checkpoint: &Checkpoint) -> Result<Vec<Planned>> {
        match &self.what {
            What::Copy { name, shape } => {
                let dtype = dtype(&checkpoint.tensor(name, shape)?);
                Ok(vec![(name.clone(), dtype, shape.clone())])
            }
            What::Matrix {
                stored,
                inputs,
                weights,
                name,
                ..
            } => {
                let (outputs, inputs) = (stored.outputs, *inputs);
                let Some(format) = CodeFormat::of(*weights) else {
                    let floats = floats(checkpoint, stored, inputs, *weights)?;
                    let dtype = match weights {
                        WeightType::Bf16 => Dtype::BF16,
                        _ => dtype(&floats),
                    };
                    return Ok(vec![(name.clone(), dtype, vec![outputs, inputs])]);
                };
                let (codes, scales) = (
                    codes_layout(format, outputs, inputs),
                    scales_layout(format, outputs, inputs),
                );
                Ok(vec![
                    (codes_name(name), codes.0, codes.1),
                    (scales_name(name), scales.0, scales.1),
                ])
            }
        }
    }

    /// Writes it: a calibrated matrix by its rows, any other from the checkpoint and by what is known of
    /// its inputs.
    pub(crate) fn write(
        &self,
        checkpoint: &Checkpoint,
        coded: Option<&CodedLayer>,
        squares: &InputSquares,
        file: &mut WeightsFile,
    ) -> Result<()> {
        let (stored, inputs, weights, input) = match &self.what {
            What::Copy { name, shape } => {
                return file.write(checkpoint.tensor(name, shape)?.bytes());
            }
            What::Matrix {
                stored,
                inputs,
                weights,
                input,
                ..
            } => (stored, *inputs, *weights, input),
        };
        let Some(format) = CodeFormat::of(weights) else {
            return write_floats(&floats(checkpoint, stored, inputs, weights)?, weights, file);
        };
        if let Some(rows) = coded.and_then(|c| c.get(&stored.weight())) {
            return write_codes(format, rows, file);
        }
        let floats = floats(checkpoint, stored, inputs, weights)?;
        let importance = input.map_or(&[][..], |input| squares.of(input));
        let mut rows = Vec::with_capacity(stored.outputs);
        for_rows(&floats, |values| {
            stored.check(checkpoint, weights, values)?;
            rows.extend(code_rows(format, values, inputs, importance));
            Ok(())
        })?;
        write_codes(format, &rows, file)
    }
}

fn dtype(stored: &StoredTensor) -> Dtype {
    match stored.float_type {
        FloatType::F16 => Dtype::F16,
        FloatType::Bf16 => Dtype::BF16,
        _ => Dtype::F32,
    }
}

/// A matrix of a model: a package cannot be packed again.
fn floats(
    checkpoint: &Checkpoint,
    stored: &Stored,
    inputs: usize,
    weights: WeightType,
) -> Result<StoredTensor> {
    match stored.open(checkpoint, inputs, weights)? {
        StoredMatrix::Floats(floats) => Ok(floats),
        StoredMatrix::Codes(_) => Err(ModelError::StoredInIntegers {
            tensor: stored.weight(),
            asked: weights,
        }),
    }
}

/// Calls `work` with some rows' values after the other.
fn for_rows(floats: &StoredTensor, mut work: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
    let (outputs, inputs) = (floats.shape[0], floats.shape[1]);
    let mut values = Vec::new();
    for begin in (0..outputs).step_by(ROWS) {
        values.clear();
        for row in begin..outputs.min(begin + ROWS) {
            floats.append_row(row, inputs, &mut values);
        }
        work(&values)?;
        floats.release();
    }
    Ok(())
}

fn write_floats(floats: &StoredTensor, weights: WeightType, file: &mut WeightsFile) -> Result<()> {
    if weights == WeightType::F32 {
        file.write(floats.bytes())?;
        floats.release();
        return Ok(());
    }
    for_rows(floats, |values| {
        let rounded = values.iter().map(|&v| bf16::from_f32(v));
        let bytes: Vec<u8> = rounded.flat_map(bf16::to_le_bytes).collect();
        file.write(&bytes)
    })
}

fn write_codes(format: CodeFormat, rows: &[CodedRow], file: &mut WeightsFile) -> Result<()> {
    let mut bytes = Vec::new();
    for row in rows {
        bytes.clear();
        row.append_codes(format, &mut bytes);
        file.write(&bytes)?;
    }
    for row in rows {
        bytes.clear();
        row.append_scales(format, &mut bytes);
        file.write(&bytes)?;
    }
    Ok(())
}
