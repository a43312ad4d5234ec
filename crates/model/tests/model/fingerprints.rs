//! A fingerprint is the same for the same weights, however they are stored, and no other.

use crate::fixture::{Fixture, models};
use crate::rewritten::Tensors;
use safetensors::tensor::Dtype;
use sha2::{Digest as _, Sha256};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tandem_model::{Checkpoint, identity, weights_fingerprint};
use tandem_shape::{Architecture, Fingerprint, Identity, ModelConfig, RopeScaling};
use tempfile::TempDir;

const CACHE: &str = ".tandem-fingerprint.json";

fn fingerprint(directory: &Path, config: &ModelConfig) -> Fingerprint {
    let checkpoint = Checkpoint::open(directory).unwrap();
    weights_fingerprint(directory, config, &checkpoint).unwrap()
}

/// Of tensors in a new directory, where nothing is cached.
fn of(tensors: &Tensors, config: &ModelConfig) -> Fingerprint {
    let directory = tempfile::tempdir().unwrap();
    tensors.write(directory.path());
    fingerprint(directory.path(), config)
}

/// A directory with the fixture's weights in one file, its fingerprint cached there.
struct Cached {
    fixture: Fixture,
    directory: TempDir,
    file: PathBuf,
    true_one: Fingerprint,
}

impl Cached {
    fn new() -> Self {
        let fixture = Fixture::open("llama-bf16");
        let directory = tempfile::tempdir().unwrap();
        let file = Tensors::of(&fixture).write(directory.path());
        let true_one = fingerprint(directory.path(), &fixture.config);
        assert!(directory.path().join(CACHE).is_file());
        Self {
            fixture,
            directory,
            file,
            true_one,
        }
    }

    fn again(&self) -> Fingerprint {
        fingerprint(self.directory.path(), &self.fixture.config)
    }

    /// Puts another fingerprint in the cache, to see whether the cache is believed.
    fn forge(&self) -> String {
        let forged = "ab".repeat(32);
        let text = std::fs::read_to_string(self.cache()).unwrap();
        let text = text.replace(&self.true_one.to_string(), &forged);
        assert!(text.contains(&forged));
        std::fs::write(self.cache(), text).unwrap();
        forged
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join(CACHE)
    }

    fn modified(&self) -> SystemTime {
        self.file.metadata().unwrap().modified().unwrap()
    }

    fn set_modified(&self, time: SystemTime) {
        let file = OpenOptions::new().write(true).open(&self.file).unwrap();
        file.set_modified(time).unwrap();
    }
}

#[test]
fn one_file_or_two_have_one_fingerprint() {
    for fixture in Fixture::all() {
        let tensors = Tensors::of(&fixture);
        let sharded = tempfile::tempdir().unwrap();
        tensors.write_sharded(sharded.path());
        let sharded = fingerprint(sharded.path(), &fixture.config);
        assert_eq!(of(&tensors, &fixture.config), sharded, "{}", fixture.name);
    }
}

#[test]
fn both_forms_of_a_config_have_one_fingerprint() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let rewritten = ModelConfig::load(&models().join("llama-gqa-llama3-tied-v5")).unwrap();
    let tensors = Tensors::of(&fixture);
    assert_eq!(of(&tensors, &fixture.config), of(&tensors, &rewritten));
}

#[test]
fn every_fixture_has_a_fingerprint_of_its_own() {
    let all = Fixture::all();
    let own: Vec<&Fixture> = all.iter().filter(|f| !f.name.ends_with("-v5")).collect();
    let prints: std::collections::HashSet<Fingerprint> =
        own.iter().map(|f| of(&Tensors::of(f), &f.config)).collect();
    assert_eq!(prints.len(), own.len());
}

#[test]
fn one_changed_byte_of_any_tensor_shows() {
    let fixture = Fixture::open("llama-bf16");
    let tensors = Tensors::of(&fixture);
    let before = of(&tensors, &fixture.config);
    for name in tensors.0.keys() {
        for last in [false, true] {
            let mut changed = tensors.clone();
            let bytes = &mut changed.get(name).bytes;
            let at = if last { bytes.len() - 1 } else { 0 };
            bytes[at] ^= 1;
            assert_ne!(of(&changed, &fixture.config), before, "{name}");
        }
    }
}

