//! Rotary-embedding settings: `rope_theta` and `rope_scaling` as transformers 4 writes them.

use std::f64::consts::PI;
use std::os::unix::fs::FileExt;

use crate::container::{Container, StoredTensor};
use crate::error::{GgufError, refuse};
use crate::own_keys::{OwnKeys, finite};
use crate::python_json::{Json, decimal};
use crate::tensor_type::TensorType;

/// The tensor in which GGUF keeps one frequency divisor per rotated pair.
pub(crate) const FACTORS: &str = "rope_freqs.weight";

const LOW_FREQ_FACTOR: f64 = 1.0;
const HIGH_FREQ_FACTOR: f64 = 4.0;
/// Stored divisors may differ by this much, relatively, from those that the parameters give.
const TOLERANCE: f64 = 1e-4;
/// Contexts that a model was first trained with, where the file does not say: powers of two.
const ORIGINAL_CONTEXTS: std::ops::Range<u32> = 8..21;

/// How positions are rotated.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    pub(crate) theta: f64,
    pub(crate) scaling: Option<Scaling>,
}

/// How frequencies are stretched beyond what the model was first trained with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    Linear { factor: f64 },
    Llama3 { factor: f64, original_context: i128 },
}

impl Scaling {
    pub(crate) fn to_json(&self) -> Json<'static> {
        match *self {
            Self::Linear { factor } => Json::map([
                ("type", "linear".into()),
                ("rope_type", "linear".into()),
                ("factor", factor.into()),
            ]),
            Self::Llama3 {
                factor,
                original_context,
            } => Json::map([
                ("type", "llama3".into()),
                ("rope_type", "llama3".into()),
                ("factor", factor.into()),
                ("low_freq_factor", LOW_FREQ_FACTOR.into()),
                ("high_freq_factor", HIGH_FREQ_FACTOR.into()),
                ("original_max_position_embeddings", original_context.into()),
            ]),
        }
    }
}

/// Reads the settings; refuses by name what is not `default`, `linear` or `llama3`.
pub(crate) fn read_rope(
    container: &Container,
    own: &OwnKeys<'_>,
    head_dim: i128,
) -> Result<Rope, GgufError> {
    let rotated = own.int("rope.dimension_count")?.unwrap_or(head_dim);
    if rotated != head_dim {
        return refuse(format!(
            "rope.dimension_count {rotated} rotates only a part of head_dim {head_dim}: not supported"
        ));
    }
    if let Some(name) = container
        .tensors
        .keys()
        .find(|name| name.starts_with("rope_factors_"))
    {
        return refuse(format!("rope type longrope (tensor {name}): not supported"));
    }
    let theta = finite(
        own,
        "rope.freq_base",
        own.float("rope.freq_base")?.unwrap_or(10000.0),
    )?;
    Ok(Rope {
        theta,
        scaling: scaling(container, own, theta, head_dim)?,
    })
}

fn scaling(
    container: &Container,
    own: &OwnKeys<'_>,
    theta: f64,
    head_dim: i128,
) -> Result<Option<Scaling>, GgufError> {
    // Files from before `rope.scaling.*` say linear scaling by `rope.scale_linear` alone.
    let old_factor = own.float("rope.scale_linear")?;
    let factor = own.float("rope.scaling.factor")?.or(old_factor);
    let scales = !matches!(factor, None | Some(0.0 | 1.0));
    let linear = match own.text("rope.scaling.type")? {
        None => scales,
        Some("none") => false,
        Some("linear") => true,
        Some(other) => {
            return refuse(format!(
                "rope type {other}: not supported (none, linear and llama3 are)"
            ));
        }
    };
    if let Some(stored) = container.tensors.get(FACTORS) {
        if linear && scales {
            return refuse(format!(
                "rope type linear together with {FACTORS}: not supported"
            ));
        }
        let divisors = read_divisors(container, own, stored, head_dim)?;
        return llama3(own, &divisors, theta, head_dim);
    }
    if !linear || factor == Some(1.0) {
        return Ok(None);
    }
    match factor {
        Some(factor) if factor > 0.0 && factor.is_finite() => Ok(Some(Scaling::Linear {
            factor: decimal(factor),
        })),
        found => {
            let found = found.map_or_else(|| "None".to_owned(), |factor| format!("{factor:?}"));
            refuse(format!(
                "rope type linear needs a positive {}, found {found}",
                own.key("rope.scaling.factor")
            ))
        }
    }
}

