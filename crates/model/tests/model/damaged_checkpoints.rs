//! A checkpoint that cannot be what its config says is refused with the tensor, the file, what was
//! expected and what was found.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::Pipeline;
use crate::rewritten::{Tensors, Values, load_whole, says, write_raw};
use safetensors::tensor::Dtype;
use std::fs::OpenOptions;
use std::path::Path;
use tandem_model::{Checkpoint, ModelError};

/// Writes a copy that `change` was done to, and loads all of it.
fn outcome(fixture: &Fixture, change: impl Fn(&mut Tensors)) -> Result<(), ModelError> {
    let directory = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::of(fixture);
    change(&mut tensors);
    tensors.write(directory.path());
    load_whole(directory.path(), &fixture.config).map(|_| ())
}

/// Makes a file this long, with zeros at its end if it was shorter.
fn resize(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

#[test]
fn every_tensor_is_needed_and_missed_by_name() {
    for fixture in Fixture::all() {
        for name in Tensors::of(&fixture).0.keys() {
            let lacking = outcome(&fixture, |tensors| {
                tensors.0.remove(name);
            });
            says(
                lacking.unwrap_err(),
                &["model.safetensors", name, "missing"],
            );
        }
    }
}

#[test]
fn a_near_miss_is_mentioned() {
    let fixture = Fixture::open("llama-mha-untied-bias");
    let renamed = outcome(&fixture, |tensors| {
        let head = tensors.0.remove("lm_head.weight").unwrap();
        tensors.0.insert("model.lm_head.weight".into(), head);
    });
    says(
        renamed.unwrap_err(),
        &["tensor lm_head.weight", "nearest is model.lm_head.weight"],
    );
}

#[test]
fn every_shape_is_checked() {
    for fixture in Fixture::all() {
        for (name, values) in &Tensors::of(&fixture).0 {
            let mut longer = values.shape.clone();
            longer[0] += 1;
            let misshapen = outcome(&fixture, |tensors| {
                let values = tensors.get(name);
                values.shape = longer.clone();
                values.fill(0.0);
            });
            let (expected, found) = (format!("{:?}", values.shape), format!("{longer:?}"));
            says(
                misshapen.unwrap_err(),
                &["model.safetensors", name, &expected, &found],
            );
        }
    }
}

/// As many values in another order are not the same tensor.
#[test]
fn a_transposed_tensor_is_refused() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let transposed = outcome(&fixture, |tensors| {
        tensors
            .get("model.layers.1.self_attn.k_proj.weight")
            .shape
            .reverse();
    });
    let parts = [
        "model.layers.1.self_attn.k_proj.weight",
        "[64, 32]",
        "[32, 64]",
    ];
    says(transposed.unwrap_err(), &parts);
}

#[test]
fn every_type_is_checked() {
    for fixture in Fixture::all() {
        for name in Tensors::of(&fixture).0.keys() {
            let quantised = outcome(&fixture, |tensors| {
                let values = tensors.get(name);
                values.dtype = Dtype::I8;
                values.bytes = vec![1; values.shape.iter().product()];
            });
            let parts = ["model.safetensors", name, "I8", "F32, F16 and BF16"];
            says(quantised.unwrap_err(), &parts);
        }
    }
}

