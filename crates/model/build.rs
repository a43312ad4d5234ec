//! Passes on where libtorch lies: `rustc-link-arg` does not travel to the crates that link the
//! final binaries, so each of those has a `build.rs` that reads `DEP_TANDEM_MODEL_LIBTORCH_LIB`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        link_against(&lib);
        println!("cargo::metadata=libtorch_lib={lib}");
    }
}

fn link_against(lib: &str) {
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
    println!("cargo::rustc-link-arg=-ltorch");
}
