//! How large the inputs of a layer's matrices are, as far as weights tell without any text.
//!
//! Rows of the residual begin as rows of the embedding, and which of their channels are large changes
//! little from layer to layer: the mean squares over the vocabulary stand for those before each norm.
//! A norm makes their mean 1 and multiplies with its gains. Behind it channels are taken as independent
//! of each other and normally distributed around 0, so an output with weights w has the variance
//! `Σ wᵢ² · E[xᵢ²]`. Attention's output matrix reads averages of values; the MLP's second reads
//! `silu(a) · b`, whose mean square is taken as `E[silu(a)²] · E[b²]`.
//!
//! Only ratios within a matrix' inputs mean anything. That is what [`crate::quantise`] asks for.

use crate::checkpoint::Checkpoint;
use crate::checkpoint::stored_matrix::codes_name;
use crate::embedding::EMBEDDING;
use crate::error::Result;
use crate::matrices::{Input, Stacked, Stored};
use tandem_shape::{ModelConfig, Norms, WeightType};

/// Rows of the embedding that are looked at, spread over the vocabulary.
const ROWS: usize = 4096;
/// Rows of the embedding, and bytes of other matrices, of which the file stays mapped in.
const MAPPED_ROWS: usize = 64;
const MAPPED_BYTES: usize = 1 << 20;
/// The least of a channel's mean square, of the mean of all: layers write where the embedding does
/// not.
const FLOOR: f32 = 0.1;

/// Mean squares of the inputs of one layer's matrices, the mean of each matrix' inputs 1; empty where
/// nothing is known.
#[derive(Debug, Default)]
pub(crate) struct InputSquares {
    attention: Vec<f32>,
    attended: Vec<f32>,
    mlp: Vec<f32>,
    gated: Vec<f32>,
}

/// Finds the [`InputSquares`] of layers.
pub(crate) struct SquaresOfLayers<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a ModelConfig,
    /// Of the residual's channels, once they were asked for.
    residual: Option<Vec<f32>>,
}

impl InputSquares {
    /// Those of a matrix.
    pub(crate) fn of(&self, input: Input) -> &[f32] {
        match input {
            Input::Attention => &self.attention,
            Input::Attended => &self.attended,
            Input::Mlp => &self.mlp,
            Input::Gated => &self.gated,
            Input::Head => &[],
        }
    }
}