#[test]
fn another_type_shape_or_name_of_the_same_bytes_shows() {
    let fixture = Fixture::open("llama-bf16");
    let tensors = Tensors::of(&fixture);
    let before = of(&tensors, &fixture.config);
    let name = "model.layers.1.mlp.up_proj.weight";
    let changes: [fn(&mut Tensors, &str); 5] = [
        |tensors, name| tensors.get(name).dtype = Dtype::F16,
        |tensors, name| tensors.get(name).shape.reverse(),
        |tensors, name| tensors.get(name).shape.push(1),
        |tensors, name| {
            let values = tensors.0.remove(name).unwrap();
            tensors.0.insert(format!("{name}s"), values);
        },
        |tensors, name| {
            tensors.0.remove(name);
        },
    ];
    for change in changes {
        let mut changed = tensors.clone();
        change(&mut changed, name);
        assert_ne!(of(&changed, &fixture.config), before);
    }
}

/// The same values widened are other weights: the two sides would round differently.
#[test]
fn widened_weights_are_other_weights() {
    let fixture = Fixture::open("llama-bf16");
    let tensors = Tensors::of(&fixture);
    let mut widened = tensors.clone();
    for values in widened.0.values_mut() {
        values.dtype = Dtype::F32;
        let wide = values
            .bytes
            .chunks_exact(2)
            .flat_map(|b| [0, 0, b[0], b[1]]);
        values.bytes = wide.collect();
    }
    assert_ne!(of(&widened, &fixture.config), of(&tensors, &fixture.config));
}

#[test]
fn every_field_that_changes_the_results_shows() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let tensors = Tensors::of(&fixture);
    let changes: [fn(&mut ModelConfig); 17] = [
        |c| c.architecture = Architecture::Mistral,
        |c| c.hidden += 1,
        |c| c.intermediate += 1,
        |c| c.layers += 1,
        |c| c.heads *= 2,
        |c| c.kv_heads = 1,
        |c| c.head_dim *= 2,
        |c| c.vocabulary += 1,
        |c| c.rms_norm_eps = 1.000_001e-5,
        |c| c.rope.theta += 1.0,
        |c| c.rope.scaling = RopeScaling::Default,
        |c| c.tied_head = false,
        |c| c.qkv_bias = true,
        |c| c.output_bias = true,
        |c| c.mlp_bias = true,
        |c| c.qk_norm = true,
        |c| c.sliding_window = Some(512),
    ];
    let mut prints = vec![of(&tensors, &fixture.config)];
    for change in changes {
        let mut config = fixture.config.clone();
        change(&mut config);
        prints.push(of(&tensors, &config));
    }
    let distinct: std::collections::HashSet<_> = prints.iter().collect();
    assert_eq!(distinct.len(), prints.len());
}

#[test]
fn a_second_look_reads_the_cache() {
    let cached = Cached::new();
    assert_eq!(cached.again(), cached.true_one);
    let forged = cached.forge();
    assert_eq!(cached.again().to_string(), forged);
}

#[test]
fn a_changed_time_makes_the_cache_worthless() {
    let cached = Cached::new();
    cached.forge();
    cached.set_modified(cached.modified() + std::time::Duration::from_nanos(1000));
    assert_eq!(cached.again(), cached.true_one);
    // And what was computed anew is kept.
    let text = std::fs::read_to_string(cached.cache()).unwrap();
    assert!(text.contains(&cached.true_one.to_string()));
}

#[test]
fn a_changed_size_makes_the_cache_worthless() {
    let cached = Cached::new();
    let modified = cached.modified();
    let mut tensors = Tensors::of(&cached.fixture);
    let more = tensors.0["model.norm.weight"].clone();
    tensors.0.insert("model.another.weight".into(), more);
    tensors.write(cached.directory.path());
    cached.set_modified(modified);
    assert_eq!(cached.again(), of(&tensors, &cached.fixture.config));
    assert_ne!(cached.again(), cached.true_one);
}

#[test]
fn another_config_makes_the_cache_worthless() {
    let mut cached = Cached::new();
    cached.forge();
    cached.fixture.config.rope.theta *= 2.0;
    let tensors = Tensors::of(&cached.fixture);
    assert_eq!(cached.again(), of(&tensors, &cached.fixture.config));
}

#[test]
fn a_second_shard_makes_the_cache_worthless() {
    let cached = Cached::new();
    cached.forge();
    let tensors = Tensors::of(&cached.fixture);
    tensors.write_sharded(cached.directory.path());
    assert_eq!(cached.again(), cached.true_one);
}

#[test]
fn a_cache_that_is_none_is_ignored() {
    let cached = Cached::new();
    let whole = std::fs::read(cached.cache()).unwrap();
    for text in [&b""[..], b"{}", b"not json", &whole[..whole.len() / 2]] {
        std::fs::write(cached.cache(), text).unwrap();
        assert_eq!(cached.again(), cached.true_one);
    }
    let short = String::from_utf8(whole).unwrap();
    let short = short.replace(&cached.true_one.to_string(), "abcd");
    std::fs::write(cached.cache(), short).unwrap();
    assert_eq!(cached.again(), cached.true_one);
}

