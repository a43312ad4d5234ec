//! What the targets' programs are.

use std::path::Path;
use tandem_fuzz::{TARGETS, Target, write_seeds};

/// Where a program is to write its target's seeds, instead of running it.
const SEEDS: &str = "TANDEM_FUZZ_SEEDS";

/// The target of a name. Writes its seeds and ends the program where that is asked for.
pub fn begin(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    let target = found.unwrap_or_else(|| panic!("{name} is no target"));
    if let Some(directory) = std::env::var_os(SEEDS) {
        write_seeds(target, Path::new(&directory)).expect("seeds can be written");
        std::process::exit(0);
    }
    target
}

/// The program of a target, by libFuzzer.
#[macro_export]
macro_rules! program {
    ($name:literal) => {
        static TARGET: std::sync::LazyLock<&tandem_fuzz::Target> =
            std::sync::LazyLock::new(|| $crate::begin($name));

        libfuzzer_sys::fuzz_target!(init: { std::sync::LazyLock::force(&TARGET); }, |data: &[u8]| {
            (TARGET.run)(data)
        });
    };
}
