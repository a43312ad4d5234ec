//! Both forms in which transformers writes RoPE, and what is refused of either.

use super::*;

#[test]
fn both_forms_of_a_config_are_equal() {
    let llama3 = json!({
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    let with = |more: Value| {
        let mut all = llama3.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let four = json!({
        "rope_theta": 500_000.0, "torch_dtype": "bfloat16",
        "rope_scaling": with(json!({ "rope_type": "llama3" })),
    });
    let five = json!({
        "dtype": "bfloat16",
        "rope_parameters": with(json!({ "rope_type": "llama3", "rope_theta": 500_000.0 })),
    });
    let older = json!({
        "rope_theta": 500_000.0,
        "rope_scaling": with(json!({ "type": "llama3" })),
    });
    let five = config("llama", five).unwrap();
    assert_eq!(config("llama", four).unwrap(), five);
    assert_eq!(config("llama", older).unwrap(), five);
    let expected = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192.0,
    };
    assert_eq!((five.rope.theta, five.rope.scaling), (500_000.0, expected));

    let four = json!({ "rope_theta": 1e6, "rope_scaling": null });
    let five = json!({ "rope_parameters": { "rope_type": "default", "rope_theta": 1e6 } });
    assert_eq!(
        config("llama", four).unwrap(),
        config("llama", five).unwrap()
    );

    let four = json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } });
    let five =
        json!({ "rope_parameters": { "rope_type": "linear", "factor": 2.0, "rope_theta": 1e4 } });
    assert_eq!(
        config("llama", four).unwrap(),
        config("llama", five).unwrap()
    );
}

#[test]
fn a_fixture_in_both_forms_is_one_config() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models");
    let load = |name| ModelConfig::load(&models.join(name)).unwrap();
    assert_eq!(
        load("llama-gqa-llama3-tied"),
        load("llama-gqa-llama3-tied-v5")
    );
}

#[test]
fn an_unknown_rope_type_is_named() {
    for key in ["rope_scaling", "rope_parameters"] {
        let yarn = json!({ key: { "rope_type": "yarn", "factor": 4.0 } });
        refused(
            config("llama", yarn),
            &[key, "yarn", "default, linear and llama3"],
        );
        let untyped = json!({ key: { "factor": 4.0 } });
        refused(config("llama", untyped), &[key, "rope_type", "absent"]);
    }
    let partial =
        json!({ "rope_parameters": { "rope_type": "default", "partial_rotary_factor": 0.5 } });
    refused(config("llama", partial), &["partial_rotary_factor", "0.5"]);
    refused(
        config("llama", json!({ "partial_rotary_factor": 0.5 })),
        &["partial_rotary_factor", "0.5"],
    );
}

#[test]
fn incomplete_or_impossible_rope_parameters_are_named() {
    let linear = json!({ "rope_scaling": { "rope_type": "linear" } });
    refused(config("llama", linear), &["rope_scaling.factor", "absent"]);
    let negative = json!({ "rope_scaling": { "rope_type": "linear", "factor": -2.0 } });
    refused(config("llama", negative), &["rope_scaling.factor", "-2"]);
    let full = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    for key in [
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ] {
        let mut lacking = full.clone();
        lacking.as_object_mut().unwrap().remove(key);
        refused(
            config("llama", json!({ "rope_scaling": lacking })),
            &[key, "absent"],
        );
    }
    let mut crossed = full;
    crossed["low_freq_factor"] = json!(4.0);
    refused(
        config("llama", json!({ "rope_scaling": crossed })),
        &["high_freq_factor", "low_freq_factor"],
    );
    refused(
        config("llama", json!({ "rope_theta": 0.0 })),
        &["rope_theta", "0"],
    );
    refused(
        config("llama", json!({ "rope_scaling": "linear" })),
        &["rope_scaling", "not an object"],
    );
}
