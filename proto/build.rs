//! Generates the types from `tandem/v1/*.proto`. protox parses them, so nobody has to install
//! protoc.

use prost::Message as _;
use std::path::PathBuf;

const FILES: [&str; 4] = [
    "tandem/v1/generation.proto",
    "tandem/v1/model.proto",
    "tandem/v1/sampling.proto",
    "tandem/v1/split.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=tandem");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("tandem.v1.bin"), descriptors.encode_to_vec())?;
    // Whoever connects has a channel of their own; the types build where there are no sockets.
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".tandem.v1.Rows.frame")
        .compile_fds(descriptors)?;
    Ok(())
}
