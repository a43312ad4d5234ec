//! Binaries and tests find libtorch without `LD_LIBRARY_PATH`, and keep `libtorch.so` even when
//! no symbol of it is used: with a CUDA build it is what loads the CUDA backend.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_TANDEM_MODEL_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo::rustc-link-arg=-ltorch");
    }
}
