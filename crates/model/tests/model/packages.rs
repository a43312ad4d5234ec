//! A package is the model as it is held in memory, in files.

use crate::fixture::Fixture;
use crate::pipeline::Pipeline;
use crate::rewritten::says;
use std::path::Path;
use tandem_model::{
    Checkpoint, EmbeddingType, Manifest, ModelError, Package, Preparation, Segment,
    weights_fingerprint,
};
use tandem_shape::Place;
use tandem_shape::{Fingerprint, LayerRange, WeightScheme};

/// What to make of a fixture.
struct Plan<'a> {
    range: LayerRange,
    weights: &'a str,
    embedding: EmbeddingType,
    calibration: &'a [Vec<u32>],
}

impl<'a> Plan<'a> {
    fn new(fixture: &Fixture, start: usize, end: usize, weights: &'a str) -> Self {
        Self {
            range: fixture.range(start, end),
            weights,
            embedding: EmbeddingType::AsStored,
            calibration: &[],
        }
    }

    fn write(&self, fixture: &Fixture, out: &Path) -> Result<Manifest, ModelError> {
        let weights: WeightScheme = self.weights.parse().unwrap();
        let (config, checkpoint) = (&fixture.config, &fixture.checkpoint);
        let scratch = tempfile::tempdir().unwrap();
        let fingerprint = weights_fingerprint(scratch.path(), config, checkpoint).unwrap();
        Preparation {
            directory: &fixture.directory,
            config,
            checkpoint,
            fingerprints: (fingerprint, Fingerprint([7; 32])),
            range: self.range,
            weights: &weights,
            embedding: self.embedding,
            calibration: self.calibration,
            files: &["chat.json", "config.json", "tokenizer.json"].map(Into::into),
        }
        .write(out, |_| {})
    }
}

fn load(directory: &Path, fixture: &Fixture, range: LayerRange) -> Result<Segment, ModelError> {
    let package = Package::open(directory)?.unwrap();
    package.check_holds(range)?;
    let precision = tandem_shape::Precision {
        weights: package.weights.within(range),
        kv: None,
    };
    let checkpoint = package.checkpoint()?;
    let device = Place::default();
    Segment::load(
        &checkpoint,
        &fixture.config,
        range,
        &precision,
        device,
        |_| {},
    )
}

fn in_memory(fixture: &Fixture, range: LayerRange, weights: &str) -> Segment {
    let precision = tandem_shape::Precision {
        weights: weights.parse().unwrap(),
        kv: None,
    };
    let (checkpoint, config) = (&fixture.checkpoint, &fixture.config);
    Segment::load(
        checkpoint,
        config,
        range,
        &precision,
        Place::default(),
        |_| {},
    )
    .unwrap()
}

/// All hidden states and logits of two segments.
fn outcome(fixture: &Fixture, front: &Segment, back: &Segment) -> Vec<f32> {
    let parts = [(front, front.range()), (back, back.range())];
    let tokens = &fixture.reference.tokens;
    let mut pipeline = Pipeline::new(&parts, tokens.len());
    pipeline.step(&tokens[..20]);
    pipeline.step(&tokens[20..21]);
    [pipeline.output(), pipeline.logits()].concat()
}

#[test]
fn both_halves_from_packages_are_the_same_as_in_memory() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        for weights in ["int4:32", "int8", "bf16", "f32", "int4,0=int8"] {
            if weights == "bf16" && cfg!(not(feature = "torch")) {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let (front, back) = (folder.path().join("front"), folder.path().join("back"));
            // The exception is for a layer that the back does not have.
            let back_weights = weights.split(',').next().unwrap();
            let plan = Plan::new(&fixture, 0, 1, weights);
            let manifest = plan.write(&fixture, &front).unwrap();
            assert_eq!(manifest.layers.end, 1);
            let plan_back = Plan::new(&fixture, 1, layers, back_weights);
            plan_back.write(&fixture, &back).unwrap();
            let found = outcome(
                &fixture,
                &load(&front, &fixture, plan.range).unwrap(),
                &load(&back, &fixture, plan_back.range).unwrap(),
            );
            let expected = outcome(
                &fixture,
                &in_memory(&fixture, plan.range, weights),
                &in_memory(&fixture, plan_back.range, back_weights),
            );
            assert!(found == expected, "{}: {weights}", fixture.name);
        }
    }
}

