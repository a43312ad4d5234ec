//! The files of a model at one commit, from the hub's answer; kept, since a commit never changes.

use crate::content_hash::ContentHash;
use crate::error::HubError;
use crate::hub_id::is_commit;
use crate::repo_path::RepoPath;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// No model has as many files.
const MAX_FILES: usize = 50_000;

/// A repository's files at a commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    /// By path, with what is known of each.
    pub(crate) files: BTreeMap<RepoPath, Option<Content>>,
}

/// A file's content, before it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) hash: ContentHash,
}

impl Listing {
    /// Reads the answer to `GET /api/models/{owner}/{name}/revision/{revision}?blobs=true`.
    pub(crate) fn from_answer(answer: &[u8], url: &str) -> Result<Self, HubError> {
        let wrong = |problem: String| HubError::Answer {
            url: url.to_owned(),
            problem,
        };
        let info: ModelInfo = serde_json::from_slice(answer).map_err(|e| wrong(e.to_string()))?;
        if !is_commit(&info.sha) {
            return Err(wrong(format!("{:.80?} is no commit", info.sha)));
        }
        if info.siblings.len() > MAX_FILES {
            return Err(HubError::TooLarge {
                what: url.to_owned(),
                size: info.siblings.len() as u64,
                limit: MAX_FILES as u64,
                unit: "files",
            });
        }
        let mut files = BTreeMap::new();
        for sibling in info.siblings {
            files.insert(RepoPath::new(&sibling.rfilename)?, sibling.content());
        }
        Ok(Self {
            commit: info.sha,
            files,
        })
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.files.keys().any(|path| path.as_str() == file)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(RepoPath::as_str)
    }
}

#[derive(Deserialize)]
struct ModelInfo {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Sibling {
    /// Size and hash where the answer has them; mirrors may leave them out.
    fn content(&self) -> Option<Content> {
        // The Git blob of an LFS file is its pointer, not its content.
        match &self.lfs {
            Some(lfs) => Some(Content {
                size: lfs.size.or(self.size)?,
                hash: ContentHash::sha256(lfs.sha256.as_deref()?)?,
            }),
            None => Some(Content {
                size: self.size?,
                hash: ContentHash::git_blob(self.blob_id.as_deref()?)?,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn listing(siblings: &str) -> Result<Listing, HubError> {
        let answer = format!(r#"{{"sha":"{COMMIT}","siblings":[{siblings}],"private":false}}"#);
        Listing::from_answer(answer.as_bytes(), "u")
    }

    #[test]
    fn an_lfs_file_is_known_by_its_content_not_its_pointer() {
        let sha256 = "a".repeat(64);
        let listing = listing(&format!(
            r#"{{"rfilename":"w","blobId":"{COMMIT}","size":9,"lfs":{{"sha256":"{sha256}","size":9,"pointerSize":1}}}},
               {{"rfilename":"c","blobId":"{COMMIT}","size":2}},{{"rfilename":"bare"}}"#
        ))
        .unwrap();
        let content = |name| listing.files[&RepoPath::new(name).unwrap()].clone();
        assert_eq!(content("w").unwrap().hash, ContentHash::Sha256(sha256));
        assert_eq!(
            content("c").unwrap().hash,
            ContentHash::GitBlob(COMMIT.to_owned())
        );
        assert_eq!(content("bare"), None);
        let saved = serde_json::to_vec(&listing).unwrap();
        assert_eq!(serde_json::from_slice::<Listing>(&saved).unwrap(), listing);
    }

    #[test]
    fn names_and_commits_that_lead_elsewhere_are_refused() {
        let unsafe_name = listing(r#"{"rfilename":"../../etc/passwd"}"#);
        assert!(matches!(unsafe_name, Err(HubError::UnsafeName { .. })));
        let commit = Listing::from_answer(br#"{"sha":"../x","siblings":[]}"#, "u");
        assert!(matches!(commit, Err(HubError::Answer { .. })));
        let many = vec![r#"{"rfilename":"a"}"#; MAX_FILES + 1].join(",");
        assert!(matches!(listing(&many), Err(HubError::TooLarge { .. })));
    }
}
