//! When a window is active, and what it then limits.

use super::*;

/// Windows as transformers 4.57.3 and 5.23.0 apply them, asked with these keys.
#[test]
fn a_window_is_active_where_transformers_slides() {
    let window =
        |architecture: &str, changes| config(architecture, changes).unwrap().sliding_window;
    let all_full = json!(vec!["full_attention"; 32]);
    let mut mixed = all_full.clone();
    mixed[7] = json!("sliding_attention");

    assert_eq!(window("mistral", json!({})), Some(4096));
    assert_eq!(window("mistral", json!({ "sliding_window": null })), None);
    assert_eq!(
        window("mistral", json!({ "sliding_window": 1024 })),
        Some(1024)
    );
    // Mistral's layers slide alike, whatever this says.
    assert_eq!(
        window("mistral", json!({ "layer_types": all_full })),
        Some(4096)
    );

    let shipped =
        json!({ "sliding_window": 131_072, "use_sliding_window": false, "max_window_layers": 28 });
    for qwen in ["qwen2", "qwen3"] {
        assert_eq!(window(qwen, shipped.clone()), None);
        assert_eq!(
            window(qwen, json!({ "use_sliding_window": true })),
            Some(4096)
        );
        let on = |full: u32| json!({ "use_sliding_window": true, "sliding_window": 64, "max_window_layers": full });
        assert_eq!(window(qwen, on(0)), Some(64));
        assert_eq!(window(qwen, on(31)), Some(64));
        assert_eq!(window(qwen, on(32)), None);
        let none = json!({ "use_sliding_window": true, "sliding_window": null });
        assert_eq!(window(qwen, none), None);
        let typed = |types: &Value| json!({ "use_sliding_window": true, "sliding_window": 64, "layer_types": types });
        assert_eq!(window(qwen, typed(&all_full)), None);
        assert_eq!(window(qwen, typed(&mixed)), Some(64));
    }
}

#[test]
fn a_window_limits_the_context_and_no_more() {
    let context = |changes| config("mistral", changes).unwrap().max_context();
    assert_eq!(
        context(json!({ "sliding_window": 64, "max_position_embeddings": 512 })),
        64
    );
    assert_eq!(
        context(json!({ "sliding_window": 4096, "max_position_embeddings": 512 })),
        512
    );
    assert_eq!(
        context(json!({ "sliding_window": null, "max_position_embeddings": 512 })),
        512
    );
}

#[test]
fn layer_types_that_cannot_be_are_named() {
    let types = |types: Value| {
        config(
            "qwen3",
            json!({ "layer_types": types, "sliding_window": null }),
        )
    };
    let mut chunked = vec!["full_attention"; 32];
    chunked[5] = "chunked_attention";
    refused(
        types(json!(chunked)),
        &["layer_types[5]", "chunked_attention"],
    );
    refused(
        types(json!(["full_attention"])),
        &["layer_types", "1 entries", "32 layers"],
    );
    refused(
        types(json!("full_attention")),
        &["layer_types", "not a list"],
    );
    let mut sliding = vec!["full_attention"; 32];
    sliding[31] = "sliding_attention";
    refused(types(json!(sliding)), &["layer_types", "sliding_window"]);
}
