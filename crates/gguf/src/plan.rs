//! Which GGUF tensor becomes which Hugging Face tensor.

use std::collections::BTreeMap;
use std::path::Path;

use crate::architecture::{Config, EMBEDDING, Family};
use crate::container::{Container, StoredTensor};
use crate::dequantise::{Rule, rule};
use crate::error::GgufError;
use crate::rope::FACTORS;

/// A vector whose elements change places is held in memory whole; no bias is near this long.
const MAX_REORDERED_VECTOR: u64 = 1 << 22;

/// One tensor to write.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// Its name in Hugging Face's form.
    pub(crate) name: String,
    /// Sizes, the outermost dimension first: one or two.
    pub(crate) shape: Vec<u64>,
    /// Where it comes from; `None` for a bias that GGUF leaves out and the class expects: zeros.
    pub(crate) source: Option<Source>,
    /// The number of heads whose rows GGUF keeps in pairs, `None` where it keeps them as they are.
    pub(crate) paired_heads: Option<u64>,
}

/// A stored tensor with its rule.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its name in GGUF.
    pub(crate) name: String,
    pub(crate) stored: StoredTensor,
    pub(crate) rule: Rule,
}

impl Planned {
    /// Values in the tensor.
    pub(crate) fn values(&self) -> u64 {
        // A stored tensor's product was checked when the file was opened; zeros are only vectors.
        self.shape.iter().product()
    }

    /// Values in a row; a vector's rows are its elements.
    pub(crate) fn columns(&self) -> u64 {
        self.shape.get(1).copied().unwrap_or(1)
    }
}

/// Every tensor of the model in writing order.
///
/// # Errors
/// Refuses missing, misshapen and unexpected tensors, and types that cannot be dequantised.
pub(crate) fn plan(container: &Container, config: &Config) -> Result<Vec<Planned>, GgufError> {
    let mut left = container.tensors.clone();
    left.remove(FACTORS);
    let path = container.metadata.path();
    let paired = matches!(config.family, Family::Llama | Family::Mistral);
    let mut taker = Taker {
        left,
        path,
        paired,
        planned: Vec::new(),
    };
    let (hidden, vocabulary) = (config.hidden, config.vocabulary);

    taker.take(
        EMBEDDING,
        "model.embed_tokens.weight",
        &[vocabulary, hidden],
    )?;
    let mut layer = 0;
    // The file's tensors end this loop, whatever number of layers it claims.
    while layer < config.layers {
        plan_layer(&mut taker, config, layer)?;
        layer += 1;
    }
    taker.take("output_norm.weight", "model.norm.weight", &[hidden])?;
    if !config.tied {
        taker.take("output.weight", "lm_head.weight", &[vocabulary, hidden])?;
    }
    match taker.left.pop_first() {
        None => Ok(taker.planned),
        Some((name, _)) => Err(GgufError::NoPlace {
            path: path.to_path_buf(),
            name,
            class: config.family.class(),
        }),
    }
}

fn plan_layer(taker: &mut Taker<'_>, config: &Config, layer: i128) -> Result<(), GgufError> {
    let (hidden, inner, head_dim) = (config.hidden, config.inner, config.head_dim);
    let (heads, kv_heads) = (config.heads, config.kv_heads);
    let (queries, keys) = (
        heads.saturating_mul(head_dim),
        kv_heads.saturating_mul(head_dim),
    );
    let (here, there) = (format!("blk.{layer}."), format!("model.layers.{layer}."));
    let name = |stored: &str, name: &str| (format!("{here}{stored}"), format!("{there}{name}"));

    let (stored, norm) = name("attn_norm.weight", "input_layernorm.weight");
    taker.take(&stored, &norm, &[hidden])?;
    for (stored_part, part, rows, columns, paired_heads) in [
        ("attn_q", "q", queries, hidden, Some(heads)),
        ("attn_k", "k", keys, hidden, Some(kv_heads)),
        ("attn_v", "v", keys, hidden, None),
        ("attn_output", "o", hidden, queries, None),
    ] {
        let projection = format!("self_attn.{part}_proj");
        let (stored, weight) = name(
            &format!("{stored_part}.weight"),
            &format!("{projection}.weight"),
        );
        taker.take_heads(&stored, &weight, &[rows, columns], paired_heads, false)?;
        // Qwen2 has biases by definition, on all but the output; elsewhere one brings all four.
        let qwen2 = config.family == Family::Qwen2;
        if if qwen2 {
            part != "o"
        } else {
            config.attention_bias
        } {
            let (stored, bias) = name(
                &format!("{stored_part}.bias"),
                &format!("{projection}.bias"),
            );
            taker.take_heads(&stored, &bias, &[rows], paired_heads, !qwen2)?;
        }
    }
    if config.family == Family::Qwen3 {
        for part in ["q", "k"] {
            let (stored, norm) = name(
                &format!("attn_{part}_norm.weight"),
                &format!("self_attn.{part}_norm.weight"),
            );
            taker.take(&stored, &norm, &[head_dim])?;
        }
    }
    let (stored, norm) = name("ffn_norm.weight", "post_attention_layernorm.weight");
    taker.take(&stored, &norm, &[hidden])?;
    for (part, rows, columns) in [
        ("gate", inner, hidden),
        ("up", inner, hidden),
        ("down", hidden, inner),
    ] {
        let (stored, weight) = name(
            &format!("ffn_{part}.weight"),
            &format!("mlp.{part}_proj.weight"),
        );
        taker.take(&stored, &weight, &[rows, columns])?;
        if config.mlp_bias {
            let (stored, bias) = name(
                &format!("ffn_{part}.bias"),
                &format!("mlp.{part}_proj.bias"),
            );
            taker.take_heads(&stored, &bias, &[rows], None, true)?;
        }
    }
    Ok(())
}