#[test]
fn a_file_cut_within_its_tensors_is_refused() {
    let fixture = Fixture::open("qwen3-qknorm");
    let directory = tempfile::tempdir().unwrap();
    let file = Tensors::of(&fixture).write(directory.path());
    let whole = file.metadata().unwrap().len();
    for kept in [whole - 1, whole - 4, whole / 2] {
        resize(&file, kept);
        let error = Checkpoint::open(directory.path()).unwrap_err();
        says(
            &error,
            &[
                "model.safetensors",
                "truncated",
                &format!("the file at {kept}"),
            ],
        );
        let ModelError::Truncated {
            tensor,
            expected,
            found,
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert!(fixture.checkpoint.contains(&tensor));
        assert!(expected > found && expected <= whole);
    }
}

#[test]
fn a_file_cut_within_its_header_is_refused() {
    let fixture = Fixture::open("qwen3-qknorm");
    let directory = tempfile::tempdir().unwrap();
    let file = Tensors::of(&fixture).write(directory.path());
    for kept in [100, 8, 7, 0] {
        resize(&file, kept);
        let error = Checkpoint::open(directory.path()).unwrap_err();
        says(error, &["model.safetensors", &kept.to_string()]);
    }
}

#[test]
fn a_header_that_cannot_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let refused = |parts: &[&str]| {
        let error = Checkpoint::open(directory.path()).unwrap_err();
        says(
            error,
            &[&["model.safetensors", "not a usable"], parts].concat(),
        );
    };
    // Lengths that no file has, and one that is past the format's limit in a file that has it.
    for length in [9u64, 1 << 40, u64::MAX - 7, u64::MAX] {
        std::fs::write(&file, [&length.to_le_bytes()[..], b"{\"a\":1}}"].concat()).unwrap();
        refused(&[&length.to_string(), "16"]);
    }
    std::fs::write(&file, 100_000_001u64.to_le_bytes()).unwrap();
    resize(&file, 200_000_000);
    refused(&["100000001"]);

    for garbage in ["", "{", "not json", "[]", "{\"a\": 3}", "\u{0}\u{0}"] {
        write_raw(&file, garbage, &[0; 64]);
        refused(&[]);
    }
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    for header in [
        // A type that does not exist, offsets backwards, too few and too many bytes for the shape,
        // bytes before the first tensor, a shape whose product overflows, a negative dimension.
        tensor("F33", "[2]", "[0,8]"),
        tensor("F32", "[2]", "[8,0]"),
        tensor("F32", "[2]", "[0,4]"),
        tensor("F32", "[2]", "[0,16]"),
        tensor("F32", "[2]", "[4,12]"),
        tensor("F32", "[4294967296,4294967296,4]", "[0,8]"),
        tensor("F32", "[-2]", "[0,8]"),
    ] {
        write_raw(&file, &header, &[0; 64]);
        refused(&[]);
    }
    let overlapping = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    write_raw(&file, overlapping, &[0; 64]);
    refused(&["`b`"]);
}

/// Sizes near the end of what fits in 64 bits do not wrap around to where the file is long enough.
#[test]
fn offsets_past_all_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let shard = "shard.safetensors";
    let (piece, mut at) = ((1u64 << 61) - 4, 0u64);
    let mut tensors = Vec::new();
    for n in 0..8 {
        let (elements, end) = (piece / 4, at + piece);
        tensors.push(format!(
            r#""t{n}":{{"dtype":"F32","shape":[{elements}],"data_offsets":[{at},{end}]}}"#
        ));
        at = end;
    }
    let header = format!("{{{}}}", tensors.join(","));
    write_raw(&directory.path().join(shard), &header, &[0; 64]);
    // The index keeps the other tensors from being looked at.
    let index = format!(r#"{{"weight_map":{{"t7":"{shard}"}}}}"#);
    std::fs::write(directory.path().join("model.safetensors.index.json"), index).unwrap();
    says(
        Checkpoint::open(directory.path()).unwrap_err(),
        &[shard, "truncated", "t7"],
    );
}

#[test]
fn no_checkpoint_at_all_is_refused_by_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    says(
        Checkpoint::open(directory.path()).unwrap_err(),
        &[path.to_str().unwrap()],
    );
}

/// The format aligns nothing but the first tensor, and that only by custom.
#[test]
fn tensors_at_odd_offsets_are_read() {
    let fixture = Fixture::open("llama-f16");
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    let mut append = |name: &str, values: &Values| {
        let start = data.len();
        data.extend(&values.bytes);
        header.insert(
            name.to_owned(),
            serde_json::json!({
                "dtype": format!("{:?}", values.dtype),
                "shape": values.shape,
                "data_offsets": [start, data.len()],
            }),
        );
    };
    let odd = Values {
        dtype: Dtype::U8,
        shape: vec![3],
        bytes: vec![9; 3],
    };
    append("something.else", &odd);
    for (name, values) in &Tensors::of(&fixture).0 {
        append(name, values);
    }
    let directory = tempfile::tempdir().unwrap();
    let header = serde_json::Value::from(header).to_string();
    write_raw(&directory.path().join("model.safetensors"), &header, &data);
    let segment = load_whole(directory.path(), &fixture.config).unwrap();
    let mut pipeline = Pipeline::layer_by_layer(&fixture, &segment);
    pipeline.step(&fixture.reference.tokens);
    let errors = pipeline.errors(&fixture.reference);
    assert!(errors.worst() <= BOUND, "{errors}");
}
