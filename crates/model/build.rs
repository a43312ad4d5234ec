//! Passes on where libtorch lies: `rustc-link-arg` does not travel to the crates that link the
//! final binaries, so each of those has a `build.rs` that reads `DEP_TANDEM_MODEL_LIBTORCH_LIB`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        link_against(&lib);
        println!("cargo::metadata=libtorch_lib={lib}");
        println!("cargo::rustc-env=TANDEM_LIBTORCH_VERSION={}", version(&lib));
    }
}

/// What libtorch calls itself in the file beside its library.
fn version(lib: &str) -> String {
    let file = std::path::Path::new(lib).join("../build-version");
    println!("cargo::rerun-if-changed={}", file.display());
    let text = std::fs::read_to_string(file).unwrap_or_default();
    match text.trim() {
        "" => "unknown".to_owned(),
        version => version.to_owned(),
    }
}

fn link_against(lib: &str) {
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
    println!("cargo::rustc-link-arg=-ltorch");
}
