//! Imported directories that are made once and found again.
//!
//! A directory lies beside its file, as `<stem>.tandem`, so that it is deleted, moved and backed up with
//! it; where the file's directory cannot be written to, under the cache's root by a name that is made
//! from the file. Either way it holds a record of what it was made from and is taken only if that is
//! still so. A lock file beside it, which stays, keeps two processes from making it at once.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::container::Container;
use crate::directory::{Prepared, parent_of, put_in_place, write_document};
use crate::error::GgufError;
use crate::identity::Identity;
use crate::{Dtype, OnProgress, Progress};

/// The file in a directory that says what it was made from; it is written last.
const RECORD: &str = "gguf-import.json";
/// How often a process that waits looks again, and says that it waits.
const POLL: Duration = Duration::from_millis(100);

/// The Hugging Face directory of the GGUF file `file`. Imports the file first, unless an import of the same
/// contents lies there.
///
/// It is `<stem>.tandem` (`<stem>.bf16.tandem` for [`Dtype::Bf16`]) beside the file, or
/// `<cache_root>/gguf/<hash>` where that place cannot be written to or is taken by something else. The
/// hash is of the file's size, time, metadata and a sample of its tensors. Of two processes that ask at
/// once one imports; the other hears [`Progress::Waiting`] and takes the result.
///
/// # Errors
/// As [`crate::import`] has them.
pub fn cached(
    file: &Path,
    dtype: Dtype,
    cache_root: &Path,
    progress: OnProgress<'_>,
) -> Result<PathBuf, GgufError> {
    let container = Container::open(file)?;
    let identity = Identity::of(&container, dtype)?;
    let elsewhere = cache_root.join("gguf").join(identity.name());
    let beside = beside(file, dtype);
    let record = identity.record();
    for directory in [&beside, &elsewhere] {
        if is_made_from(directory, &record) {
            return Ok(directory.clone());
        }
    }

    // A name that is taken by something no import has made is left alone.
    let is_free = !beside.exists() || beside.join(RECORD).exists();
    let lock = if is_free {
        lock_file(&beside)
    } else {
        Err(ErrorKind::PermissionDenied.into())
    };
    let (directory, lock) = match lock {
        Ok(lock) => (beside, lock),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            let parent = parent_of(&elsewhere);
            fs::create_dir_all(parent).map_err(GgufError::io(parent))?;
            let lock = lock_file(&elsewhere).map_err(GgufError::io(&elsewhere))?;
            (elsewhere, lock)
        }
        Err(error) => return Err(GgufError::io(&beside)(error)),
    };
    wait_for(&lock, &directory, progress)?;
    // Whoever held the lock may have made it meanwhile.
    if !is_made_from(&directory, &record) {
        make(&container, dtype, &directory, &record, progress)?;
    }
    Ok(directory)
}

fn beside(file: &Path, dtype: Dtype) -> PathBuf {
    let mut name = OsString::from(file.file_stem().unwrap_or_default());
    name.push(match dtype {
        Dtype::F32 => ".tandem",
        Dtype::Bf16 => ".bf16.tandem",
    });
    parent_of(file).join(name)
}

/// Opens the lock file of a directory, which tells too whether its parent can be written to.
fn lock_file(directory: &Path) -> std::io::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(sibling(directory, ".lock"))
}

/// A hidden neighbour of a directory: `.<name><suffix>`.
fn sibling(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(directory.file_name().unwrap_or_default());
    name.push(suffix);
    parent_of(directory).join(name)
}

fn is_made_from(directory: &Path, record: &str) -> bool {
    fs::read(directory.join(RECORD)).is_ok_and(|found| found == record.as_bytes())
}

/// Takes the lock, which is given back when the file is closed, by a crash too.
fn wait_for(lock: &File, directory: &Path, progress: OnProgress<'_>) -> Result<(), GgufError> {
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => {
                return Err(GgufError::io(&sibling(directory, ".lock"))(error));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if progress(Progress::Waiting) == ControlFlow::Break(()) {
            return Err(GgufError::Interrupted);
        }
        thread::sleep(POLL);
    }
}

/// Makes the directory, in place of an older one that the lock's holder may remove.
fn make(
    container: &Container,
    dtype: Dtype,
    directory: &Path,
    record: &str,
    progress: OnProgress<'_>,
) -> Result<(), GgufError> {
    let prepared = Prepared::new(container, dtype)?;
    // Under the lock these names are this process's own; what a crash left there is of no use.
    let (aside, replaced) = (
        sibling(directory, ".partial"),
        sibling(directory, ".replaced"),
    );
    for leftover in [&aside, &replaced] {
        remove(leftover)?;
    }
    let parent = parent_of(directory);
    let name = aside.file_name().unwrap_or_default();
    let aside = tempfile::Builder::new()
        .prefix(name)
        .rand_bytes(0)
        .tempdir_in(parent)
        .map_err(GgufError::io(parent))?;
    prepared.write_into(aside.path(), progress)?;
    write_document(&aside.path().join(RECORD), record)?;
    if directory.exists() {
        fs::rename(directory, &replaced).map_err(GgufError::io(directory))?;
    }
    put_in_place(aside, directory)?;
    // A server that still has the older weights mapped keeps them until it ends.
    remove(&replaced)
}

fn remove(directory: &Path) -> Result<(), GgufError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(GgufError::io(directory)(error)),
        _ => Ok(()),
    }
}
