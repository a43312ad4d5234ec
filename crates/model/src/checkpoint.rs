//! The safetensors files of a model directory: one `model.safetensors`, or several with an index.

pub(crate) mod mapped;
pub(crate) mod model_file;
pub(crate) mod shards;
pub(crate) mod stored_matrix;

use crate::checkpoint::mapped::MappedBytes;
use crate::checkpoint::model_file::ModelFile;
use crate::checkpoint::shards::ShardHashes;
use crate::error::{ModelError, Result};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The format's own limit on its header.
const MAX_HEADER: u64 = 100_000_000;

/// Where every tensor of a model lies. Nothing is read before it is asked for.
#[derive(Debug)]
pub struct Checkpoint {
    files: Vec<ModelFile>,
    tensors: BTreeMap<String, Entry>,
    /// Tensors in shards that were not fetched, and the shard of each.
    absent: BTreeMap<String, String>,
    /// Of a model in shards that says what they are.
    hashes: Option<ShardHashes>,
    /// What to name in a message about a tensor that is nowhere.
    origin: PathBuf,
}

#[derive(Debug, Clone)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    offset: u64,
    length: usize,
}

/// The types of floats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
}

/// Type and shape of a stored tensor, and its bytes, mapped while this lives.
#[derive(Debug)]
pub struct StoredTensor {
    /// Type of the values.
    pub float_type: FloatType,
    /// Shape.
    pub shape: Vec<usize>,
    bytes: MappedBytes,
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Checkpoint {
    /// Reads the headers of a model directory's files.
    ///
    /// # Errors
    /// When a file is missing, malformed, or shorter than its header says.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::open_as(directory, false)
    }

    /// As [`Checkpoint::open`], of a directory that may lack shards: those of layers that nobody asked
    /// for when it was fetched. It has to say which shards the model has ([`ShardHashes`]).
    ///
    /// # Errors
    /// As [`Checkpoint::open`] says.
    pub fn open_part(directory: &Path) -> Result<Self> {
        Self::open_as(directory, true)
    }

    fn open_as(directory: &Path, may_lack_shards: bool) -> Result<Self> {
        let index = directory.join(INDEX);
        if !index.exists() {
            return Self::open_file(&directory.join(SINGLE));
        }
        let mut checkpoint = Self::empty(&index);
        let text = std::fs::read(&index).map_err(|source| ModelError::Read {
            path: index.clone(),
            source,
        })?;
        let parsed: Index =
            serde_json::from_slice(&text).map_err(|e| unusable(&index, e.to_string()))?;
        let mut names: Vec<&String> = parsed.weight_map.values().collect();
        names.sort();
        names.dedup();
        checkpoint.hashes = ShardHashes::read(directory)?.filter(|hashes| hashes.are_of(&names));
        let may_lack_shards = may_lack_shards && checkpoint.hashes.is_some();
        for name in names {
            if !is_file_name(name) {
                return Err(unusable(&index, format!("{name:?} is not a file name")));
            }
            let path = directory.join(name);
            if may_lack_shards && !path.exists() {
                let tensors = parsed.weight_map.iter().filter(|(_, file)| *file == name);
                let absent = tensors.map(|(tensor, file)| (tensor.clone(), file.clone()));
                checkpoint.absent.extend(absent);
                continue;
            }
            checkpoint.add_file(&path, Some((&parsed, name)))?;
        }
        for (tensor, file) in &parsed.weight_map {
            if !checkpoint.tensors.contains_key(tensor) && !checkpoint.absent.contains_key(tensor) {
                return Err(ModelError::MissingTensor {
                    path: directory.join(file),
                    tensor: tensor.clone(),
                    hint: "the index says it is here".into(),
                });
            }
        }
        Ok(checkpoint)
    }