#[test]
fn a_directory_that_cannot_be_written_to_only_costs_time() {
    let fixture = Fixture::open("llama-bf16");
    let tensors = Tensors::of(&fixture);
    let expected = of(&tensors, &fixture.config);
    let directory = tempfile::tempdir().unwrap();
    tensors.write(directory.path());
    // Where the cache should be lies something that no file can replace: as good as a read-only
    // directory, and it stops root too.
    std::fs::create_dir_all(directory.path().join(CACHE).join("taken")).unwrap();
    for _ in 0..2 {
        assert_eq!(fingerprint(directory.path(), &fixture.config), expected);
    }
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 2, "something is left behind");

    let mut permissions = directory.path().metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(directory.path(), permissions.clone()).unwrap();
    let found = fingerprint(directory.path(), &fixture.config);
    use std::os::unix::fs::PermissionsExt as _;
    permissions.set_mode(0o755);
    std::fs::set_permissions(directory.path(), permissions).unwrap();
    assert_eq!(found, expected);
}

/// What the directory of a model in part says of its shards.
fn note_shards(directory: &Path, shards: &[PathBuf]) {
    let hashes: std::collections::BTreeMap<String, String> = shards
        .iter()
        .map(|path| {
            let hash = Sha256::digest(std::fs::read(path).unwrap());
            let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), hash)
        })
        .collect();
    let note = serde_json::to_vec(&hashes).unwrap();
    std::fs::write(directory.join(".tandem-shards.json"), note).unwrap();
}

fn identity_of(directory: &Path, config: &ModelConfig) -> Identity {
    let checkpoint = Checkpoint::open_part(directory).unwrap();
    identity(directory, config, &checkpoint).unwrap()
}

#[test]
fn a_model_in_part_is_known_by_its_files() {
    let fixture = Fixture::open("llama-mha-untied-bias");
    let tensors = Tensors::of(&fixture);
    let cut = || {
        let directory = tempfile::tempdir().unwrap();
        let shards = tensors.write_cut(directory.path(), 1);
        (directory, shards)
    };
    let (plain, _) = cut();
    let plain = identity_of(plain.path(), &fixture.config);
    assert_eq!(plain.weights(), Some(of(&tensors, &fixture.config)));
    let halves = [0, 1].map(|removed| {
        let (directory, shards) = cut();
        note_shards(directory.path(), &shards);
        let whole = identity_of(directory.path(), &fixture.config);
        // What the note says is what hashing the files says.
        assert_eq!(whole, plain);
        std::fs::remove_file(&shards[removed]).unwrap();
        let half = identity_of(directory.path(), &fixture.config);
        assert_eq!((half.weights(), half.files()), (None, whole.files()));
        half
    });
    assert_eq!(halves[0].is(&halves[1]), Some(true));
    assert_eq!(halves[0].is(&plain), Some(true));
    let single = Identity::whole(plain.weights().unwrap(), None);
    assert_eq!(single.is(&plain), Some(true));
    assert_eq!(single.is(&halves[0]), None);
    let mut other = tensors.clone();
    other.get("model.norm.weight").fill(0.5);
    let directory = tempfile::tempdir().unwrap();
    other.write_cut(directory.path(), 1);
    let other = identity_of(directory.path(), &fixture.config);
    assert_eq!(other.is(&halves[0]), Some(false));
}

/// A fingerprint that an earlier release has kept is completed, not computed again.
#[test]
fn hashes_of_shards_are_kept_beside_the_fingerprint() {
    let fixture = Fixture::open("llama-mha-untied-bias");
    let directory = tempfile::tempdir().unwrap();
    Tensors::of(&fixture).write_sharded(directory.path());
    let whole = identity_of(directory.path(), &fixture.config);
    let cache = directory.path().join(CACHE);
    let mut kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&cache).unwrap()).unwrap();
    let files = whole.files().unwrap().to_string();
    assert_eq!(kept["files_fingerprint"], files);
    let forged = "ab".repeat(32);
    kept["fingerprint"] = forged.clone().into();
    kept.as_object_mut().unwrap().remove("files_fingerprint");
    std::fs::write(&cache, kept.to_string()).unwrap();
    let again = identity_of(directory.path(), &fixture.config);
    assert_eq!(again.weights().unwrap().to_string(), forged);
    assert_eq!(again.files(), whole.files());
}
