//! Binaries and tests find libtorch without `LD_LIBRARY_PATH`, and keep `libtorch.so` even when
//! no symbol of it is used: with a CUDA build it is what loads the CUDA backend. The files of `page/`
//! become a list in the binary.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_TANDEM_MODEL_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo::rustc-link-arg=-ltorch");
    }
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("page");
    let list = list_of(&folder)?;
    let into = PathBuf::from(std::env::var("OUT_DIR")?).join("page.rs");
    Ok(std::fs::write(into, list)?)
}

/// Rust source of an array that has, for each file of a folder, the file's name and its bytes.
fn list_of(folder: &Path) -> Result<String, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    let mut list = "[\n".to_owned();
    for path in paths {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = path.display().to_string();
        writeln!(list, "    ({name:?}, include_bytes!({path:?}).as_slice()),")?;
    }
    list.push(']');
    Ok(list)
}
