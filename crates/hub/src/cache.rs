//! The cache's folders, laid out as Hugging Face's tools lay them out, so that both find what either
//! fetched:
//!
//! ```text
//! models--owner--name/refs/<revision>             the commit that a branch or tag was at
//! models--owner--name/blobs/<hash>                a file's content
//! models--owner--name/blobs/<hash>.incomplete     what has arrived of it
//! models--owner--name/snapshots/<commit>/<file>   a link to the content
//! models--owner--name/snapshots/<commit>/.tandem-shards.json    the SHA-256 of each shard, here or not
//! models--owner--name/.tandem/<commit>.json       the commit's listing: what there is to fetch
//! .locks/models--owner--name/<hash>.lock          held while the content arrives
//! ```

use crate::content_hash::ContentHash;
use crate::error::HubError;
use crate::hub_id::{HubId, is_commit};
use crate::listing::Listing;
use crate::progress::{OnProgress, Progress};
use crate::repo_path::RepoPath;
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tandem_shape::SHARD_HASHES_FILE;

/// Where a snapshot has files in a folder of their own.
const SUBFOLDER: &str = "codec";

/// A model's part of the cache.
pub(crate) struct RepoCache {
    root: PathBuf,
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(crate) fn new(root: &Path, id: &HubId) -> Self {
        let name = format!("models--{}--{}", id.owner(), id.name());
        Self {
            root: root.to_owned(),
            folder: root.join(&name),
            locks: root.join(".locks").join(name),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of a commit's files.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(crate) fn file(&self, commit: &str, path: &RepoPath) -> PathBuf {
        self.snapshot(commit).join(path.as_str())
    }

    pub(crate) fn blob(&self, hash: &ContentHash) -> PathBuf {
        self.folder.join("blobs").join(hash.as_str())
    }

    /// Where a content lies until it is whole and verified.
    pub(crate) fn partial(&self, hash: &ContentHash) -> PathBuf {
        let name = format!("{}.incomplete", hash.as_str());
        self.folder.join("blobs").join(name)
    }

    /// Whether a commit's file is there, and has the size that is known of it.
    pub(crate) fn has(&self, listing: &Listing, path: &RepoPath) -> bool {
        let size = listing.files.get(path).and_then(Option::as_ref);
        std::fs::metadata(self.file(&listing.commit, path))
            .is_ok_and(|found| found.is_file() && size.is_none_or(|c| c.size == found.len()))
    }

    /// The commit that a branch or tag was at when it was last fetched.
    pub(crate) fn read_ref(&self, revision: &str) -> Option<String> {
        let commit = std::fs::read_to_string(self.ref_path(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes the commit of a branch or tag. A failure is no one's concern: all files are there, and
    /// the next start asks again.
    pub(crate) fn note_ref(&self, revision: &str, commit: &str) {
        if self.read_ref(revision).as_deref() != Some(commit) {
            _ = write_whole(&self.ref_path(revision), commit.as_bytes());
        }
    }

    /// The listing of a commit that was fetched before.
    pub(crate) fn read_listing(&self, commit: &str) -> Option<Listing> {
        let text = std::fs::read(self.listing_path(commit)).ok()?;
        let listing: Listing = serde_json::from_slice(&text).ok()?;
        Some(listing).filter(|listing| listing.commit == commit)
    }

    /// Keeps the listing of a commit. A failure is no one's concern, as with
    /// [`RepoCache::note_ref`].
    pub(crate) fn note_listing(&self, listing: &Listing) {
        if self.read_listing(&listing.commit).as_ref() != Some(listing)
            && let Ok(text) = serde_json::to_vec(listing)
        {
            _ = write_whole(&self.listing_path(&listing.commit), &text);
        }
    }

    /// Whether it is known which shards a commit has, whichever of them are here.
    pub(crate) fn knows_shards(&self, commit: &str) -> bool {
        self.snapshot(commit).join(SHARD_HASHES_FILE).is_file()
    }

    /// Notes the SHA-256 of a commit's shards in its snapshot.
    pub(crate) fn note_shards(
        &self,
        commit: &str,
        hashes: &BTreeMap<String, String>,
    ) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(SHARD_HASHES_FILE);
        let text = serde_json::to_vec(hashes).unwrap_or_default();
        match std::fs::read(&path) {
            Ok(noted) if noted == text => Ok(()),
            _ => write_whole(&path, &text),
        }
    }

    /// The files of a commit that another tool fetched, of which more may exist on the hub.
    pub(crate) fn found_files(&self, commit: &str) -> Listing {
        let snapshot = self.snapshot(commit);
        let mut files = BTreeMap::new();
        for (folder, prefix) in [
            (snapshot.clone(), String::new()),
            (snapshot.join(SUBFOLDER), format!("{SUBFOLDER}/")),
        ] {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            for name in entries.filter_map(|e| e.file_name().into_string().ok()) {
                if let Ok(path) = RepoPath::new(&format!("{prefix}{name}")) {
                    files.insert(path, None);
                }
            }
        }
        Listing {
            commit: commit.to_owned(),
            files,
        }
    }

    /// Waits until no other process fetches a content. Held until the file is dropped, also by the
    /// end of the process.
    pub(crate) fn lock(
        &self,
        hash: &ContentHash,
        file: &str,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<File, HubError> {
        let path = self.locks.join(format!("{}.lock", hash.as_str()));
        let failed = |source| unusable(&path, source);
        create_parent(&path)?;
        let lock = File::create(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => {
                on_progress(Progress::Waiting { file });
                lock.lock().map_err(failed)?;
                Ok(lock)
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Makes a content, which is there, a file of a commit.
    pub(crate) fn link(
        &self,
        commit: &str,
        path: &RepoPath,
        hash: &ContentHash,
    ) -> Result<(), HubError> {
        let file = self.file(commit, path);
        create_parent(&file)?;
        let up = "../".repeat(2 + path.depth());
        let target = PathBuf::from(format!("{up}blobs/{}", hash.as_str()));
        // Renamed into place: a link that leads nowhere any more, or that another process makes at the
        // same time, is replaced.
        let fresh = temporary(&file);
        let linked = match symlink(&target, &fresh) {
            Ok(()) => std::fs::rename(&fresh, &file),
            // A file system without symbolic links keeps the content here instead.
            Err(error) if error.kind() != ErrorKind::StorageFull => {
                std::fs::rename(self.blob(hash), &file)
            }
            Err(error) => Err(error),
        };
        linked.map_err(|source| unusable(&file, source))
    }

    /// Bytes that the cache's disk has room for; `None` where that cannot be told.
    pub(crate) fn available(&self) -> Option<u64> {
        let existing = self.root.ancestors().find(|path| path.exists())?;
        let found = rustix::fs::statvfs(existing).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn ref_path(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.folder.join(".tandem").join(format!("{commit}.json"))
    }
}

/// The error of a file or folder of the cache.
pub(crate) fn unusable(path: &Path, source: std::io::Error) -> HubError {
    HubError::Cache {
        path: path.to_owned(),
        source,
    }
}

pub(crate) fn create_parent(path: &Path) -> Result<(), HubError> {
    match path.parent() {
        Some(parent) => std::fs::create_dir_all(parent).map_err(|e| unusable(parent, e)),
        None => Ok(()),
    }
}

/// Writes a small file so that no reader sees a part of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    create_parent(path)?;
    let fresh = temporary(path);
    std::fs::write(&fresh, bytes)
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(|source| unusable(path, source))
}

/// A name beside a file that no other process takes.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.tmp", rand::random::<u64>()));
    PathBuf::from(name)
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}
