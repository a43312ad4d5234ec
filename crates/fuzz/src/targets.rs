//! One module a target.

pub(crate) mod chat_template;
pub(crate) mod configuration;
pub(crate) mod constraint;
pub(crate) mod decode;
pub(crate) mod gguf;
pub(crate) mod openai;
pub(crate) mod package;
pub(crate) mod profile;
pub(crate) mod round_trip;
pub(crate) mod safetensors;
pub(crate) mod stream;
pub(crate) mod text;
pub(crate) mod tokenizer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// A codec profile of rows of 75 values.
static PROFILE: LazyLock<Arc<tandem_codec::Profile>> = LazyLock::new(|| {
    let bytes = include_bytes!("../../codec/tests/golden/cut.profile");
    Arc::new(tandem_codec::Profile::read(bytes).expect("the recorded profile"))
});

/// A model of `tests/fixtures/models`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/models")
        .join(name)
}
