//! What can go wrong in an evaluation, with the values a person needs to mend it.

use crate::task::log::LogError;
use crate::task::name::TaskName;
use std::path::PathBuf;
use tandem_engine::{EngineError, OpenError, StartError};
use tandem_model::ModelError;
use tandem_text::TextError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The text could not be read.
    #[error("cannot read {path}: {source}")]
    Text {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A result could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a file of prompts is none.
    #[error("{path}, line {line}: expected a JSON object with `prompt` or `turns`")]
    Prompt {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A result could not be written as JSON.
    #[error("a result cannot be written as JSON: {0}")]
    Json(serde_json::Error),
    /// A package where the model it is compared with belongs.
    #[error(
        "{0} is a package: name its model, and the package by --front-package or --back-package"
    )]
    PackageAsModel(PathBuf),
    /// A package of another model.
    #[error("the package {package} was not made of the model {model}")]
    OtherModel {
        /// The package.
        package: PathBuf,
        /// The model.
        model: PathBuf,
    },
    /// A line of a task's data is no item.
    #[error("{path}, line {line}: expected {expected}: {detail}")]
    TaskLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What a line should be.
        expected: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A task's data are empty.
    #[error("{path} has no items")]
    NoItems {
        /// The file.
        path: PathBuf,
    },
    /// Labels for a task that has them in its data.
    #[error("--labels is for piqa; the labels of {task} are in its data")]
    LabelsUnused {
        /// The task.
        task: TaskName,
    },
    /// A choice that adds no token to its context.
    #[error("choice {choice} of item {item} has no tokens of its own")]
    NothingScored {
        /// Number of the item, from 0.
        item: usize,
        /// Number of the choice, from 0.
        choice: usize,
    },
    /// A choice that is longer than the model can attend.
    #[error("choice {choice} of item {item} has {found} tokens, the model has {most} positions")]
    LongChoice {
        /// Number of the item, from 0.
        item: usize,
        /// Number of the choice, from 0.
        choice: usize,
        /// Its tokens.
        found: usize,
        /// Positions of the model.
        most: usize,
    },
    /// The model gives a choice no likelihood.
    #[error("the likelihood of choice {choice} of item {item} is not finite")]
    Likelihood {
        /// Number of the item, from 0.
        item: usize,
        /// Number of the choice, from 0.
        choice: usize,
    },
    /// A log of items cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No such cut.
    #[error("rows do not cross a cut after {cut} layers of {layers}: 1 to {layers} are cuts")]
    NoSuchCut {
        /// Layers before it.
        cut: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// Nothing to compare.
    #[error("no codec was named")]
    NoCodec,
    /// The text does not fill one chunk.
    #[error("the text has {found} tokens, one chunk takes {needed}")]
    ShortText {
        /// Tokens of the text.
        found: usize,
        /// Tokens of a chunk.
        needed: usize,
    },
    /// The model cannot be opened.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model's directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The tokenizer cannot be opened, or cannot spell the text.
    #[error(transparent)]
    Tokenizer(#[from] TextError),
    /// A step failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An engine thread could not be started.
    #[error(transparent)]
    Start(#[from] StartError<ModelError>),
    /// The model's arithmetic failed.
    #[error("the logits at position {position} of chunk {chunk} are not finite")]
    NotFinite {
        /// Number of the chunk, from 0.
        chunk: usize,
        /// Position in the chunk.
        position: usize,
    },
    /// A step that samples gave no token.
    #[error("the engine gave no token at position {position}")]
    NoToken {
        /// Position of the row it was wanted after.
        position: usize,
    },
    /// The runtime that drives the engine threads could not be started.
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, EvalError>;
