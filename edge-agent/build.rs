//! Binaries and tests find libtorch without `LD_LIBRARY_PATH`, and keep `libtorch.so` even when
//! no symbol of it is used: with a CUDA build it is what loads the CUDA backend. The files of `page/`
//! become a list in the binary.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_TANDEM_MODEL_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo::rustc-link-arg=-ltorch");
    }
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let into = std::env::var_os("OUT_DIR").expect("cargo sets it");
    list_page(
        &Path::new(&folder).join("page"),
        &Path::new(&into).join("page.rs"),
    );
}

/// Writes an array of names and contents.
fn list_page(folder: &Path, list: &Path) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = std::fs::read_dir(folder).expect("page/ is there");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    paths.sort();
    let mut written = "[\n".to_owned();
    for path in paths {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        let _ = writeln!(
            written,
            "    ({name:?}, include_bytes!({:?}).as_slice()),",
            path.display().to_string()
        );
    }
    written.push(']');
    std::fs::write(list, written).expect("the list can be written");
}
