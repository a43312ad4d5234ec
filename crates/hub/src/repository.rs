//! What a hub is asked about one model, and what its refusals mean.

use crate::attempts::Failed;
use crate::client::{Client, Failure, Refusal, header_text};
use crate::content_hash::ContentHash;
use crate::error::HubError;
use crate::hub_id::HubId;
use crate::listing::{Content, Listing};
use crate::repo_path::RepoPath;
use std::time::Duration;
use ureq::Body;
use ureq::http::Response;

/// The answer about a model of as many files as are allowed is smaller.
const MAX_LISTING: u64 = 64 << 20;

/// A model on a hub.
pub(crate) struct Repository<'a> {
    client: &'a Client,
    endpoint: &'a str,
    id: &'a HubId,
}

impl<'a> Repository<'a> {
    pub(crate) fn new(client: &'a Client, endpoint: &'a str, id: &'a HubId) -> Self {
        Self {
            client,
            endpoint,
            id,
        }
    }

    /// Asks for the commit of the revision and its files.
    pub(crate) fn listing(&self, within: Option<Duration>) -> Result<Listing, Failed> {
        let revision = encoded(self.id.revision(), "");
        let url = format!(
            "{}/api/models/{}/revision/{revision}",
            self.endpoint,
            self.id.repository()
        );
        let response = self
            .client
            .get(&format!("{url}?blobs=true"), 0, within)
            .map_err(|failure| self.meaning(failure, None))?;
        let body = response
            .into_body()
            .into_with_config()
            .limit(MAX_LISTING)
            .read_to_vec();
        let answer = body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => HubError::TooLarge {
                what: url.clone(),
                size: MAX_LISTING + 1,
                limit: MAX_LISTING,
                unit: "bytes",
            },
            other => HubError::Unreachable {
                url: url.clone(),
                problem: other.to_string(),
            },
        })?;
        let listing = Listing::from_answer(&answer, &url)?;
        match self.id.pinned_commit() {
            Some(commit) if commit != listing.commit => Err(HubError::Answer {
                url,
                problem: format!("it is about commit {}", listing.commit),
            }
            .into()),
            _ => Ok(listing),
        }
    }

    /// Asks for a file's size and hash, where the listing has none.
    pub(crate) fn content(&self, commit: &str, file: &RepoPath) -> Result<Content, Failed> {
        let url = self.file_url(commit, file);
        let response = self
            .client
            .head(&url)
            .map_err(|failure| self.meaning(failure, Some(file)))?;
        let text = |name| header_text(response.headers(), name);
        let wrong = |problem: &str| HubError::Answer {
            url: url.clone(),
            problem: problem.to_owned(),
        };
        let tag = |name| text(name).map(|t| t.trim_start_matches("W/").replace('"', ""));
        // Only the linked tag is known to be the content's hash; servers make others as they like.
        let hash = match tag("x-linked-etag") {
            Some(tag) => ContentHash::sha256(&tag).or_else(|| ContentHash::opaque(&tag)),
            None => tag("etag").and_then(|tag| ContentHash::opaque(&tag)),
        };
        let own_size = || {
            if response.status().is_success() {
                text("content-length")
            } else {
                None
            }
        };
        let size = text("x-linked-size").or_else(own_size);
        Ok(Content {
            size: size
                .and_then(|size| size.parse().ok())
                .ok_or_else(|| wrong("the file's size is missing"))?,
            hash: hash.ok_or_else(|| wrong("the file's ETag is missing or unusable"))?,
        })
    }

    /// Asks for a file's bytes from byte `from` on.
    pub(crate) fn open(
        &self,
        commit: &str,
        file: &RepoPath,
        from: u64,
    ) -> Result<Response<Body>, Failed> {
        self.client
            .get(&self.file_url(commit, file), from, None)
            .map_err(|failure| self.meaning(failure, Some(file)))
    }

    pub(crate) fn file_url(&self, commit: &str, file: &RepoPath) -> String {
        format!(
            "{}/{}/resolve/{commit}/{}",
            self.endpoint,
            self.id.repository(),
            encoded(file.as_str(), "/")
        )
    }

    fn meaning(&self, failure: Failure, file: Option<&RepoPath>) -> Failed {
        match failure {
            Failure::Broken(error) => error.into(),
            Failure::Refused(refusal) => Failed {
                retry_after: refusal.retry_after,
                error: self.refused(*refusal, file),
            },
        }
    }

    fn refused(&self, refusal: Refusal, file: Option<&RepoPath>) -> HubError {
        let repository = self.id.repository();
        let endpoint = self.endpoint.to_owned();
        let with_token = self.client.has_token();
        let missing = |file: &RepoPath| HubError::FileMissing {
            repository: self.id.repository(),
            file: file.to_string(),
            wanted_by: None,
        };
        let code = refusal.code.as_deref().filter(|_| refusal.by_hub);
        match (code, refusal.status, file) {
            (Some("GatedRepo"), _, _) => HubError::Gated {
                repository,
                endpoint,
                with_token,
            },
            (Some("RevisionNotFound"), _, _) => HubError::RevisionUnknown {
                repository,
                revision: self.id.revision().to_owned(),
            },
            (Some("EntryNotFound"), _, Some(file)) => missing(file),
            (Some("RepoNotFound"), _, _) => HubError::NotFound {
                repository,
                endpoint,
                with_token,
            },
            // A store that refuses says nothing about the model.
            (_, status, _) if !refusal.by_hub => HubError::Status {
                url: refusal.url,
                status,
                message: None,
            },
            (_, 401 | 403, Some(_)) | (_, 403, None) => HubError::Gated {
                repository,
                endpoint,
                with_token,
            },
            (_, 404, Some(file)) => missing(file),
            (_, 401 | 404, None) => HubError::NotFound {
                repository,
                endpoint,
                with_token,
            },
            (_, status, _) => HubError::Status {
                url: refusal.url,
                status,
                message: refusal.message,
            },
        }
    }
}

/// Percent-encodes all but the characters that no part of an address gives a meaning to, and `kept`.
fn encoded(text: &str, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        if is_plain || kept.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_an_address() {
        assert_eq!(encoded("refs/pr/1+x", ""), "refs%2Fpr%2F1%2Bx");
        assert_eq!(encoded("codec/a b?#é", "/"), "codec/a%20b%3F%23%C3%A9");
    }
}
