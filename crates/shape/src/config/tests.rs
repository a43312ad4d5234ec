use super::*;
use serde_json::{Value, json};

mod rope_parameters;
mod sliding_window;

/// A config with the keys that have no default, and `changes` over them.
fn config(architecture: &str, changes: Value) -> Result<ModelConfig> {
    let mut root = json!({
        "model_type": architecture,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    });
    let (Some(root), Value::Object(changes)) = (root.as_object_mut(), changes) else {
        panic!("changes are an object");
    };
    root.extend(changes);
    let text = serde_json::to_string(&root).unwrap();
    ModelConfig::parse(&text, Path::new("/models/some/config.json"))
}

/// The file, and each of `parts`, are in the message.
fn refused(found: Result<ModelConfig>, parts: &[&str]) {
    let message = found.unwrap_err().to_string();
    for part in ["/models/some/config.json"].iter().chain(parts) {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

/// Asked of transformers 4.57.3 and 5.23.0, which agree.
#[test]
fn absent_keys_mean_what_transformers_assumes() {
    let llama = config("llama", json!({})).unwrap();
    let expected = ModelConfig {
        architecture: Architecture::Llama,
        hidden: 4096,
        intermediate: 11008,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        vocabulary: 32000,
        max_positions: 2048,
        rms_norm_eps: 1e-6,
        rope: Rope {
            theta: 10_000.0,
            scaling: RopeScaling::Default,
        },
        tied_head: false,
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        sliding_window: None,
    };
    assert_eq!(llama, expected);
    let mistral = ModelConfig {
        architecture: Architecture::Mistral,
        kv_heads: 8,
        max_positions: 131_072,
        sliding_window: Some(4096),
        ..expected.clone()
    };
    assert_eq!(config("mistral", json!({})).unwrap(), mistral);
    let qwen2 = ModelConfig {
        architecture: Architecture::Qwen2,
        max_positions: 32_768,
        qkv_bias: true,
        ..expected.clone()
    };
    assert_eq!(config("qwen2", json!({})).unwrap(), qwen2);
    let qwen3 = ModelConfig {
        architecture: Architecture::Qwen3,
        hidden: 2048,
        max_positions: 32_768,
        qk_norm: true,
        ..expected
    };
    // Not hidden_size / num_attention_heads, which would be 64.
    assert_eq!(
        config("qwen3", json!({ "hidden_size": 2048 })).unwrap(),
        qwen3
    );
}

#[test]
fn null_is_absent() {
    let keys = [
        "rope_scaling",
        "rope_parameters",
        "head_dim",
        "hidden_act",
        "layer_types",
    ];
    let nulls: Value = keys
        .iter()
        .map(|k| (k.to_string(), Value::Null))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert_eq!(
        config("llama", nulls).unwrap(),
        config("llama", json!({})).unwrap()
    );
    // But for these, where transformers tells them apart.
    let none = json!({ "num_key_value_heads": null, "sliding_window": null });
    let mistral = config("mistral", none).unwrap();
    assert_eq!((mistral.kv_heads, mistral.sliding_window), (32, None));
}

#[test]
fn biases_are_where_each_architecture_has_them() {
    let biases = |architecture: &str, changes| {
        let c = config(architecture, changes).unwrap();
        (c.qkv_bias, c.output_bias, c.mlp_bias)
    };
    let attention = || json!({ "attention_bias": true });
    assert_eq!(biases("llama", attention()), (true, true, false));
    assert_eq!(biases("qwen3", attention()), (true, true, false));
    assert_eq!(biases("qwen2", json!({})), (true, false, false));
    assert_eq!(
        biases("llama", json!({ "mlp_bias": true })),
        (false, false, true)
    );
}

#[test]
fn an_unknown_architecture_is_named() {
    refused(
        config("gemma3", json!({})),
        &["model_type", "gemma3", "llama, mistral, qwen2 and qwen3"],
    );
    refused(
        config("llama", json!({ "model_type": null })),
        &["model_type", "absent"],
    );
}

#[test]
fn other_activations_are_named() {
    refused(
        config("llama", json!({ "hidden_act": "gelu" })),
        &["hidden_act", "gelu", "silu"],
    );
    assert!(config("llama", json!({ "hidden_act": "silu" })).is_ok());
    assert!(config("llama", json!({ "hidden_act": "swish" })).is_ok());
}

#[test]
fn what_changes_the_model_and_is_not_done_is_named() {
    let quantised = json!({ "quantization_config": { "quant_method": "gptq", "bits": 4 } });
    refused(config("llama", quantised), &["quantization_config", "gptq"]);
    refused(
        config("qwen3", json!({ "num_experts": 8 })),
        &["num_experts", "8"],
    );
    refused(
        config("mistral", json!({ "num_local_experts": 8 })),
        &["num_local_experts", "8"],
    );
    refused(
        config("llama", json!({ "logits_scaling": 8.0 })),
        &["logits_scaling", "8"],
    );
    refused(
        config("llama", json!({ "residual_multiplier": 0.5 })),
        &["residual_multiplier", "0.5"],
    );
    refused(
        config("llama", json!({ "final_logit_softcapping": 30.0 })),
        &["final_logit_softcapping", "30"],
    );
    assert!(config("llama", json!({ "quantization_config": null })).is_ok());
}

#[test]
fn sizes_that_do_not_fit_are_named() {
    refused(
        config("llama", json!({ "head_dim": 63 })),
        &["head_dim", "63", "odd"],
    );
    refused(
        config("llama", json!({ "num_attention_heads": 30 })),
        &["head_dim", "30 heads", "4096"],
    );
    assert!(
        config(
            "llama",
            json!({ "num_attention_heads": 30, "head_dim": 128 })
        )
        .is_ok()
    );
    refused(
        config("llama", json!({ "num_key_value_heads": 5 })),
        &["num_key_value_heads", "5", "num_attention_heads, 32"],
    );
}

#[test]
fn values_of_the_wrong_kind_are_named() {
    for key in [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
    ] {
        refused(config("llama", json!({ key: null })), &[key, "absent"]);
        for value in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!("64"),
            json!(u64::MAX),
        ] {
            refused(
                config("llama", json!({ key: value })),
                &[key, &value.to_string()],
            );
        }
    }
    refused(
        config("llama", json!({ "tie_word_embeddings": "yes" })),
        &["tie_word_embeddings", "yes"],
    );
    refused(
        config("llama", json!({ "rms_norm_eps": "1e-5" })),
        &["rms_norm_eps", "1e-5"],
    );
}

#[test]
fn text_that_is_no_config_is_refused() {
    let parse = |text| ModelConfig::parse(text, Path::new("/models/some/config.json"));
    for text in ["", "{", "[]", "null", "\"llama\"", "{\"model_type\": 3}"] {
        refused(parse(text), &[]);
    }
    let message = ModelConfig::load(Path::new("/nowhere"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("/nowhere/config.json"), "{message}");
}
