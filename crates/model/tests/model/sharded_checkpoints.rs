//! A checkpoint in many files is the one that its index describes, and nothing beside it.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::Pipeline;
use crate::rewritten::{Tensors, index_of, load_whole, says};
use serde_json::json;
use std::path::Path;
use tandem_model::{Checkpoint, Segment};
use tandem_shape::Place;
use tandem_shape::{LayerRange, WeightType};

fn write_index(directory: &Path, weight_map: serde_json::Value) {
    let index = json!({ "metadata": { "total_size": 1 }, "weight_map": weight_map });
    std::fs::write(index_of(directory), index.to_string()).unwrap();
}

fn read_index(directory: &Path) -> serde_json::Value {
    let text = std::fs::read(index_of(directory)).unwrap();
    serde_json::from_slice::<serde_json::Value>(&text).unwrap()["weight_map"].clone()
}

fn is_the_model(fixture: &Fixture, directory: &Path) {
    let segment = load_whole(directory, &fixture.config).unwrap();
    let mut pipeline = Pipeline::layer_by_layer(fixture, &segment);
    pipeline.step(&fixture.reference.tokens);
    let errors = pipeline.errors(&fixture.reference);
    assert!(errors.worst() <= BOUND, "{}: {errors}", fixture.name);
}

#[test]
fn one_file_or_two_are_the_same_model() {
    for fixture in Fixture::all() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tensors = Tensors::of(&fixture);
        tensors.write(one.path());
        tensors.write_sharded(two.path());
        is_the_model(&fixture, one.path());
        is_the_model(&fixture, two.path());
    }
}

#[test]
fn a_file_that_the_index_names_and_is_not_there() {
    let fixture = Fixture::open("llama-bf16");
    let directory = tempfile::tempdir().unwrap();
    let [_, second] = Tensors::of(&fixture).write_sharded(directory.path());
    std::fs::remove_file(&second).unwrap();
    let error = Checkpoint::open(directory.path()).unwrap_err();
    says(error, &[second.to_str().unwrap(), "No such file"]);
}

#[test]
fn a_tensor_that_is_not_in_the_file_that_the_index_names() {
    let fixture = Fixture::open("llama-bf16");
    let directory = tempfile::tempdir().unwrap();
    Tensors::of(&fixture).write_sharded(directory.path());
    let mut map = read_index(directory.path());
    map["model.layers.9.made_up.weight"] = json!("model-00002-of-00002.safetensors");
    write_index(directory.path(), map);
    let error = Checkpoint::open(directory.path()).unwrap_err();
    let parts = [
        "model.layers.9.made_up.weight",
        "model-00002-of-00002.safetensors",
        "index",
    ];
    says(error, &parts);
}

#[test]
fn a_tensor_that_the_index_lacks_is_missing_from_the_index() {
    let fixture = Fixture::open("llama-bf16");
    let directory = tempfile::tempdir().unwrap();
    Tensors::of(&fixture).write_sharded(directory.path());
    let mut map = read_index(directory.path());
    map.as_object_mut().unwrap().remove("model.norm.weight");
    write_index(directory.path(), map);
    let error = load_whole(directory.path(), &fixture.config).unwrap_err();
    says(
        error,
        &[
            "model.safetensors.index.json",
            "model.norm.weight",
            "missing",
        ],
    );
}

/// Two files may both hold a tensor, as after a careless conversion: the index decides.
#[test]
fn the_index_decides_which_of_two_tensors_counts() {
    let fixture = Fixture::open("llama-bf16");
    let directory = tempfile::tempdir().unwrap();
    let right = Tensors::of(&fixture);
    let mut wrong = right.clone();
    wrong.ending(".weight").for_each(|values| values.fill(0.5));
    let name = "model.layers.0.mlp.up_proj.weight";
    let mut map = serde_json::Map::new();
    for tensor in right.0.keys() {
        let file = if tensor == name {
            "b.safetensors"
        } else {
            "a.safetensors"
        };
        map.insert(tensor.clone(), json!(file));
    }
    write_index(directory.path(), map.into());
    wrong.get(name).fill(7.0);
    let mut first = right.clone();
    first.0.insert(name.into(), wrong.0[name].clone());
    first.write_file(&directory.path().join("a.safetensors"), |_| true);
    let mut second = wrong;
    second.0.insert(name.into(), right.0[name].clone());
    second.write_file(&directory.path().join("b.safetensors"), |_| true);
    is_the_model(&fixture, directory.path());
}

#[test]
fn an_index_names_files_of_its_own_directory_only() {
    let fixture = Fixture::open("llama-bf16");
    let outside = tempfile::tempdir().unwrap();
    let file = Tensors::of(&fixture).write(outside.path());
    let directory = outside.path().join("model");
    std::fs::create_dir(&directory).unwrap();
    let names = [
        "../model.safetensors",
        file.to_str().unwrap(),
        "../model/../model.safetensors",
        "sub/model.safetensors",
        "..",
        ".",
        ".hidden.safetensors",
        "./model.safetensors",
        "model.safetensors/",
        "/",
        "",
    ];
    for name in names {
        write_index(&directory, json!({ "model.norm.weight": name }));
        let error = Checkpoint::open(&directory).unwrap_err();
        says(
            &error,
            &[
                "model.safetensors.index.json",
                &format!("{name:?}"),
                "not a file name",
            ],
        );
    }
}

#[test]
fn an_index_that_cannot_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for text in [
        "",
        "{",
        "[]",
        "{\"weight_map\": 3}",
        "{\"weight_map\": {\"a\": 1}}",
        "{}",
    ] {
        std::fs::write(index_of(directory.path()), text).unwrap();
        let error = Checkpoint::open(directory.path()).unwrap_err();
        says(error, &["model.safetensors.index.json", "not a usable"]);
    }
}

#[test]
fn shards_may_be_missing_only_where_it_is_said_which_there_are() {
    let fixture = Fixture::open("llama-mha-untied-bias");
    let directory = tempfile::tempdir().unwrap();
    let [_, second] = Tensors::of(&fixture).write_cut(directory.path(), 1);
    let name = second.file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::remove_file(&second).unwrap();
    let note = directory.path().join(".tandem-shards.json");
    let hash = "ab".repeat(32);
    let missing = |error| says(error, &[&*name, "No such file"]);
    missing(Checkpoint::open_part(directory.path()).unwrap_err());
    // Of another set of shards.
    std::fs::write(&note, json!({ name.clone(): hash }).to_string()).unwrap();
    missing(Checkpoint::open_part(directory.path()).unwrap_err());
    for damaged in ["", "[]", "{\"a\":3}", "{\"a\":\"ab\"}"] {
        std::fs::write(&note, damaged).unwrap();
        let error = Checkpoint::open_part(directory.path()).unwrap_err();
        says(error, &[".tandem-shards.json"]);
    }
    let both = json!({ "model-00001-of-00002.safetensors": hash, name.clone(): hash });
    std::fs::write(&note, both.to_string()).unwrap();
    missing(Checkpoint::open(directory.path()).unwrap_err());
    let part = Checkpoint::open_part(directory.path()).unwrap();
    assert!(!part.is_whole());
    let load = |start, end| {
        let range = LayerRange::new(start, end, fixture.config.layers).unwrap();
        let precision = WeightType::F32.into();
        let config = &fixture.config;
        Segment::load(&part, config, range, &precision, Place::default(), |_| {})
    };
    load(0, 1).unwrap();
    says(
        load(0, 2).unwrap_err(),
        &[&*name, "model.layers.1.", "hub id"],
    );
}
