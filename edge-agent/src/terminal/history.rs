//! What was typed in earlier chats, for the arrow keys: a file that nobody else may read.

use rustyline::history::{FileHistory, History as _};
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The most entries that are kept.
pub(super) const MOST: usize = 1000;

/// The longest entry that is kept, in bytes.
const LONGEST: usize = 16 << 10;

/// Where it lies, as freedesktop.org has it: `tandem/history` below `XDG_STATE_HOME`, else below `~/.local/state`.
pub(super) fn file() -> Option<PathBuf> {
    place(std::env::var_os("XDG_STATE_HOME"), std::env::home_dir())
}

fn place(state: Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let state = state.map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(home?.join(".local/state")));
    Some(state?.join("tandem/history"))
}

/// Reads the file, if there is one.
///
/// # Errors
/// It cannot be read, or its folder not be made.
pub(super) fn load(history: &mut FileHistory, path: &Path) -> rustyline::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    match history.load(path) {
        Err(rustyline::error::ReadlineError::Io(error))
            if error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        loaded => loaded,
    }
}

/// Whether an entry is worth its place.
pub(super) fn keeps(entry: &str) -> bool {
    !entry.trim().is_empty() && entry.len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_lies_where_a_users_state_does() {
        let home = || Some(PathBuf::from("/home/ann"));
        let of = |state: &str| place(Some(state.into()), home()).unwrap();
        assert_eq!(of("/state"), PathBuf::from("/state/tandem/history"));
        let usual = PathBuf::from("/home/ann/.local/state/tandem/history");
        assert_eq!(of("no/absolute/path"), usual);
        assert_eq!(place(None, home()), Some(usual));
        assert_eq!(place(None, None), None);
    }

    #[test]
    fn it_survives_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tandem/history");
        for entry in ["first", "second\nline"] {
            let mut history = FileHistory::new();
            load(&mut history, &path).unwrap();
            history.add(entry).unwrap();
            history.append(&path).unwrap();
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut history = FileHistory::new();
        load(&mut history, &path).unwrap();
        let entries: Vec<&String> = history.iter().collect();
        assert_eq!(entries, ["first", "second\nline"]);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        assert!(keeps("Hello?"));
        assert!(!keeps(" \n"));
        assert!(!keeps(&"a".repeat(LONGEST + 1)));
    }
}