/// What is not calibrated and what is do not differ in shape, only in codes.
#[cfg(feature = "torch")]
#[test]
fn a_calibrated_package_runs_and_is_another() {
    for fixture in Fixture::all() {
        let layers = fixture.config.layers;
        let folder = tempfile::tempdir().unwrap();
        let chunks = [fixture.reference.tokens.clone()];
        let whole = fixture.whole();
        let nothing = fixture.segment(layers, layers);
        let exact = outcome(&fixture, &whole, &nothing);
        let mut errors = Vec::new();
        for (name, calibration) in [("plain", &chunks[..0]), ("calibrated", &chunks[..])] {
            let out = folder.path().join(name);
            let plan = Plan {
                calibration,
                ..Plan::new(&fixture, 0, layers, "int4:32")
            };
            let manifest = plan.write(&fixture, &out).unwrap();
            let tokens = calibration.iter().map(Vec::len).sum::<usize>();
            assert_eq!(manifest.calibration_tokens, tokens);
            let segment = load(&out, &fixture, plan.range).unwrap();
            let found = outcome(&fixture, &segment, &nothing);
            let squares = found
                .iter()
                .zip(&exact)
                .map(|(a, b)| f64::from(a - b).powi(2));
            errors.push(squares.sum::<f64>());
        }
        println!("{}: {errors:?}", fixture.name);
        assert!(errors[1] < 0.8 * errors[0], "{}: {errors:?}", fixture.name);
    }
}

/// Rows of 8 bits take the place of a table of floats, in a package that needs no head of it.
#[test]
fn an_embedding_may_be_8_bits() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, end, weights, embedding| {
        let plan = Plan {
            embedding,
            ..Plan::new(&fixture, 0, end, weights)
        };
        let out = folder.path().join(name);
        plan.write(&fixture, &out).map(|_| out)
    };
    let bytes = |path: &Path| {
        std::fs::metadata(path.join("model.safetensors"))
            .unwrap()
            .len()
    };
    let exact = write("exact", 1, "f32", EmbeddingType::AsStored).unwrap();
    let small = write("small", 1, "f32", EmbeddingType::Int8).unwrap();
    let table = fixture.config.vocabulary * fixture.config.hidden;
    assert!(bytes(&exact) - bytes(&small) > 2 * table as u64);
    let range = fixture.range(0, 1);
    let rows = |directory: &Path| {
        let segment = load(directory, &fixture, range).unwrap();
        segment.embed(&fixture.reference.tokens).unwrap()
    };
    let (exact, small) = (rows(&exact), rows(&small));
    assert!(exact != small);
    for (row, exact) in small
        .chunks(fixture.config.hidden)
        .zip(exact.chunks(fixture.config.hidden))
    {
        let largest = exact.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (a, b) in row.iter().zip(exact) {
            assert!((a - b).abs() <= 0.51 * largest / 127.0);
        }
    }
    let layers = fixture.config.layers;
    let error = write("whole", layers, "f32", EmbeddingType::Int8).unwrap_err();
    says(error, &["f32", "head=int8"]);
    write("whole", layers, "f32,head=int8", EmbeddingType::Int8).unwrap();
}

#[test]
fn layers_that_are_not_there_are_named() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let folder = tempfile::tempdir().unwrap();
    let (front, back) = (folder.path().join("front"), folder.path().join("back"));
    let layers = fixture.config.layers;
    Plan::new(&fixture, 0, 2, "int8")
        .write(&fixture, &front)
        .unwrap();
    Plan::new(&fixture, 1, layers, "int8")
        .write(&fixture, &back)
        .unwrap();
    assert!(load(&front, &fixture, fixture.range(0, 1)).is_ok());
    for (directory, range) in [
        (&front, fixture.range(0, 3)),
        (&back, fixture.range(0, layers)),
        (&front, fixture.range(0, layers)),
    ] {
        let error = load(directory, &fixture, range).unwrap_err();
        says(error, &["the package", &range.to_string()]);
    }
    // And those of another kind than it has.
    let checkpoint = Checkpoint::open(&front).unwrap();
    let range = fixture.range(0, 1);
    let precision = tandem_shape::Precision::default();
    let device = Place::default();
    let error = Segment::load(
        &checkpoint,
        &fixture.config,
        range,
        &precision,
        device,
        |_| {},
    );
    says(error.unwrap_err(), &["model.layers.0", "integers", "f32"]);
    let there = Plan::new(&fixture, 0, 1, "int8").write(&fixture, &front);
    says(there.unwrap_err(), &["is there already"]);
}

