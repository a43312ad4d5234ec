//! The calibrated codec profiles that lie beside a model: `codec/*.profile` in its directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tandem_codec::{MAX_PROFILE_BYTES, Profile, ProfileError};
use tandem_shape::Fingerprint;

/// Where profiles lie in a model's directory.
const FOLDER: &str = "codec";
const EXTENSION: &str = "profile";

/// A model's profiles, by cut.
#[derive(Debug, Clone, Default)]
pub struct Profiles(BTreeMap<usize, Arc<Profile>>);

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfilesError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is none.
    #[error("{path}: {source}")]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ProfileError,
    },
}

impl Profiles {
    /// Reads the profiles beside a model. Those of other weights are left out, with a warning: a
    /// fine-tune's folder may have been copied from its base. Of a model in part, whose weights are not
    /// known, they came from the same hub as its shards, and are taken as they are.
    ///
    /// # Errors
    /// When one cannot be read or is damaged.
    pub fn load(model: &Path, weights: Option<Fingerprint>) -> Result<Self, ProfilesError> {
        let folder = model.join(FOLDER);
        let mut profiles = BTreeMap::new();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => {
                return Err(ProfilesError::Read {
                    path: folder,
                    source,
                });
            }
        };
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(source) => {
                    return Err(ProfilesError::Read {
                        path: folder,
                        source,
                    });
                }
            };
            if path.extension().is_none_or(|e| e != EXTENSION) {
                continue;
            }
            let profile = read(&path)?;
            if weights.is_none_or(|weights| profile.weights() == weights.0) {
                profiles.insert(profile.split(), Arc::new(profile));
            } else {
                tracing::warn!(
                    path = %path.display(),
                    "not used: calibrated on other weights than this model's"
                );
            }
        }
        Ok(Self(profiles))
    }

    /// Where the profile of a cut is kept beside a model.
    pub fn path(model: &Path, split: usize) -> PathBuf {
        model
            .join(FOLDER)
            .join(format!("cut-{split:03}.{EXTENSION}"))
    }

    /// The profile of the cut after `split` layers.
    pub fn of(&self, split: usize) -> Option<&Arc<Profile>> {
        self.0.get(&split)
    }

    /// The profile that has this fingerprint, if it is one for this cut.
    pub fn find(&self, split: usize, fingerprint: &[u8]) -> Option<&Arc<Profile>> {
        self.of(split).filter(|p| p.fingerprint() == fingerprint)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.0.values()
    }
}

fn read(path: &Path) -> Result<Profile, ProfilesError> {
    let read = |source| ProfilesError::Read {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(read)?.len();
    let too_large = length > MAX_PROFILE_BYTES as u64;
    let profile = if too_large {
        Err(ProfileError::TooLarge(length as usize))
    } else {
        Profile::read(&std::fs::read(path).map_err(read)?)
    };
    profile.map_err(|source| ProfilesError::Profile {
        path: path.to_owned(),
        source,
    })
}
