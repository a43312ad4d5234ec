//! Files for one input.

use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// In memory where the system has such a place: nothing of it needs a disk.
const MEMORY: &str = "/dev/shm";

/// A directory of its own with these files, removed when it is dropped.
pub(crate) fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let memory = Path::new(MEMORY);
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    let directory = made.expect("a directory can be made");
    for (name, bytes) in files {
        fs::write(directory.path().join(name), bytes).expect("a file can be written");
    }
    directory
}
