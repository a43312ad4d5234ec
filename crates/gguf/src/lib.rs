//! A GGUF file read into the Hugging Face directory that Tandem (or transformers) loads.
//!
//! Llama, Mistral, Qwen2 and Qwen3, in every type of quantisation that PyPI's `gguf` can dequantise,
//! with byte-level and SentencePiece tokenizers. What cannot be carried over exactly is refused by
//! name. Every length that a file states is checked against its size before anything is allocated.
//!
//! [`import`] makes a directory that must not exist yet; [`cached`] makes one at a place of its own
//! the first time and finds it there afterwards. The order of the work is the order of the modules:
//! `header`, `value`, `metadata` and `container` open the file, `architecture` (with `own_keys` and `rope`) reads its
//! metadata into config.json, `plan` says which tensor becomes which, `vocabulary`, `byte_level` and
//! `sentencepiece` rebuild tokenizer.json, and `directory` writes everything aside, the tensors through
//! `weights` and `dequantise`, and renames it into place.

#[cfg(target_endian = "big")]
compile_error!(
    "safetensors files are little-endian, and so must the machine be that writes them here"
);

mod architecture;
mod byte_level;
mod cache;
mod container;
mod dequantise;
mod directory;
mod error;
mod header;
mod identity;
mod metadata;
mod own_keys;
mod plan;
mod python_json;
mod rope;
mod sentencepiece;
mod tensor_type;
mod value;
mod vocabulary;
mod weights;

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

pub use cache::cached;
pub use directory::{Imported, import};
pub use error::GgufError;

/// How weights are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dtype {
    /// 32 bits: every stored value exactly.
    #[default]
    F32,
    /// 16 bits: rounded to the nearest, ties to even.
    Bf16,
}

impl Dtype {
    /// Bytes a value.
    fn width(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process is importing the same file; this one waits for it. Said again every 100 ms.
    Waiting,
    /// Weights are being written.
    Writing {
        /// Bytes written.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// Hears how far an import has come, and may end it with [`ControlFlow::Break`].
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Whether the file at `path` begins as a GGUF file does.
///
/// # Errors
/// The system's, when the file cannot be opened or read.
pub fn is_gguf(path: &Path) -> io::Result<bool> {
    let mut first = [0; 4];
    match File::open(path)?.read_exact(&mut first) {
        Ok(()) => Ok(first == container::MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
