//! Any bytes are the manifest of a package that is opened, or are refused.

use crate::scratch;
use tandem_model::Package;

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    let directory = scratch::directory(&[
        ("tandem-package.json", data),
        ("model.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
    ]);
    match Package::open(directory.path()) {
        Ok(package) => {
            let package = package.expect("a directory with a manifest is a package");
            assert!(package.range.end() <= package.range.of());
            package.checkpoint().expect("its weights are those above");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
