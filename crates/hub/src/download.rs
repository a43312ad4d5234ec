//! One file's way into the cache: resumed where it was cut off, verified, and only then given its
//! name.

use crate::attempts::{Attempts, Failed};
use crate::cache::{RepoCache, create_parent, unusable};
use crate::client::header_text;
use crate::content_hash::Hasher;
use crate::error::HubError;
use crate::listing::Content;
use crate::progress::{OnProgress, Progress};
use crate::repo_path::RepoPath;
use crate::repository::Repository;
use crate::settings::Settings;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

const BUFFER: usize = 256 << 10;

/// A file to bring.
pub(crate) struct Download<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) repository: &'a Repository<'a>,
    pub(crate) cache: &'a RepoCache,
    pub(crate) commit: &'a str,
    pub(crate) path: &'a RepoPath,
    pub(crate) content: &'a Content,
}

/// Bytes of all files, here and in all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Bytes that came over the network.
    pub(crate) received: u64,
}

impl Download<'_> {
    /// Brings the file's content into the cache, unless it is there or another process brings it.
    pub(crate) fn run(
        &self,
        tally: &mut Tally,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<(), HubError> {
        let blob = self.cache.blob(&self.content.hash);
        let size = self.content.size;
        let is_there = || std::fs::metadata(&blob).is_ok_and(|b| b.is_file() && b.len() == size);
        if is_there() {
            tally.done += size;
            return Ok(());
        }
        let hash = &self.content.hash;
        let _lock = self.cache.lock(hash, self.path.as_str(), on_progress)?;
        if is_there() {
            tally.done += size;
            return Ok(());
        }
        let mut partial = self.open_partial()?;
        tally.done += partial.length;
        let resumed = partial.length > 0;
        let mut verified = self.complete(&mut partial, tally, on_progress);
        if resumed && matches!(verified, Err(HubError::HashMismatch { .. })) {
            // What lay there from before may be at fault; the whole anew is another matter.
            self.restart(&mut partial, tally)?;
            verified = self.complete(&mut partial, tally, on_progress);
        }
        if let Err(error) = verified {
            if matches!(error, HubError::HashMismatch { .. }) {
                std::fs::remove_file(&partial.path).map_err(|e| unusable(&partial.path, e))?;
            }
            return Err(error);
        }
        // On the disk before it has its name: no power cut leaves a hole under a verified name.
        partial
            .file
            .sync_all()
            .and_then(|()| std::fs::rename(&partial.path, &blob))
            .map_err(|source| unusable(&blob, source))
    }

    /// Receives what is missing, and compares the whole with its hash.
    fn complete(
        &self,
        partial: &mut Partial,
        tally: &mut Tally,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<(), HubError> {
        let mut attempts = Attempts::new(self.settings);
        while partial.length < self.content.size {
            let before = partial.length;
            if let Err(failed) = self.receive(partial, tally, on_progress) {
                if partial.length > before {
                    attempts.got_further();
                }
                attempts.pause_after(failed, on_progress)?;
            }
        }
        let fresh = self.content.hash.hasher(self.content.size);
        let hasher = std::mem::replace(&mut partial.hasher, fresh);
        hasher.verify(&self.content.hash, self.path.as_str())
    }

    /// One request, from where the last one ended.
    fn receive(
        &self,
        partial: &mut Partial,
        tally: &mut Tally,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<(), Failed> {
        let size = self.content.size;
        let url = || self.repository.file_url(self.commit, self.path);
        let wrong = |problem: String| HubError::Answer {
            url: url(),
            problem,
        };
        let response = self
            .repository
            .open(self.commit, self.path, partial.length)?;
        match response.status().as_u16() {
            206 => {
                let range = header_text(response.headers(), "content-range");
                let expected = format!("bytes {}-", partial.length);
                if !range.is_some_and(|range| range.starts_with(&expected)) {
                    return Err(wrong(format!("the range is not {expected}")).into());
                }
            }
            // The server gives no parts, or thinks that this one is past the end.
            _ if partial.length > 0 => self.restart(partial, tally)?,
            _ => {}
        }
        if response.status().as_u16() == 416 {
            return Err(wrong("there is no such range".to_owned()).into());
        }
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = body
                .read(&mut buffer)
                .map_err(|error| HubError::Unreachable {
                    url: url(),
                    problem: error.to_string(),
                })?;
            if count == 0 {
                break;
            }
            if partial.length + count as u64 > size {
                return Err(wrong(format!("more than the {size} bytes of the file")).into());
            }
            self.write(partial, &buffer[..count])?;
            tally.done += count as u64;
            tally.received += count as u64;
            on_progress(Progress::Downloading {
                file: self.path.as_str(),
                done: tally.done,
                total: tally.total,
            });
        }
        if partial.length == size {
            return Ok(());
        }
        Err(HubError::Unreachable {
            url: url(),
            problem: format!(
                "the connection ended after {} of {size} bytes",
                partial.length
            ),
        }
        .into())
    }

    /// Opens what has arrived before, and hashes it.
    fn open_partial(&self) -> Result<Partial, HubError> {
        let path = self.cache.partial(&self.content.hash);
        create_parent(&path)?;
        let failed = |source| unusable(&path, source);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let mut hasher = self.content.hash.hasher(self.content.size);
        let mut length = file.metadata().map_err(failed)?.len();
        if length > self.content.size {
            file.set_len(0).map_err(failed)?;
            length = 0;
        }
        let mut buffer = vec![0; BUFFER];
        let mut hashed = 0;
        while hashed < length {
            match file.read(&mut buffer).map_err(failed)? {
                0 => return Err(failed(ErrorKind::UnexpectedEof.into())),
                count => {
                    hasher.update(&buffer[..count]);
                    hashed += count as u64;
                }
            }
        }
        Ok(Partial {
            file,
            path,
            length,
            hasher,
        })
    }

    fn restart(&self, partial: &mut Partial, tally: &mut Tally) -> Result<(), HubError> {
        tally.done -= partial.length;
        partial
            .file
            .set_len(0)
            .and_then(|()| partial.file.seek(SeekFrom::Start(0)))
            .map_err(|source| unusable(&partial.path, source))?;
        partial.length = 0;
        partial.hasher = self.content.hash.hasher(self.content.size);
        Ok(())
    }

    fn write(&self, partial: &mut Partial, bytes: &[u8]) -> Result<(), HubError> {
        let written = partial.file.write_all(bytes);
        written.map_err(|source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => HubError::DiskFull {
                path: self.cache.root().to_owned(),
                needed: self.content.size - partial.length,
                available: self.cache.available().unwrap_or(0),
            },
            _ => unusable(&partial.path, source),
        })?;
        partial.hasher.update(bytes);
        partial.length += bytes.len() as u64;
        Ok(())
    }
}

/// What has arrived of a content.
struct Partial {
    file: File,
    path: PathBuf,
    length: u64,
    hasher: Hasher,
}
