//! Any bytes are the weights of a tiny model, or their index, that is opened and loaded, or are refused.
//!
//! An input that begins with `{` is the index of a model in shards, of which one is there. Any other is a file of
//! weights, as it is and followed by zeros, so that an input has to be no longer than its header.

use crate::scratch;
use std::path::Path;
use tandem_engine::{Compute, ModelFiles};

/// A llama of one layer: 16 values a row, 32 tokens.
const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32, "hidden_act": "silu",
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0, "tie_word_embeddings": true, "attention_bias": false, "mlp_bias": false,
    "bos_token_id": 1, "eos_token_id": 2
}"#;

/// Longer than the header and the weights of that model.
const ALL: usize = 64 << 10;

/// The shard that an index may name.
const SHARD: &str = "a.safetensors";

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    let config = ("config.json", CONFIG.as_bytes());
    if data.starts_with(b"{") {
        let shard = include_bytes!("../../seeds/safetensors/norm");
        let mut shard = shard.to_vec();
        shard.resize(ALL, 0);
        let index = ("model.safetensors.index.json", data);
        let directory = scratch::directory(&[config, index, (SHARD, &shard)]);
        load(directory.path());
        return;
    }
    let directory = scratch::directory(&[config, ("model.safetensors", data)]);
    if !load(directory.path()) {
        let mut whole = data.to_vec();
        whole.resize(data.len().max(ALL), 0);
        let directory = scratch::directory(&[config, ("model.safetensors", &whole)]);
        load(directory.path());
    }
}

/// Opens and loads a model; whether it is one.
fn load(directory: &Path) -> bool {
    let files = match ModelFiles::open(directory) {
        Ok(files) => files,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    let compute = Compute::configured(["plain", "cpu"], "f32", "auto").expect("these can be");
    match files.back(0, &compute, |_| {}) {
        Ok(_) => true,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}
