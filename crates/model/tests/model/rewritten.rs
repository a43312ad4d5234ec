//! A fixture's checkpoint, changed and written anew in a directory of its own.

use crate::fixture::Fixture;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tandem_model::{Checkpoint, ModelError, Segment};
use tandem_shape::Place;
use tandem_shape::{LayerRange, ModelConfig, WeightType};

/// Tensors by name.
#[derive(Clone)]
pub(crate) struct Tensors(pub(crate) BTreeMap<String, Values>);

#[derive(Clone)]
pub(crate) struct Values {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Tensors {
    pub(crate) fn of(fixture: &Fixture) -> Self {
        let mut tensors = BTreeMap::new();
        for entry in std::fs::read_dir(&fixture.directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.starts_with("model") || !name.ends_with(".safetensors") {
                continue;
            }
            let file = std::fs::read(&path).unwrap();
            for (name, view) in SafeTensors::deserialize(&file).unwrap().tensors() {
                let values = Values {
                    dtype: view.dtype(),
                    shape: view.shape().to_vec(),
                    bytes: view.data().to_vec(),
                };
                assert!(tensors.insert(name, values).is_none());
            }
        }
        Self(tensors)
    }

    pub(crate) fn get(&mut self, name: &str) -> &mut Values {
        self.0.get_mut(name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Those whose name ends so; there is at least one.
    pub(crate) fn ending<'a>(&'a mut self, end: &'a str) -> impl Iterator<Item = &'a mut Values> {
        assert!(self.0.keys().any(|name| name.ends_with(end)), "no {end}");
        let chosen = self
            .0
            .iter_mut()
            .filter(move |(name, _)| name.ends_with(end));
        chosen.map(|(_, values)| values)
    }

    /// As one file.
    pub(crate) fn write(&self, directory: &Path) -> PathBuf {
        self.write_file(&directory.join("model.safetensors"), |_| true)
    }

    /// As two files with an index, the tensors dealt out in turn.
    pub(crate) fn write_sharded(&self, directory: &Path) -> [PathBuf; 2] {
        let names: Vec<&String> = self.0.keys().collect();
        self.write_two(directory, |name| {
            names.iter().position(|n| *n == name).unwrap() % 2
        })
    }

    /// As two files with an index: the front of a model cut at a layer, and all else.
    pub(crate) fn write_cut(&self, directory: &Path, layer: usize) -> [PathBuf; 2] {
        let is_back = |name: &str| match name.strip_prefix("model.layers.") {
            Some(rest) => rest.split('.').next().unwrap().parse::<usize>().unwrap() >= layer,
            None => !name.starts_with("model.embed_tokens"),
        };
        self.write_two(directory, |name| usize::from(is_back(name)))
    }

    fn write_two(&self, directory: &Path, place: impl Fn(&str) -> usize) -> [PathBuf; 2] {
        let shard = |n: usize| format!("model-0000{}-of-00002.safetensors", n + 1);
        let names: Vec<&String> = self.0.keys().collect();
        let map: BTreeMap<&str, String> = names
            .iter()
            .map(|n| (n.as_str(), shard(place(n))))
            .collect();
        let index = serde_json::json!({ "metadata": {}, "weight_map": map });
        std::fs::write(index_of(directory), index.to_string()).unwrap();
        [0, 1].map(|n| self.write_file(&directory.join(shard(n)), |name| place(name) == n))
    }

    /// Those that are `chosen`, as one file.
    pub(crate) fn write_file(&self, path: &Path, chosen: impl Fn(&str) -> bool) -> PathBuf {
        let chosen = self.0.iter().filter(|(name, _)| chosen(name));
        let views = chosen.map(|(name, v)| {
            let view = TensorView::new(v.dtype, v.shape.clone(), &v.bytes).unwrap();
            (name, view)
        });
        serialize_to_file(views, None, path).unwrap();
        path.to_owned()
    }
}

impl Values {
    /// Row `i` becomes the row that was `order[i]`; a vector's rows are its values.
    pub(crate) fn permute_rows(&mut self, order: &[usize]) {
        let width = self.bytes.len() / self.shape[0];
        assert_eq!(order.len(), self.shape[0]);
        let row = |&i: &usize| self.bytes[i * width..(i + 1) * width].to_vec();
        self.bytes = order.iter().flat_map(row).collect();
    }

    /// Column `i` becomes the column that was `order[i]`.
    pub(crate) fn permute_columns(&mut self, order: &[usize]) {
        let size = self.bytes.len() / self.shape.iter().product::<usize>();
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for row in self.bytes.chunks(self.shape[1] * size) {
            order
                .iter()
                .for_each(|i| bytes.extend(&row[i * size..(i + 1) * size]));
        }
        self.bytes = bytes;
    }

    pub(crate) fn fill(&mut self, value: f32) {
        let count = self.shape.iter().product();
        self.bytes = match self.dtype {
            Dtype::F32 => value.to_le_bytes().repeat(count),
            Dtype::F16 => half::f16::from_f32(value).to_le_bytes().repeat(count),
            Dtype::BF16 => half::bf16::from_f32(value).to_le_bytes().repeat(count),
            other => panic!("{other:?}"),
        };
    }
}

pub(crate) fn index_of(directory: &Path) -> PathBuf {
    directory.join("model.safetensors.index.json")
}

/// Opens a checkpoint and loads all of its layers in f32.
pub(crate) fn load_whole(directory: &Path, config: &ModelConfig) -> Result<Segment, ModelError> {
    load_layers(directory, config, 0, config.layers)
}

/// Opens a checkpoint and loads the layers `start..end` in f32.
pub(crate) fn load_layers(
    directory: &Path,
    config: &ModelConfig,
    start: usize,
    end: usize,
) -> Result<Segment, ModelError> {
    load_in(WeightType::F32, directory, config, start..end)
}

/// Opens a checkpoint and loads some layers.
pub(crate) fn load_in(
    weights: WeightType,
    directory: &Path,
    config: &ModelConfig,
    layers: std::ops::Range<usize>,
) -> Result<Segment, ModelError> {
    let checkpoint = Checkpoint::open(directory)?;
    let range = LayerRange::new(layers.start, layers.end, config.layers)?;
    let precision = weights.into();
    Segment::load(
        &checkpoint,
        config,
        range,
        &precision,
        Place::default(),
        |_| {},
    )
}

/// A safetensors file by hand: what the library would refuse to write.
pub(crate) fn write_raw(path: &Path, header: &str, data: &[u8]) {
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length[..], header.as_bytes(), data].concat()).unwrap();
}

/// All of `parts` are in the message.
pub(crate) fn says(error: impl std::fmt::Display, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}
