//! What fewer bits cost is measured on the halves that have them, against the model as it is.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tandem_tests::altered::AlteredModel;
use tandem_tests::paths::{fixtures, workspace};
use tandem_tests::process::Binary;

fn eval(command: &str, model: &Path, arguments: &[&str]) -> Output {
    Command::new(Binary::Eval.path())
        .args([command, "--json", "--model"])
        .arg(model)
        .arg("--text")
        .arg(workspace().join("docs/protocol.md"))
        .args(arguments)
        .output()
        .unwrap()
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_front_alone_pays_for_its_bits() {
    let model = fixtures().join("models/qwen2-bias");
    let cost = |precision: &[&str]| {
        let base = [
            "--context",
            "64",
            "--chunks",
            "2",
            "--split",
            "2",
            "--codec",
            "f32",
        ];
        report(&eval("compare", &model, &[&base[..], precision].concat()))
    };
    let number = |report: &Value, key: &str| report[key].as_f64().unwrap();
    let exact = cost(&[]);
    assert!(number(&exact, "kl_mean") < 1e-9, "{exact}");
    let mut before = exact.clone();
    for weights in ["int8", "int4:32"] {
        let found = cost(&["--front-weights", weights]);
        assert!(
            number(&found, "kl_mean") > number(&before, "kl_mean"),
            "{found}"
        );
        let bytes = "front_weight_bytes";
        assert!(
            number(&found, bytes) < 0.7 * number(&before, bytes),
            "{found}"
        );
        assert_eq!(found["front_weights"], weights);
        assert_eq!(found["back_weights"], "f32");
        before = found;
    }
    let most = cost(&["--front-weights", "int4:32,0=f32"]);
    assert!(
        number(&most, "kl_mean") < number(&before, "kl_mean"),
        "{most}"
    );
    let kv = cost(&["--front-kv", "bf16"]);
    assert!(number(&kv, "kl_mean") > 0.0);
    let bytes = "front_kv_bytes_per_position";
    assert_eq!(2.0 * number(&kv, bytes), number(&exact, bytes));
    // Keys and values of 2 layers, of 4 bytes each.
    let config = std::fs::read(model.join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let size = |key: &str| config[key].as_u64().unwrap();
    let head_dim = size("hidden_size") / size("num_attention_heads");
    let expected = 2 * 2 * 4 * size("num_key_value_heads") * head_dim;
    assert_eq!(exact[bytes], expected);
}

#[test]
fn each_layer_is_measured_alone() {
    let model = AlteredModel::copy(&fixtures().join("models/qwen2-bias")).unwrap();
    let chunks = ["--context", "64", "--chunks", "1", "--check-chunks", "2"];
    let types = ["--sensitivity", "int8,int4:32"];
    let arguments = [&chunks[..], &types].concat();
    let found = report(&eval("calibrate", model.path(), &arguments));
    let file = std::fs::read(model.path().join("codec/sensitivity.json")).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(file, found["sensitivity"]);
    // Of the first half of one of two chunks, the last three quarters.
    assert_eq!(file["tokens"], 24);
    let costs = |index: usize| -> Vec<f64> {
        let entry = &file["types"][index];
        let layers = entry["layer_kl"].as_array().unwrap().iter();
        layers
            .chain([&entry["head_kl"]])
            .map(|kl| kl.as_f64().unwrap())
            .collect()
    };
    let (int8, int4) = (costs(0), costs(1));
    assert_eq!((int8.len(), int4.len()), (4, 4));
    for (eight, four) in int8.iter().zip(&int4) {
        assert!(*eight > 0.0 && four > eight, "{int8:?} {int4:?}");
    }
}

#[test]
fn packages_and_models_are_not_mixed_up() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixtures().join("models/qwen2-bias");
    let package = folder.path().join("front");
    let made = Command::new(Binary::EdgeAgent.path())
        .args(["prepare", "--split", "2", "--weights", "int4:32", "--model"])
        .arg(&model)
        .arg("--out")
        .arg(&package)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let package = package.to_str().unwrap();
    let base = [
        "--context",
        "64",
        "--chunks",
        "1",
        "--split",
        "2",
        "--codec",
        "f32",
    ];
    let compare = |model: &Path, more: &[&str]| eval("compare", model, &[&base[..], more].concat());
    let packed = report(&compare(&model, &["--front-package", package]));
    let quantised = report(&compare(&model, &["--front-weights", "int4:32"]));
    assert_eq!(packed["kl_mean"], quantised["kl_mean"]);
    assert!(
        packed["front_weights"]
            .as_str()
            .unwrap()
            .contains("of package")
    );

    let refused = |output: Output| {
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let other = fixtures().join("models/llama-gqa-llama3-tied");
    let said = refused(compare(&other, &["--front-package", package]));
    assert!(said.contains("was not made of the model"), "{said}");
    let said = refused(compare(Path::new(package), &[]));
    assert!(said.contains("--front-package"), "{said}");
}
