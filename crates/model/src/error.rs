//! What can go wrong with a model, with the values a person needs to mend it.

use std::path::PathBuf;
use tandem_shape::{LayerRange, ShapeError, WeightType};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model's description, or a part of it that it does not have.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A checkpoint file is not what it should be.
    #[error("{path}: not a usable safetensors file: {problem}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor that the architecture needs is in no file.
    #[error("{path}: tensor {tensor} is missing; {hint}")]
    MissingTensor {
        /// The checkpoint file, or the index.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How many there are, and what a near miss is called.
        hint: String,
    },
    /// A tensor is in a shard that was not fetched with the others.
    #[error(
        "{path}: not here: it has tensor {tensor}, and the model was fetched for other layers; name it by \
         its hub id, which brings what is missing"
    )]
    ShardNotFetched {
        /// The shard.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// Only a part of the model's shards is here, where all of its weights are needed.
    #[error("{path}: some of the model's shards were not fetched, and all are needed here")]
    InPart {
        /// The model's directory.
        path: PathBuf,
    },
    /// A tensor has another shape than the config implies.
    #[error("{path}: tensor {tensor} has shape {found:?}, the config implies {expected:?}")]
    TensorShape {
        /// The checkpoint file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Shape the config implies.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor is stored in a type we do not read.
    #[error("{path}: tensor {tensor} is stored as {found}, not as {expected}")]
    TensorType {
        /// The checkpoint file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A weight that is to become an integer is NaN or infinite.
    #[error("{path}: tensor {tensor} holds {value}, which no integer stands for")]
    NotFinite {
        /// The checkpoint file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The weight.
        value: f32,
    },
    /// A file ends before a tensor does.
    #[error("{path}: truncated: tensor {tensor} ends at byte {expected}, the file at {found}")]
    Truncated {
        /// The checkpoint file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where the tensor ends.
        expected: u64,
        /// Where the file ends.
        found: u64,
    },
    /// A package holds a matrix in integers, and others are asked for.
    #[error("{tensor} is stored in integers, and cannot be held as {asked}")]
    StoredInIntegers {
        /// The tensor.
        tensor: String,
        /// What is asked for.
        asked: WeightType,
    },
    /// The head is the embedding's table, and that would be integers.
    #[error(
        "a head in {head} shares the embedding's rows, which cannot be int8 then: name head=int8"
    )]
    TableOfHead {
        /// The head's type.
        head: WeightType,
    },
    /// Calibration chooses 4-bit codes, and there are none.
    #[error("there are no 4-bit codes to calibrate in {scheme}")]
    NothingToCalibrate {
        /// The scheme.
        scheme: String,
    },
    /// The calibration text made values that are no numbers.
    #[error("the calibration's inputs are not finite: does this model work?")]
    CalibrationNotFinite,
    /// A package that cannot be used.
    #[error("{path}: {problem}")]
    Package {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A package lacks layers that are asked for.
    #[error("the package in {path} holds layers {held}, and {asked} are asked for")]
    PackageRange {
        /// Its directory.
        path: PathBuf,
        /// What it holds.
        held: LayerRange,
        /// What is asked for.
        asked: LayerRange,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file was written to while it was in use.
    #[error("{} was written to while it was in use: put another file in its place instead", path.display())]
    FileChanged {
        /// The file.
        path: PathBuf,
    },
    /// More positions than the cache was allocated for.
    #[error("position {position} is past the granted context of {capacity}")]
    ContextFull {
        /// One past the last position asked for.
        position: usize,
        /// Positions allocated.
        capacity: usize,
    },
    /// A context that the model cannot attend over.
    #[error("a context of {asked} is more than {limit}, {why}")]
    ContextTooLong {
        /// Positions asked for.
        asked: usize,
        /// Positions possible.
        limit: usize,
        /// What limits them.
        why: &'static str,
    },
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocabulary}")]
    TokenId {
        /// The id.
        id: u32,
        /// Ids there are.
        vocabulary: usize,
    },
    /// Rows of another width than the model's.
    #[error("{found} values are not {rows} rows of {hidden}")]
    RowShape {
        /// Rows said.
        rows: usize,
        /// Hidden size.
        hidden: usize,
        /// Values found.
        found: usize,
    },
    /// The segment lacks a part that was asked for.
    #[error("this segment (layers {start}..{end}) has no {part}")]
    NoSuchPart {
        /// First layer.
        start: usize,
        /// One past the last layer.
        end: usize,
        /// "embedding" or "head".
        part: &'static str,
    },
    /// A step and the cache it runs over were made for different ways to attend.
    #[error("this step cannot attend to this cache")]
    OtherCache,
    /// A device that is not there.
    #[error("device {device} is not available: {why}")]
    Device {
        /// As configured.
        device: String,
        /// Why.
        why: String,
    },
    /// Heads that our loops cannot attend with.
    #[error(
        "heads of {head_dim} values, no multiple of 8, take libtorch: backend torch, or auto, in a build that has it"
    )]
    HeadSize {
        /// Values of a head.
        head_dim: usize,
    },
    /// A type that our loops do not know.
    #[error("{weights} takes libtorch: backend torch, or auto")]
    NotPlain {
        /// The type.
        weights: WeightType,
    },
    /// The system has no memory for a matrix.
    #[error("no memory for a matrix of {bytes} bytes: {source}")]
    Memory {
        /// Its size.
        bytes: usize,
        /// Why.
        source: std::io::Error,
    },
    /// The system has no memory for keys and values.
    #[error("no memory for {bytes} bytes of keys and values")]
    NoMemory {
        /// How much was asked for.
        bytes: usize,
    },
    /// A build without libtorch is asked for what takes it.
    #[error("{what} takes libtorch, which this program was built without")]
    WithoutTorch {
        /// What.
        what: String,
    },
    /// libtorch refused an operation.
    #[cfg(feature = "torch")]
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// A result of this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;