/// The stored divisors, one for each pair of a head.
fn read_divisors(
    container: &Container,
    own: &OwnKeys<'_>,
    stored: &StoredTensor,
    head_dim: i128,
) -> Result<Vec<f64>, GgufError> {
    let width = match stored.kind {
        TensorType::F32 => 4,
        TensorType::F16 => 2,
        TensorType::F64 => 8,
        other => {
            return Err(GgufError::TensorType {
                name: FACTORS.into(),
                kind: other.name(),
            });
        }
    };
    // The length is known to lie within the file; that it fits a head bounds what is read.
    let count = i128::from(stored.bytes / width);
    if count != head_dim / 2 {
        return Err(GgufError::Misshapen {
            name: FACTORS.into(),
            expected: vec![head_dim / 2],
            found: vec![count],
        });
    }
    let mut raw = vec![0; stored.bytes as usize];
    container
        .file
        .read_exact_at(&mut raw, stored.offset)
        .map_err(GgufError::io(own.metadata.path()))?;
    Ok(match stored.kind {
        TensorType::F32 => raw
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
            .collect(),
        TensorType::F16 => raw
            .as_chunks()
            .0
            .iter()
            .map(|bytes| half::f16::from_le_bytes(*bytes).to_f64())
            .collect(),
        _ => raw
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect(),
    })
}

/// The llama3 parameters that reproduce the stored divisors, or a refusal.
fn llama3(
    own: &OwnKeys<'_>,
    found: &[f64],
    theta: f64,
    head_dim: i128,
) -> Result<Option<Scaling>, GgufError> {
    if found.iter().all(|divisor| *divisor == 1.0) {
        return Ok(None);
    }
    let factor = decimal(found.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    let declared = own
        .int("rope.scaling.original_context_length")?
        .filter(|length| *length != 0);
    let candidates = match declared {
        Some(length) => vec![length],
        None => ORIGINAL_CONTEXTS.map(|power| 1 << power).collect(),
    };
    for original_context in candidates {
        let fits = found.iter().enumerate().all(|(pair, divisor)| {
            let expected = llama3_divisor(theta, head_dim, factor, original_context, pair);
            // False for what is not a number, too.
            (divisor - expected).abs() <= TOLERANCE * expected
        });
        if fits {
            return Ok(Some(Scaling::Llama3 {
                factor,
                original_context,
            }));
        }
    }
    refuse(format!(
        "tensor {FACTORS} holds divisors that no llama3 scaling with factors {LOW_FREQ_FACTOR} and \
         {HIGH_FREQ_FACTOR} explains: this rope type is not supported"
    ))
}

/// What Llama 3.1's scaling divides the frequency of a pair by.
///
/// Wavelengths shorter than a quarter of the original context stay, those longer than all of it are
/// divided by `factor`, and between the two the reciprocal goes over linearly.
fn llama3_divisor(
    theta: f64,
    head_dim: i128,
    factor: f64,
    original_context: i128,
    pair: usize,
) -> f64 {
    let wavelength = 2.0 * PI * theta.powf((2 * pair) as f64 / head_dim as f64);
    let turns = original_context as f64 / wavelength;
    let smooth = ((turns - LOW_FREQ_FACTOR) / (HIGH_FREQ_FACTOR - LOW_FREQ_FACTOR)).clamp(0.0, 1.0);
    1.0 / ((1.0 - smooth) / factor + smooth)
}