/// An exception for a layer that is packed is none for the layers of a lower split.
#[test]
fn a_front_may_run_fewer_layers_than_its_package_has() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("front");
    let weights = "int4:32,1=int8";
    Plan::new(&fixture, 0, 2, weights)
        .write(&fixture, &out)
        .unwrap();
    let back = fixture.segment(1, fixture.config.layers);
    let range = fixture.range(0, 1);
    let found = outcome(&fixture, &load(&out, &fixture, range).unwrap(), &back);
    assert!(found == outcome(&fixture, &in_memory(&fixture, range, "int4:32"), &back));
}

/// A front behind which nothing follows still hands rows on.
#[test]
fn a_front_of_all_layers_has_no_head() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("front");
    let layers = fixture.config.layers;
    let plan = Plan {
        range: fixture.range(0, layers).without_head(),
        ..Plan::new(&fixture, 0, layers, "int8")
    };
    assert!(!plan.write(&fixture, &out).unwrap().layers.head);
    let front = load(&out, &fixture, plan.range).unwrap();
    let rows = front.embed(&[1]).unwrap();
    assert!(front.logits(&rows, 1).is_err());
    says(
        load(&out, &fixture, fixture.range(0, layers)).unwrap_err(),
        &["the package"],
    );
}

#[test]
fn a_run_that_fails_leaves_nothing_behind() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("deep").join("package");
    let beyond = Plan::new(&fixture, 0, 1, "int4,2=int8").write(&fixture, &out);
    says(beyond.unwrap_err(), &["layer 2"]);
    let chunks = [vec![1, 2, 3]];
    let plan = Plan {
        calibration: &chunks,
        ..Plan::new(&fixture, 0, 1, "int8")
    };
    says(
        plan.write(&fixture, &out).unwrap_err(),
        &["no 4-bit codes", "int8"],
    );
    let strange = [vec![1, u32::MAX]];
    let plan = Plan {
        calibration: &strange,
        ..Plan::new(&fixture, 0, 1, "int4")
    };
    says(plan.write(&fixture, &out).unwrap_err(), &["token id"]);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("deep"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_damaged_package_is_refused_by_name() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("package");
    Plan::new(&fixture, 0, 1, "int4")
        .write(&fixture, &out)
        .unwrap();
    assert!(Package::open(folder.path()).unwrap().is_none());
    let manifest = std::fs::read_to_string(out.join("tandem-package.json")).unwrap();
    let weights = out.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();

    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, &flipped).unwrap();
    says(
        Package::open(&out).unwrap_err(),
        &["model.safetensors", "hash"],
    );
    std::fs::write(&weights, &bytes[1..]).unwrap();
    says(
        Package::open(&out).unwrap_err(),
        &["model.safetensors", "bytes"],
    );
    std::fs::write(&weights, &bytes).unwrap();
    assert!(Package::open(&out).unwrap().is_some());

    for (from, to, named) in [
        ("\"format\": 1", "\"format\": 2", "format 2"),
        ("\"end\": 1", "\"end\": 99", "99"),
        ("int4:64", "int5", "int5"),
        (
            "model.safetensors",
            "other.safetensors",
            "model.safetensors",
        ),
        ("\"config.json\"", "\"../config.json\"", "config.json"),
        ("\"chat.json\"", "\"../chat.json\"", "../chat.json"),
        ("\"head\": false", "\"head\": true", "have no head"),
        ("\"of\"", "\"off\"", "off"),
    ] {
        assert!(manifest.contains(from), "{from}");
        let changed = manifest.replace(from, to);
        std::fs::write(out.join("tandem-package.json"), changed).unwrap();
        says(Package::open(&out).unwrap_err(), &[named]);
    }
    std::fs::write(out.join("tandem-package.json"), &manifest).unwrap();
    for stranger in ["model.safetensors.index.json", "chat_template.jinja"] {
        std::fs::write(out.join(stranger), "{}").unwrap();
        says(Package::open(&out).unwrap_err(), &[stranger, "manifest"]);
        std::fs::remove_file(out.join(stranger)).unwrap();
    }
    assert!(Package::open(&out).unwrap().is_some());
    std::fs::remove_file(&weights).unwrap();
    says(
        Package::open(&out).unwrap_err(),
        &["model.safetensors", "cannot read"],
    );
}
