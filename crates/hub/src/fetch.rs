//! The way of a model to this machine: which commit, which files, which of them are missing.

use crate::attempts::{Attempts, Failed};
use crate::cache::RepoCache;
use crate::cached::{Cached, MAX_COMPANION, read_index, within};
use crate::client::Client;
use crate::content_hash::ContentHash;
use crate::download::{Download, Tally};
use crate::error::HubError;
use crate::hub_id::HubId;
use crate::listing::{Content, Listing};
use crate::progress::{OnProgress, Progress};
use crate::repo_path::RepoPath;
use crate::repository::Repository;
use crate::selection::{self, INDEX, Wanted, Weights};
use crate::settings::Settings;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// No file of weights is larger.
const MAX_WEIGHTS: u64 = 1 << 40;

/// A model's files at one commit, on this machine.
#[derive(Debug)]
pub struct Snapshot {
    /// The directory, in the form of Hugging Face's.
    pub directory: PathBuf,
    /// The commit, 40 hexadecimal digits. A branch named by it gives the same files at any time.
    pub commit: String,
    /// Bytes that came over the network; what was in the cache is not counted.
    pub received: u64,
    /// Why the hub could not say whether this is still the branch's newest commit, where it could
    /// not. The caller logs it.
    pub outdated: Option<HubError>,
}

/// Fetches a model as the environment says ([`Settings::from_env`]). Blocks; see [`fetch_with`].
///
/// # Errors
/// As [`fetch_with`], and when a variable's value cannot be used.
pub fn fetch(
    id: &HubId,
    wanted: Wanted<'_>,
    on_progress: &mut OnProgress<'_>,
) -> Result<Snapshot, HubError> {
    fetch_with(&Settings::from_env()?, id, wanted, on_progress)
}

/// Fetches what is missing of a model into the cache. Blocks until all is there; a process that ends
/// before leaves parts that the next fetch resumes. Processes may fetch the same model at once.
///
/// A model named by its commit, all of whose files are in the cache, takes no request. One named by a
/// branch or tag takes one, for its commit; when the hub does not answer, the commit of the last fetch is used
/// ([`Snapshot::outdated`]).
///
/// # Errors
/// See [`HubError`]; no file of a snapshot is ever unverified or in part.
pub fn fetch_with(
    settings: &Settings,
    id: &HubId,
    wanted: Wanted<'_>,
    on_progress: &mut OnProgress<'_>,
) -> Result<Snapshot, HubError> {
    let cache = RepoCache::new(&settings.cache, id);
    let cached = Cached::find(&cache, id, wanted)?;
    let ready = |commit: &str, outdated| Snapshot {
        directory: cache.snapshot(commit),
        commit: commit.to_owned(),
        received: 0,
        outdated,
    };
    if let Some(variable) = settings.offline {
        return match cached.missing {
            None => Ok(ready(&cached.listing.commit, None)),
            Some(missing) => Err(HubError::Offline {
                id: id.to_string(),
                missing,
                cache: settings.cache.clone(),
                variable,
            }),
        };
    }
    let is_final = id.pinned_commit().is_some() && cached.is_listed;
    if is_final && cached.missing.is_none() {
        return Ok(ready(&cached.listing.commit, None));
    }
    let fetched = Client::new(settings).and_then(|client| {
        let fetch = Fetch {
            settings,
            cache: &cache,
            repository: Repository::new(&client, &settings.endpoint, id),
            id,
        };
        let listing = if is_final {
            cached.listing.clone()
        } else {
            let asked = fetch.listing(cached.missing.is_none(), on_progress)?;
            // The kept one says as much of the same commit, or more: what a mirror's answer leaves
            // out was asked for then.
            if cached.is_listed && cached.listing.commit == asked.commit {
                cached.listing.clone()
            } else {
                asked
            }
        };
        fetch.bring(listing, wanted, on_progress)
    });
    match fetched {
        Err(error) if error.is_outage() && cached.missing.is_none() => {
            Ok(ready(&cached.listing.commit, Some(error)))
        }
        other => other,
    }
}

/// A fetch that may ask the hub.
struct Fetch<'a> {
    settings: &'a Settings,
    cache: &'a RepoCache,
    repository: Repository<'a>,
    id: &'a HubId,
}

