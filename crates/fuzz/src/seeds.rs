//! The committed seeds of a target.

use crate::target::Target;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A committed input.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Its file's name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// All seeds of a target by name: those of its own directory, and files of other tests.
///
/// # Errors
/// A directory or file cannot be read.
pub fn seeds(target: &Target) -> io::Result<Vec<Seed>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let own = root.join("crates/fuzz/seeds").join(target.name);
    let others = target.seed_files.iter();
    let others = others.map(|files| (root.join(files.directory), files.suffix));
    let mut paths: Vec<PathBuf> = Vec::new();
    for (directory, suffix) in others.chain([(own, "")]) {
        // A target may do with the files of others.
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && suffix.is_empty() => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_file() && path.to_string_lossy().ends_with(suffix) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        Ok(Seed {
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            bytes: fs::read(&path)?,
        })
    };
    paths.into_iter().map(read).collect()
}

/// Writes the seeds of a target into a directory, which is made.
///
/// # Errors
/// One cannot be read or written.
pub fn write_seeds(target: &Target, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (number, seed) in seeds(target)?.into_iter().enumerate() {
        fs::write(
            directory.join(format!("{number}-{}", seed.name)),
            seed.bytes,
        )?;
    }
    Ok(())
}
