//! An open GGUF file: its metadata, and its tensors by name. Versions 2 and 3 of the format.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use crate::error::GgufError;
use crate::header::{Reader, Stop};
use crate::metadata::Metadata;
use crate::tensor_type::TensorType;
use crate::value::{Keys, read_keys};

/// The first bytes of every GGUF file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";

const VERSIONS: [u32; 2] = [2, 3];
const DEFAULT_ALIGNMENT: u64 = 32;
/// GGML_MAX_DIMS of the format.
const MAX_DIMENSIONS: u32 = 4;
/// A mixture of 60 layers with 256 experts stored one by one would have about 46,000.
const MAX_TENSORS: u64 = 1 << 17;

/// A file whose header has been read and checked against its size.
pub(crate) struct Container {
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
    pub(crate) tensors: BTreeMap<String, StoredTensor>,
}

/// Where a tensor lies and how it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredTensor {
    pub(crate) kind: TensorType,
    /// Sizes in the file's order: the innermost dimension first.
    pub(crate) dimensions: Vec<u64>,
    /// The first byte's place in the file.
    pub(crate) offset: u64,
    /// Bytes in all; `offset + bytes` lies within the file.
    pub(crate) bytes: u64,
}

impl StoredTensor {
    /// Sizes with the outermost dimension first.
    pub(crate) fn shape(&self) -> Vec<i128> {
        self.dimensions
            .iter()
            .rev()
            .map(|size| i128::from(*size))
            .collect()
    }
}

/// Everything that the header says, before it is checked against the rest of the file.
struct Header {
    keys: Keys,
    tensors: Vec<(String, TensorType, Vec<u64>, u64)>,
    end: u64,
}

impl Container {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`GgufError::NoSuchFile`], [`GgufError::Damaged`], [`GgufError::ByteOrder`], [`GgufError::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, GgufError> {
        if !path.is_file() {
            return Err(GgufError::NoSuchFile {
                path: path.to_path_buf(),
            });
        }
        let file = File::open(path).map_err(GgufError::io(path))?;
        let size = file.metadata().map_err(GgufError::io(path))?.len();
        let damaged = |detail: String| GgufError::Damaged {
            path: path.to_path_buf(),
            detail,
        };
        let stopped = |stop| match stop {
            Stop::Damaged(detail) => damaged(detail),
            Stop::Io(source) => GgufError::io(path)(source),
        };

        let mut reader = Reader::new(&file, size);
        let version = read_version(&mut reader).map_err(stopped)?;
        if version & 0xFFFF == 0 {
            return Err(GgufError::ByteOrder {
                path: path.to_path_buf(),
            });
        }
        let header = read_header(&mut reader, version).map_err(stopped)?;
        let metadata = Metadata::new(path, header.keys, reader.into_bytes())?;
        let alignment = alignment(&metadata).map_err(damaged)?;
        let start = header.end.checked_next_multiple_of(alignment);
        let start = start.ok_or_else(|| {
            damaged(format!(
                "an alignment of {alignment} leaves no room for tensors"
            ))
        })?;

        let mut tensors = BTreeMap::new();
        for (name, kind, dimensions, offset) in header.tensors {
            let tensor = placed(kind, dimensions, start, offset, size)
                .map_err(|detail| damaged(format!("tensor {name}: {detail}")))?;
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(damaged(format!("two tensors have the name {name}")));
            }
        }
        if let Some((one, other)) = overlapping(&tensors) {
            return Err(damaged(format!(
                "tensors {one} and {other} lie over each other"
            )));
        }
        Ok(Self {
            file,
            metadata,
            tensors,
        })
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<u32, Stop> {
    if reader.u32()?.to_le_bytes() != MAGIC {
        return Err(Stop::Damaged("it does not begin with GGUF".into()));
    }
    reader.u32()
}

fn read_header(reader: &mut Reader<'_>, version: u32) -> Result<Header, Stop> {
    if !VERSIONS.contains(&version) {
        return Err(Stop::Damaged(format!(
            "version {version} of the format is unknown"
        )));
    }
    let tensor_count = reader.u64()?;
    let key_count = reader.u64()?;
    if tensor_count > MAX_TENSORS {
        return Err(Stop::Damaged(format!(
            "{tensor_count} tensors are announced"
        )));
    }
    let keys = read_keys(reader, key_count)?;
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(read_tensor(reader)?);
    }
    Ok(Header {
        keys,
        tensors,
        end: reader.position() as u64,
    })
}

fn read_tensor(reader: &mut Reader<'_>) -> Result<(String, TensorType, Vec<u64>, u64), Stop> {
    let name = reader.name()?;
    let count = reader.u32()?;
    if count > MAX_DIMENSIONS {
        return Err(Stop::Damaged(format!("tensor {name}: {count} dimensions")));
    }
    let dimensions = (0..count)
        .map(|_| reader.u64())
        .collect::<Result<Vec<u64>, Stop>>()?;
    let number = reader.u32()?;
    let kind = TensorType::from_number(number)
        .ok_or_else(|| Stop::Damaged(format!("tensor {name}: {number} is no tensor type")))?;
    Ok((name, kind, dimensions, reader.u64()?))
}

fn alignment(metadata: &Metadata) -> Result<u64, String> {
    const KEY: &str = "general.alignment";
    if !metadata.has(KEY) {
        return Ok(DEFAULT_ALIGNMENT);
    }
    let stated = metadata
        .int(KEY)
        .ok()
        .flatten()
        .and_then(|value| u32::try_from(value).ok());
    stated
        .filter(|value| value.is_power_of_two())
        .map(u64::from)
        .ok_or_else(|| format!("{KEY} is {}, expected a power of two", metadata.shown(KEY)))
}

/// The tensor's place in a file of `size` bytes whose tensors begin at `start`.
fn placed(
    kind: TensorType,
    dimensions: Vec<u64>,
    start: u64,
    offset: u64,
    size: u64,
) -> Result<StoredTensor, String> {
    let row = dimensions.first().copied().unwrap_or(1);
    if !row.is_multiple_of(kind.block_values()) {
        return Err(format!(
            "rows of {row} are no whole blocks of {}",
            kind.name()
        ));
    }
    if dimensions.contains(&0) {
        return Err("it has no values".into());
    }
    let values = dimensions
        .iter()
        .try_fold(1_u64, |product, size| product.checked_mul(*size));
    let bytes =
        values.and_then(|values| (values / kind.block_values()).checked_mul(kind.block_bytes()));
    let offset = start.checked_add(offset);
    match (offset, bytes) {
        (Some(offset), Some(bytes)) if offset.checked_add(bytes).is_some_and(|end| end <= size) => {
            Ok(StoredTensor {
                kind,
                dimensions,
                offset,
                bytes,
            })
        }
        _ => Err(format!(
            "{dimensions:?} of {} reach beyond the file's end",
            kind.name()
        )),
    }
}

/// Two tensors that share bytes: a small file could become an endless model.
fn overlapping(tensors: &BTreeMap<String, StoredTensor>) -> Option<(&str, &str)> {
    let mut places: Vec<(u64, u64, &str)> = tensors
        .iter()
        .map(|(name, tensor)| (tensor.offset, tensor.offset + tensor.bytes, name.as_str()))
        .collect();
    places.sort_unstable();
    places
        .windows(2)
        .find(|pair| pair[0].1 > pair[1].0)
        .map(|pair| (pair[0].2, pair[1].2))
}