impl Fetch<'_> {
    /// Asks for the commit and its files: once and briefly where the cache could serve instead.
    fn listing(
        &self,
        is_dispensable: bool,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Listing, HubError> {
        let (attempts, within) = if is_dispensable {
            (Attempts::single(), Some(self.settings.lookup_timeout))
        } else {
            (Attempts::new(self.settings), None)
        };
        trying(attempts, on_progress, || self.repository.listing(within))
    }

    /// Downloads every wanted file that the cache lacks.
    fn bring(
        &self,
        mut listing: Listing,
        wanted: Wanted<'_>,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Snapshot, HubError> {
        let weights = Weights::find(listing.names(), &self.id.repository())?;
        if let Some(file) = selection::missing_required(|file| listing.has(file)) {
            return Err(self.file_missing(file, None));
        }
        let mut files: Vec<RepoPath> = listing.files.keys().cloned().collect();
        files.retain(|path| selection::is_companion(path.as_str()));
        files.push(RepoPath::new(weights.first_file())?);
        let mut tally = Tally::default();
        let mut hashes = None;
        if weights == Weights::Sharded {
            let index = RepoPath::new(INDEX)?;
            // Before all others, since it says how many there are; too small to be shown.
            let mut quiet = |step: Progress<'_>| match step {
                Progress::Downloading { .. } => {}
                step => on_progress(step),
            };
            self.bring_file(&mut listing, &index, &mut tally, &mut quiet)?;
            hashes = self.shard_hashes(&mut listing, on_progress)?;
            let wanted = match hashes {
                Some(_) => wanted,
                None => Wanted::All,
            };
            files.extend(read_index(self.cache, &listing.commit, wanted)?);
        }
        tally = Tally {
            received: tally.received,
            ..Tally::default()
        };
        let mut needed = 0;
        for path in &files {
            let content = self.content(&mut listing, path, on_progress)?;
            tally.total = tally.total.saturating_add(content.size);
            if !self.cache.has(&listing, path) {
                let arrived = std::fs::metadata(self.cache.partial(&content.hash));
                let arrived = arrived.map_or(0, |partial| partial.len());
                needed += content.size.saturating_sub(arrived);
            }
        }
        self.check_room(needed)?;
        for path in &files {
            self.bring_file(&mut listing, path, &mut tally, on_progress)?;
        }
        if let Some(hashes) = hashes {
            self.cache.note_shards(&listing.commit, &hashes)?;
        }
        // Last, so that what they promise is there.
        self.cache.note_listing(&listing);
        if self.id.pinned_commit().is_none() {
            self.cache.note_ref(self.id.revision(), &listing.commit);
        }
        Ok(Snapshot {
            directory: self.cache.snapshot(&listing.commit),
            commit: listing.commit,
            received: tally.received,
            outdated: None,
        })
    }

    /// The SHA-256 of every shard, by name; none where the hub gives a hash of another kind for one.
    fn shard_hashes(
        &self,
        listing: &mut Listing,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Option<BTreeMap<String, String>>, HubError> {
        let mut hashes = BTreeMap::new();
        for shard in read_index(self.cache, &listing.commit, Wanted::All)? {
            if !listing.has(shard.as_str()) {
                return Err(self.file_missing(shard.as_str(), Some(INDEX)));
            }
            match self.content(listing, &shard, on_progress)?.hash {
                ContentHash::Sha256(hex) => _ = hashes.insert(shard.into(), hex),
                ContentHash::GitBlob(_) | ContentHash::Opaque(_) => return Ok(None),
            }
        }
        Ok(Some(hashes))
    }

    fn bring_file(
        &self,
        listing: &mut Listing,
        path: &RepoPath,
        tally: &mut Tally,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<(), HubError> {
        let content = self.content(listing, path, on_progress)?;
        if self.cache.has(listing, path) {
            tally.done += content.size;
            return Ok(());
        }
        let download = Download {
            settings: self.settings,
            repository: &self.repository,
            cache: self.cache,
            commit: &listing.commit,
            path,
            content: &content,
        };
        download.run(tally, on_progress)?;
        self.cache.link(&listing.commit, path, &content.hash)
    }

    /// A file's size and hash, asked for where the listing has none.
    fn content(
        &self,
        listing: &mut Listing,
        path: &RepoPath,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Content, HubError> {
        let content = match listing.files.get(path) {
            Some(Some(content)) => content.clone(),
            _ => {
                let commit = &listing.commit;
                let ask = || self.repository.content(commit, path);
                let content = trying(Attempts::new(self.settings), on_progress, ask)?;
                listing.files.insert(path.clone(), Some(content.clone()));
                content
            }
        };
        let limit = if selection::is_companion(path.as_str()) || path.as_str() == INDEX {
            MAX_COMPANION
        } else {
            MAX_WEIGHTS
        };
        within(path.as_str(), content.size, limit)?;
        Ok(content)
    }

    fn check_room(&self, needed: u64) -> Result<(), HubError> {
        match self.cache.available() {
            Some(available) if available < needed => Err(HubError::DiskFull {
                path: self.cache.root().to_owned(),
                needed,
                available,
            }),
            _ => Ok(()),
        }
    }

    fn file_missing(&self, file: &str, wanted_by: Option<&'static str>) -> HubError {
        HubError::FileMissing {
            repository: self.id.repository(),
            file: file.to_owned(),
            wanted_by,
        }
    }
}

/// Repeats a request until it succeeds or no further attempt would help.
fn trying<T>(
    mut attempts: Attempts,
    on_progress: &mut OnProgress<'_>,
    mut request: impl FnMut() -> Result<T, Failed>,
) -> Result<T, HubError> {
    loop {
        match request() {
            Ok(value) => return Ok(value),
            Err(failed) => attempts.pause_after(failed, on_progress)?,
        }
    }
}