impl<'a> SquaresOfLayers<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, config: &'a ModelConfig) -> Self {
        Self {
            checkpoint,
            config,
            residual: None,
        }
    }

    /// The squares that a layer's matrices need to become `weights`: none but for 4-bit integers that
    /// are not made yet.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen or of an unknown type.
    pub(crate) fn of_layer(&mut self, number: usize, weights: WeightType) -> Result<InputSquares> {
        let (checkpoint, config) = (self.checkpoint, self.config);
        let first = Stacked::query_key_value(config, number);
        let made = |part: &Stored| checkpoint.contains(&codes_name(&part.weight()));
        if !matches!(weights, WeightType::Int4(_)) || first.parts.iter().all(made) {
            return Ok(InputSquares::default());
        }
        if self.residual.is_none() {
            self.residual = Some(self.of_embedding()?);
        }
        let residual = self.residual.as_deref().unwrap_or_default();
        let normalised = |norm: &str| -> Result<Vec<f32>> {
            let gains = checkpoint.vector(&Norms::tensor(norm, number), config.hidden)?;
            Ok(gains.iter().zip(residual).map(|(g, r)| g * g * r).collect())
        };
        let norms = config.architecture.family().norms;
        let (attention, mlp) = (
            normalised(norms.before_attention)?,
            normalised(norms.before_mlp)?,
        );

        let [_, _, value] = &first.parts[..] else {
            unreachable!("queries, keys and values");
        };
        let values = Outputs::of(checkpoint, value, &attention)?;
        let heads = values.mean_squares();
        let heads = heads.chunks_exact(config.head_dim);
        let attended = heads.flat_map(|head| std::iter::repeat_n(head, config.group()).flatten());

        let gate_up = Stacked::gate_up(config, number);
        let [gate, up] = &gate_up.parts[..] else {
            unreachable!("gate and up");
        };
        let gate = Outputs::of(checkpoint, gate, &mlp)?;
        let up = Outputs::of(checkpoint, up, &mlp)?.mean_squares();
        let gate = gate.means.iter().zip(&gate.variances);
        let gated = gate.zip(up).map(|((m, v), up)| silu_square(*m, *v) * up);
        Ok(InputSquares {
            attended: relative(attended.copied().collect()),
            gated: relative(gated.collect()),
            attention: relative(attention),
            mlp: relative(mlp),
        })
    }

    /// Of the residual's channels by the embedding, their mean 1; all 1 where it is not there in floats.
    fn of_embedding(&self) -> Result<Vec<f32>> {
        let (hidden, vocabulary) = (self.config.hidden, self.config.vocabulary);
        let alike = vec![1.0; hidden];
        if !self.checkpoint.contains(EMBEDDING) {
            return Ok(alike);
        }
        let table = self.checkpoint.tensor(EMBEDDING, &[vocabulary, hidden])?;
        let mut sums = vec![0.0; hidden];
        let mut row = Vec::with_capacity(hidden);
        let numbers = (0..vocabulary).step_by(vocabulary.div_ceil(ROWS).max(1));
        for (seen, number) in numbers.enumerate() {
            row.clear();
            table.append_row(number, hidden, &mut row);
            sums.iter_mut().zip(&row).for_each(|(s, x)| *s += x * x);
            if seen % MAPPED_ROWS == MAPPED_ROWS - 1 {
                table.release();
            }
        }
        table.release();
        Ok(match relative(sums) {
            sums if sums.is_empty() => alike,
            sums => sums.iter().map(|s| s.max(FLOOR)).collect(),
        })
    }
}

/// What is known of a matrix' outputs.
struct Outputs {
    means: Vec<f32>,
    variances: Vec<f32>,
}

impl Outputs {
    /// Of inputs whose means are 0 and whose squares are `squares` on the whole.
    fn of(checkpoint: &Checkpoint, matrix: &Stored, squares: &[f32]) -> Result<Self> {
        let weights = checkpoint.tensor(&matrix.weight(), &[matrix.outputs, squares.len()])?;
        let mut row = Vec::with_capacity(squares.len());
        let mut variances = Vec::with_capacity(matrix.outputs);
        let at_once = (MAPPED_BYTES / (4 * squares.len()).max(1)).max(1);
        for output in 0..matrix.outputs {
            row.clear();
            weights.append_row(output, squares.len(), &mut row);
            variances.push(weighted_square(&row, squares));
            if output % at_once == at_once - 1 {
                weights.release();
            }
        }
        weights.release();
        let means = if matrix.bias {
            matrix.bias_values(checkpoint)?
        } else {
            vec![0.0; matrix.outputs]
        };
        Ok(Self { means, variances })
    }

    fn mean_squares(&self) -> Vec<f32> {
        let both = self.means.iter().zip(&self.variances);
        both.map(|(mean, variance)| mean * mean + variance)
            .collect()
    }
}

/// Divided by their mean; nothing where that is 0 or no number.
fn relative(mut squares: Vec<f32>) -> Vec<f32> {
    let mean = squares.iter().sum::<f32>() / squares.len() as f32;
    if mean > 0.0 && mean.is_finite() {
        squares.iter_mut().for_each(|s| *s /= mean)
    } else {
        squares.clear()
    }
    squares
}

/// `Σ weightᵢ² · squareᵢ`.
fn weighted_square(weights: &[f32], squares: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (parts, rest) = weights.as_chunks::<LANES>();
    let (squares, squares_rest) = squares.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (weights, squares) in parts.iter().zip(squares) {
        for lane in 0..LANES {
            sums[lane] += weights[lane] * weights[lane] * squares[lane];
        }
    }
    let rest = rest.iter().zip(squares_rest).map(|(w, s)| w * w * s);
    sums.iter().sum::<f32>() + rest.sum::<f32>()
}

