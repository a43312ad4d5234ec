//! Where tests find what they need.

use std::path::{Path, PathBuf};

/// The workspace's root folder.
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// `tests/fixtures`: what other implementations said of models small enough to commit.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The default model's folder, SmolLM2-135M-Instruct in f32.
///
/// # Panics
/// `scripts/setup` has not put it there.
pub fn default_model() -> PathBuf {
    let model = workspace().join(".tandem/models/smollm2-135m-instruct");
    for file in ["config.json", "tokenizer.json"] {
        assert!(
            model.join(file).is_file(),
            "the default model is missing ({}): run ./scripts/setup",
            model.join(file).display(),
        );
    }
    model
}