/// Moves tensors from what the file has into the plan.
struct Taker<'a> {
    left: BTreeMap<String, StoredTensor>,
    path: &'a Path,
    /// llama.cpp's converter reorders Q and K of "llama" files (Mistral among them) and of no other.
    paired: bool,
    planned: Vec<Planned>,
}

impl Taker<'_> {
    fn take(&mut self, stored_name: &str, name: &str, shape: &[i128]) -> Result<(), GgufError> {
        self.take_heads(stored_name, name, shape, None, false)
    }

    /// Takes a tensor of which `heads` lie in pairs; where it is missing, `or_zeros` puts zeros there.
    fn take_heads(
        &mut self,
        stored_name: &str,
        name: &str,
        shape: &[i128],
        heads: Option<i128>,
        or_zeros: bool,
    ) -> Result<(), GgufError> {
        let stored = self.left.remove(stored_name);
        if stored.is_none() && !or_zeros {
            let (path, name) = (self.path.to_path_buf(), stored_name.to_owned());
            return Err(GgufError::MissingTensor {
                path,
                name,
                shape: Some(shape.to_vec()),
            });
        }
        let source = match stored {
            Some(stored) => Some(checked(stored_name, stored, shape)?),
            None => None,
        };
        // Sizes that a stored tensor has are 64 bits wide; those of a bias are its weight's.
        let shape = shape
            .iter()
            .map(|size| u64::try_from(*size).unwrap_or(0))
            .collect();
        let paired_heads = heads
            .filter(|_| self.paired)
            .and_then(|heads| u64::try_from(heads).ok());
        let planned = Planned {
            name: name.to_owned(),
            shape,
            source,
            paired_heads,
        };
        if planned.paired_heads.is_some()
            && planned.shape.len() == 1
            && planned.values() > MAX_REORDERED_VECTOR
        {
            let length = planned.values();
            return Err(GgufError::Unsupported(format!(
                "tensor {stored_name}: a bias of {length} values"
            )));
        }
        self.planned.push(planned);
        Ok(())
    }
}

fn checked(name: &str, stored: StoredTensor, shape: &[i128]) -> Result<Source, GgufError> {
    let found = stored.shape();
    if found != shape {
        return Err(GgufError::Misshapen {
            name: name.into(),
            expected: shape.to_vec(),
            found,
        });
    }
    let rule = rule(stored.kind).ok_or_else(|| GgufError::TensorType {
        name: name.into(),
        kind: stored.kind.name(),
    })?;
    Ok(Source {
        name: name.into(),
        stored,
        rule,
    })
}

/// For a row in Hugging Face's order, the row that holds it in GGUF's.
///
/// Hugging Face rotates element j of a head with element j + d/2; GGUF's "llama" files keep such a
/// pair side by side, in rows 2j and 2j + 1.
pub(crate) fn paired_row(row: u64, head_dim: u64) -> u64 {
    let (head, element) = (row / head_dim, row % head_dim);
    let half = head_dim / 2;
    head * head_dim + 2 * (element % half) + element / half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heads_of_eight_rows_come_back_in_the_order_written_out_here() {
        // GGUF's rows 0..7 of a head are Hugging Face's 0 4 1 5 2 6 3 7.
        let order: Vec<u64> = (0..16).map(|row| paired_row(row, 8)).collect();
        assert_eq!(
            order,
            [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]
        );
    }
}