    /// Reads the header of one file, whatever else is beside it.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_file(path: &Path) -> Result<Self> {
        let mut checkpoint = Self::empty(path);
        checkpoint.add_file(path, None)?;
        Ok(checkpoint)
    }

    fn empty(origin: &Path) -> Self {
        Self {
            files: Vec::new(),
            tensors: BTreeMap::new(),
            absent: BTreeMap::new(),
            hashes: None,
            origin: origin.to_owned(),
        }
    }

    fn add_file(&mut self, path: &Path, index: Option<(&Index, &String)>) -> Result<()> {
        let read_error = |source| ModelError::Read {
            path: path.to_owned(),
            source,
        };
        let opened = ModelFile::open(path)?;
        let (mut file, file_length) = (opened.file(), opened.length());
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix).map_err(|_| {
            unusable(
                path,
                format!("{file_length} bytes are too few for a header"),
            )
        })?;
        let header_length = u64::from_le_bytes(prefix);
        if header_length > MAX_HEADER || header_length.saturating_add(8) > file_length {
            return Err(unusable(
                path,
                format!("a header of {header_length} bytes in a file of {file_length}"),
            ));
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(read_error)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|e| unusable(path, e.to_string()))?;
        let number = self.files.len();
        for (name, info) in metadata.tensors() {
            let listed = index.is_none_or(|(i, f)| i.weight_map.get(&name) == Some(f));
            if !listed {
                continue;
            }
            let (start, end) = info.data_offsets;
            let data = 8 + header_length;
            // Saturating: the header's offsets are anything up to 2^64.
            let expected = data.saturating_add(end as u64);
            if expected > file_length {
                return Err(ModelError::Truncated {
                    path: path.to_owned(),
                    tensor: name,
                    expected,
                    found: file_length,
                });
            }
            self.tensors.insert(
                name,
                Entry {
                    file: number,
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    offset: data + start as u64,
                    length: end - start,
                },
            );
        }
        self.files.push(opened);
        Ok(())
    }

    /// True when every tensor is here.
    pub fn is_whole(&self) -> bool {
        self.absent.is_empty()
    }

    /// True for a model in shards.
    pub(crate) fn is_sharded(&self) -> bool {
        self.origin.ends_with(INDEX)
    }

    /// What the directory says of the model's shards.
    pub(crate) fn shard_hashes(&self) -> Option<&ShardHashes> {
        self.hashes.as_ref()
    }

    /// True when a tensor of this name is stored.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Maps one tensor, whose shape must be `shape`.
    ///
    /// # Errors
    /// When it is missing, has another shape, or a type we do not read.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<StoredTensor> {
        let entry = self.shaped(name, shape)?;
        let float_type = match entry.dtype {
            Dtype::F32 => FloatType::F32,
            Dtype::F16 => FloatType::F16,
            Dtype::BF16 => FloatType::Bf16,
            _ => return Err(self.of_another_type(name, entry, "one of F32, F16 and BF16")),
        };
        Ok(StoredTensor {
            float_type,
            shape: entry.shape.clone(),
            bytes: self.map(entry)?,
        })
    }

    /// The values of a vector of this size, in f32.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub(crate) fn vector(&self, name: &str, size: usize) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(size);
        self.tensor(name, &[size])?.append_row(0, size, &mut values);
        Ok(values)
    }

    /// Maps the bytes of a tensor of one type and shape.
    ///
    /// # Errors
    /// When it is missing, or has others.
    pub(crate) fn bytes(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<MappedBytes> {
        let entry = self.shaped(name, shape)?;
        if entry.dtype == dtype {
            self.map(entry)
        } else {
            Err(self.of_another_type(name, entry, &format!("{dtype:?}")))
        }
    }

    fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Entry> {
        let entry = self.entry(name)?;
        if entry.shape == shape {
            Ok(entry)
        } else {
            Err(ModelError::TensorShape {
                path: self.files[entry.file].path().to_owned(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: entry.shape.clone(),
            })
        }
    }

    fn of_another_type(&self, name: &str, entry: &Entry, expected: &str) -> ModelError {
        ModelError::TensorType {
            path: self.files[entry.file].path().to_owned(),
            tensor: name.to_owned(),
            found: format!("{:?}", entry.dtype),
            expected: expected.to_owned(),
        }
    }

    fn map(&self, entry: &Entry) -> Result<MappedBytes> {
        let file = &self.files[entry.file];
        MappedBytes::new(file.file(), file.path(), entry.offset, entry.length)
    }

    /// The file that holds a tensor.
    ///
    /// # Errors
    /// When there is none of this name.
    pub(crate) fn file_of(&self, name: &str) -> Result<&ModelFile> {
        Ok(&self.files[self.entry(name)?.file])
    }

    /// Looks whether a file was written to since this was opened.
    ///
    /// # Errors
    /// When one was.
    pub(crate) fn check(&self) -> Result<()> {
        self.files.iter().try_for_each(ModelFile::check)
    }

    /// Every tensor in name order: name, type, shape, and a reader of its bytes.
    pub(crate) fn sections(&self) -> impl Iterator<Item = Section<'_>> {
        self.tensors.iter().map(|(name, entry)| Section {
            name,
            dtype: format!("{:?}", entry.dtype),
            shape: &entry.shape,
            file: self.files[entry.file].file(),
            path: self.files[entry.file].path(),
            offset: entry.offset,
            length: entry.length,
        })
    }

    /// The files, for caches keyed by their size and time.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(ModelFile::path)
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.tensors.get(name).ok_or_else(|| {
            if let Some(file) = self.absent.get(name) {
                return ModelError::ShardNotFetched {
                    path: self.origin.with_file_name(file),
                    tensor: name.to_owned(),
                };
            }
            let last = name.rsplit('.').nth(1).unwrap_or(name);
            let near = self.tensors.keys().find(|k| k.contains(last));
            ModelError::MissingTensor {
                path: self.origin.clone(),
                tensor: name.to_owned(),
                hint: match near {
                    Some(near) => {
                        format!("of {} tensors the nearest is {near}", self.tensors.len())
                    }
                    None => format!("none of its {} tensors is like it", self.tensors.len()),
                },
            }
        })
    }
}

/// One stored tensor as a range of a file.
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    pub(crate) dtype: String,
    pub(crate) shape: &'a [usize],
    pub(crate) file: &'a File,
    pub(crate) path: &'a Path,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

impl FloatType {
    /// Bytes of a value.
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl StoredTensor {
    /// Appends the `row`th of equal rows of `length` values.
    ///
    /// # Panics
    /// When it is past the end.
    // The format promises no alignment worth having, hence bytes and not slices of values.
    pub(crate) fn append_row(&self, row: usize, length: usize, values: &mut Vec<f32>) {
        let bytes = length * self.float_type.bytes();
        let row = &self.bytes[row * bytes..][..bytes];
        match self.float_type {
            FloatType::F16 => values.extend(
                row.chunks_exact(2)
                    .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()),
            ),
            FloatType::Bf16 => values.extend(
                row.chunks_exact(2)
                    .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            ),
            FloatType::F32 => values.extend(
                row.chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            ),
        }
    }

    /// Takes what was read so far out of this process's memory; reading it again maps it again.
    pub(crate) fn release(&self) {
        self.bytes.release();
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// True for a name that stays within its directory.
fn is_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!(parts.next(), Some(Component::Normal(part)) if part == name);
    plain && parts.next().is_none() && !name.starts_with('.')
}

fn unusable(path: &Path, problem: String) -> ModelError {
    ModelError::Checkpoint {
        path: path.to_owned(),
        problem,
    }
}
