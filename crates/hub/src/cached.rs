//! What the cache has of a model, and what it lacks.

use crate::cache::{RepoCache, unusable};
use crate::error::HubError;
use crate::hub_id::HubId;
use crate::listing::Listing;
use crate::repo_path::RepoPath;
use crate::selection::{self, INDEX, Wanted, Weights};

/// What is read whole into memory is never larger: configurations, tokenizers, the index.
pub(crate) const MAX_COMPANION: u64 = 64 << 20;

/// What the cache has of a model.
pub(crate) struct Cached {
    pub(crate) listing: Listing,
    /// Whether the hub itself gave the listing, which is then complete.
    pub(crate) is_listed: bool,
    /// The first thing that lacks.
    pub(crate) missing: Option<String>,
}

impl Cached {
    pub(crate) fn find(
        cache: &RepoCache,
        id: &HubId,
        wanted: Wanted<'_>,
    ) -> Result<Self, HubError> {
        let known = match id.pinned_commit() {
            Some(commit) => Some(commit.to_owned()),
            None => cache.read_ref(id.revision()),
        };
        let Some(commit) = known else {
            return Ok(Self {
                listing: Listing {
                    commit: String::new(),
                    files: Default::default(),
                },
                is_listed: false,
                missing: Some(format!("the commit of {}", id.revision())),
            });
        };
        let listed = cache.read_listing(&commit);
        let is_listed = listed.is_some();
        let listing = listed.unwrap_or_else(|| cache.found_files(&commit));
        Ok(Self {
            missing: missing(cache, &listing, wanted)?,
            listing,
            is_listed,
        })
    }
}

/// The first wanted file that the cache lacks.
fn missing(
    cache: &RepoCache,
    listing: &Listing,
    wanted: Wanted<'_>,
) -> Result<Option<String>, HubError> {
    let lacks = |path: &&RepoPath| !cache.has(listing, path);
    if let Some(required) = selection::missing_required(|file| listing.has(file)) {
        return Ok(Some(required.to_owned()));
    }
    let Ok(weights) = Weights::find(listing.names(), "") else {
        return Ok(Some(selection::SINGLE.to_owned()));
    };
    let first = RepoPath::new(weights.first_file())?;
    let companions = listing.files.keys();
    let mut always = companions
        .filter(|path| selection::is_companion(path.as_str()))
        .chain([&first]);
    if let Some(path) = always.find(lacks) {
        return Ok(Some(path.to_string()));
    }
    match weights {
        Weights::Single => Ok(None),
        Weights::Sharded => {
            let wanted = if cache.knows_shards(&listing.commit) {
                wanted
            } else {
                // Some of them would be a part of nobody knows what.
                Wanted::All
            };
            let shards = read_index(cache, &listing.commit, wanted)?;
            Ok(shards.iter().find(lacks).map(RepoPath::to_string))
        }
    }
}

/// The shards wanted, by the index that is in the cache.
pub(crate) fn read_index(
    cache: &RepoCache,
    commit: &str,
    wanted: Wanted<'_>,
) -> Result<Vec<RepoPath>, HubError> {
    let path = cache.file(commit, &RepoPath::new(INDEX)?);
    let failed = |source| unusable(&path, source);
    within(
        INDEX,
        std::fs::metadata(&path).map_err(failed)?.len(),
        MAX_COMPANION,
    )?;
    let text = std::fs::read(&path).map_err(failed)?;
    Ok(selection::shards(&text, wanted)?.into_iter().collect())
}

pub(crate) fn within(what: &str, size: u64, limit: u64) -> Result<(), HubError> {
    if size <= limit {
        return Ok(());
    }
    Err(HubError::TooLarge {
        what: what.to_owned(),
        size,
        limit,
        unit: "bytes",
    })
}