/// `E[silu(x)²]` for a normally distributed x, by the trapezoidal rule, to within 1%.
fn silu_square(mean: f32, variance: f32) -> f32 {
    const STEPS: i8 = 24;
    let deviation = variance.sqrt();
    let (mut sum, mut densities) = (0.0, 0.0);
    for step in -STEPS..=STEPS {
        let z = f32::from(step) * (6.0 / f32::from(STEPS));
        let density = libm::expf(-0.5 * z * z);
        let x = mean + deviation * z;
        let silu = x / (1.0 + libm::expf(-x));
        sum += density * silu * silu;
        densities += density;
    }
    sum / densities
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::plain::{Plain, PlainRows};
    use crate::backend::{Backend, Heads, Run};
    use crate::decoder_layer::{DecoderLayer, Scratch};
    use crate::kv_cache::{KvMemory, page_bytes};
    use crate::quantise::coded_row::CodedRow;
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;
    use std::ops::ControlFlow;
    use std::path::Path;
    use tandem_shape::{Group, KvType};

    const INT4: WeightType = WeightType::Int4(Group::G32);

    fn model(name: &str) -> (Checkpoint, ModelConfig) {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models");
        let directory = models.join(name);
        let config = ModelConfig::load(&directory).unwrap();
        (Checkpoint::open(&directory).unwrap(), config)
    }

    /// Rows of independent, normally distributed channels whose mean squares are these.
    fn rows(count: usize, squares: &[f32]) -> Vec<f32> {
        // SplitMix64.
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (((mixed ^ (mixed >> 31)) >> 40) as f64 + 0.5) / f64::from(1 << 24)
        };
        let mut normal = || {
            let (radius, angle) = (-2.0 * uniform().ln(), std::f64::consts::TAU * uniform());
            (radius.sqrt() * angle.cos()) as f32
        };
        let channels = squares.iter().cycle().take(count * squares.len());
        channels.map(|square| normal() * square.sqrt()).collect()
    }

    fn layer(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        squares: &InputSquares,
        weights: WeightType,
    ) -> DecoderLayer<Plain> {
        let plain = Plain::new();
        DecoderLayer::load(&plain, checkpoint, config, 1, squares, weights).unwrap()
    }

    /// What a layer's matrices are given for rows that know of no others, since each is a session of its
    /// own. `look` is called with each in turn.
    fn look_at(
        layer: &DecoderLayer<Plain>,
        config: &ModelConfig,
        rows: &[f32],
        mut look: impl FnMut(Input, &PlainRows),
    ) {
        let plain = Plain::new();
        let (heads, kv) = (Heads::of(config), KvType::F32);
        let count = rows.len() / config.hidden;
        let runs = vec![Run { rows: 1, past: 0 }; count];
        let frequencies = config.rope.inverse_frequencies(config.head_dim);
        let step = plain.step(heads, &frequencies, kv, &runs).unwrap();
        let memory = KvMemory::new(page_bytes(config, kv));
        let mut caches: Vec<_> = (0..count).map(|_| plain.kv(heads, kv, &memory)).collect();
        for cache in &mut caches {
            cache.set_pages(1).unwrap();
        }
        let mut own: Vec<_> = caches
            .iter_mut()
            .map(|kv| Plain::own_kv(kv).unwrap())
            .collect();
        let mut residual = plain.rows(rows.to_vec(), config.hidden).unwrap();
        let mut scratch = Scratch::default();
        let mut observe = |input: Input, x: &PlainRows| {
            look(input, x);
            Ok(ControlFlow::Continue(()))
        };
        let (residual, scratch) = (&mut residual, &mut scratch);
        layer
            .forward(&plain, residual, &step, &mut own, scratch, &mut observe)
            .unwrap();
    }

    /// A layer whose attention adds nothing, so that its MLP sees the rows as they are.
    fn without_attention(
        mut layer: DecoderLayer<Plain>,
        config: &ModelConfig,
    ) -> DecoderLayer<Plain> {
        let plain = Plain::new();
        let inputs = config.heads * config.head_dim;
        let none = CodedRow {
            codes: vec![0; inputs],
            grids: Vec::new(),
            scale: 0.0,
        };
        let rows = vec![none; config.hidden];
        let bias = vec![0.0; config.hidden];
        let nothing = plain.coded_matrix(&rows, inputs, &bias, WeightType::Int8);
        *layer.matrix_mut(Input::Attended).unwrap() = nothing.unwrap();
        layer
    }

    /// Mean squares of columns.
    fn seen(x: &[f32], width: usize) -> Vec<f32> {
        let mut sums = vec![0.0f64; width];
        for row in x.chunks(width) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += f64::from(*x).powi(2);
            }
        }
        let count = (x.len() / width) as f64;
        sums.into_iter().map(|sum| (sum / count) as f32).collect()
    }

    /// How far squares are from others on the whole, of each the mean taken as 1: the mean of
    /// |ln(one / other)|.
    fn distance(found: &[f32], seen: &[f32]) -> f32 {
        assert_eq!(found.len(), seen.len());
        let (found, seen) = (relative(found.to_vec()), relative(seen.to_vec()));
        let far = found.iter().zip(seen).map(|(f, s)| (f / s).ln().abs());
        far.sum::<f32>() / found.len() as f32
    }

    /// With rows as they are thought to be.
    #[test]
    fn what_a_layer_sees_is_what_was_foretold() {
        let plain = Plain::new();
        for name in [
            "llama-gqa-llama3-tied",
            "llama-mha-untied-bias",
            "qwen2-bias",
            "mistral-headdim",
        ] {
            let (checkpoint, config) = model(name);
            let mut squares = SquaresOfLayers::new(&checkpoint, &config);
            let found = squares.of_layer(1, INT4).unwrap();
            let rows = rows(8000, &squares.residual.unwrap());
            let unknown = InputSquares::default();
            let layer = layer(&checkpoint, &config, &unknown, WeightType::F32);
            let mut inputs = 0;
            look_at(
                &without_attention(layer, &config),
                &config,
                &rows,
                |input, x| {
                    let found = found.of(input);
                    let seen = seen(&plain.copied(x).unwrap(), found.len());
                    let far = distance(found, &seen);
                    assert!(far < 0.2, "{name}, {input:?}: {far}");
                    // And not because all are alike.
                    let alike = distance(&vec![1.0; seen.len()], &seen);
                    assert!(far < 0.6 * alike, "{name}, {input:?}: {far} of {alike}");
                    inputs += 1;
                },
            );
            assert_eq!(inputs, 4);
        }
    }

    /// By the mean squared error of what attention and MLP add, against inputs that all count the same.
    #[test]
    fn integers_are_nearer_with_what_is_known() {
        let plain = Plain::new();
        let mut gains = [1.0; 2];
        for name in ["llama-gqa-llama3-tied", "qwen2-bias", "mistral-headdim"] {
            let (checkpoint, config) = model(name);
            let mut squares = SquaresOfLayers::new(&checkpoint, &config);
            let known = squares.of_layer(1, INT4).unwrap();
            let rows = rows(2000, &squares.residual.unwrap());

            let unknown = InputSquares::default();
            let [exact, plainly, better] = [
                (&unknown, WeightType::F32),
                (&unknown, INT4),
                (&known, INT4),
            ]
            .map(|(squares, weights)| {
                let mut own = layer(&checkpoint, &config, squares, weights);
                let mut attended = PlainRows::default();
                look_at(&own, &config, &rows, |input, x| {
                    if input == Input::Attended {
                        let values = plain.copied(x).unwrap();
                        attended = plain.rows(values, config.heads * config.head_dim).unwrap();
                    }
                });
                let mut added = [PlainRows::default(), PlainRows::default()];
                let output = own.matrix_mut(Input::Attended).unwrap();
                plain.multiply(output, &attended, &mut added[0]).unwrap();
                let mut gated = PlainRows::default();
                let mut alone = without_attention(own, &config);
                look_at(&alone, &config, &rows, |input, x| {
                    if input == Input::Gated {
                        let values = plain.copied(x).unwrap();
                        gated = plain.rows(values, config.intermediate).unwrap();
                    }
                });
                let down = alone.matrix_mut(Input::Gated).unwrap();
                plain.multiply(down, &gated, &mut added[1]).unwrap();
                added.map(|rows| plain.values(rows).unwrap())
            });
            for (part, gain) in gains.iter_mut().enumerate() {
                let error = |found: &[Vec<f32>; 2]| -> f64 {
                    let pairs = exact[part].iter().zip(&found[part]);
                    pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
                };
                *gain *= error(&better) / error(&plainly);
            }
        }
        // Of three models together: where inputs are much alike a single one may lose a little.
        assert!(gains.iter().all(|&gain| gain < 0.98), "{gains:?}");
    }

    #[test]
    fn nothing_is_worked_out_where_nothing_asks() {
        let (checkpoint, config) = model("llama-gqa-llama3-tied");
        let mut squares = SquaresOfLayers::new(&checkpoint, &config);
        for weights in [WeightType::F32, WeightType::Bf16, WeightType::Int8] {
            let found = squares.of_layer(0, weights).unwrap();
            assert!(found.of(Input::Attention).is_empty() && found.of(Input::Gated).is_empty());
        }
        assert!(squares.residual.is_none());
        assert!(squares.of_layer(99, INT4).is_err());
    }

    #[test]
    fn integers_that_are_made_ask_for_nothing_and_no_embedding_tells_nothing() {
        let (_, config) = model("llama-gqa-llama3-tied");
        let made = ["q", "k", "v"].map(|part| {
            let name = format!("model.layers.0.self_attn.{part}_proj.weight.codes");
            (name, TensorView::new(Dtype::U8, vec![1], &[0]).unwrap())
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        safetensors::serialize_to_file(made, None, file.path()).unwrap();
        let checkpoint = Checkpoint::open_file(file.path()).unwrap();
        let mut squares = SquaresOfLayers::new(&checkpoint, &config);
        let found = squares.of_layer(0, INT4).unwrap();
        assert!(found.of(Input::Attention).is_empty());
        // The next layer would be made here, and is not there.
        assert!(squares.of_layer(1, INT4).is_err());
        assert_eq!(squares.residual.unwrap(), vec![1.0; config.hidden]);
    }

    #[test]
    fn squares_are_relative_and_nothing_where_there_is_no_mean() {
        assert_eq!(relative(vec![1e-30, 3e-30]), [0.5, 1.5]);
        for bad in [f32::NAN, f32::INFINITY, 0.0] {
            assert!(relative(vec![0.0, bad]).is_empty());
        }
        assert!(relative(Vec::new()).is_empty());
    }

    #[test]
    fn silu_squared_of_narrow_and_wide_and_shifted() {
        // Near 0 silu is x / 2; of a wide spread half is x and half is 0.
        assert!((silu_square(0.0, 1e-4) / 0.25e-4 - 1.0).abs() < 1e-2);
        assert!((silu_square(0.0, 1e4) / 0.5e4 - 1.0).abs() < 1e-2);
        assert!((silu_square(50.0, 4.0) / 2504.0 - 1.0).abs() < 1e-3);
        assert_eq!(silu_square(0.0, 0.0), 0.0);
        assert!((silu_square(1.0, 0.0) - 0.731_058_6f32.powi(2)).abs() < 1e-5);
    }

    #[test]
    fn squares_of_odd_lengths_are_summed_to_the_end() {
        let weights: Vec<f32> = (0..19u8).map(f32::from).collect();
        let squares: Vec<f32> = (0..19u8).map(|i| f32::from(i % 3)).collect();
        let plain = weights.iter().zip(&squares).map(|(w, s)| w * w * s);
        assert_eq!(weighted_square(&weights, &squares), plain.sum::<f32>());
    }
}
