//! All that can keep a model from arriving, with what a person needs to mend it.

use crate::hub_id::HubIdError;
use std::path::PathBuf;

/// Why a model did not arrive. Addresses are named without their queries, which carry signatures.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The name is no hub id.
    #[error(transparent)]
    Id(#[from] HubIdError),
    /// An environment variable, or the token's file, has a value that cannot be used.
    #[error("{name} {problem}")]
    Setting {
        /// The variable or file.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is nowhere to keep models.
    #[error("no home directory to keep models in: set HF_HOME to a folder that can be written")]
    NoHome,
    /// The hub knows no such model, or does not say so to whoever asks.
    #[error("{endpoint} has no model {repository}, or it is private: {}", advice(*.with_token))]
    NotFound {
        /// `owner/name`.
        repository: String,
        /// The hub asked.
        endpoint: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The model is there, but not for whoever asks.
    #[error(
        "{repository} is gated or private: ask for access at {endpoint}/{repository}; then {}",
        advice(*.with_token)
    )]
    Gated {
        /// `owner/name`.
        repository: String,
        /// The hub asked.
        endpoint: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The model has no such branch, tag or commit.
    #[error("{repository} has no revision {revision:?}")]
    RevisionUnknown {
        /// `owner/name`.
        repository: String,
        /// The revision asked for.
        revision: String,
    },
    /// The repository lacks a file that a model must have, or that its index names.
    #[error("{repository} has no file {file}{}", .wanted_by.as_ref().map(|w| format!(", which {w} names")).unwrap_or_default())]
    FileMissing {
        /// `owner/name`.
        repository: String,
        /// The file's path.
        file: String,
        /// The file that names it, where one does.
        wanted_by: Option<&'static str>,
    },
    /// The repository's weights are GGUF files only.
    #[error(
        "{repository} has GGUF files and no safetensors: download one of them and name the .gguf file as \
         the model ({})",
        listed(.files)
    )]
    OnlyGguf {
        /// `owner/name`.
        repository: String,
        /// The GGUF files.
        files: Vec<String>,
    },
    /// The repository has no weights that can be loaded.
    #[error(
        "{repository} has neither model.safetensors nor model.safetensors.index.json; weights in other \
         forms are not loaded"
    )]
    NoSafetensors {
        /// `owner/name`.
        repository: String,
    },
    /// Requests are forbidden and the cache lacks something.
    #[error(
        "{id}: {missing} is not in the cache {cache}, and {variable} forbids asking the hub: unset it, or \
         fetch the model into this cache where there is a network", cache = .cache.display()
    )]
    Offline {
        /// The model, as it was named.
        id: String,
        /// The first thing that is missing.
        missing: String,
        /// The cache's folder.
        cache: PathBuf,
        /// The variable that forbids requests.
        variable: &'static str,
    },
    /// No answer: no name, no connection, or silence.
    #[error("cannot reach {url}: {problem}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the network said.
        problem: String,
    },
    /// The other side does not prove to be the hub, or its store.
    #[error(
        "cannot trust {url}: {problem} (where a proxy opens connections, SSL_CERT_FILE must name a file \
         with its certificate)"
    )]
    Untrusted {
        /// What was asked for.
        url: String,
        /// What is wrong with its certificate or protocol.
        problem: String,
    },
    /// A status that says nothing of the model, after as many attempts as are made.
    #[error("{url} answers with status {status}{}", .message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the hub says of it.
        message: Option<String>,
    },
    /// A redirection that is not followed.
    #[error("{url} redirects {problem}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Where to, or how often.
        problem: String,
    },
    /// An answer that no hub gives.
    #[error("{url} answers wrongly: {problem}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// More bytes or files than a model has.
    #[error("{what} has {size} {unit}, more than the limit of {limit}")]
    TooLarge {
        /// The file or list.
        what: String,
        /// How many there are at least.
        size: u64,
        /// How many there may be.
        limit: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// The hub names a file by a path that does not stay in its folder.
    #[error("the hub names a file {name:?}, which could lie outside the model's folder: refused")]
    UnsafeName {
        /// The name, shortened.
        name: String,
    },
    /// A file came whole, but is not the file that the hub promised.
    #[error("{file} is damaged: its hash is {found}, not {expected}; nothing of it was kept")]
    HashMismatch {
        /// The file's path.
        file: String,
        /// The hash that the hub gave, in hexadecimal.
        expected: String,
        /// The hash of what came.
        found: String,
    },
    /// The index of the weights cannot be read.
    #[error("{file} is no index of weights: {problem}")]
    Index {
        /// The index' path.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no room for what is still missing.
    #[error(
        "{needed} bytes are still to come, but {path} has room for {available}: free some, or set HF_HOME \
         to a larger disk", path = .path.display()
    )]
    DiskFull {
        /// The cache's folder.
        path: PathBuf,
        /// Bytes still to come.
        needed: u64,
        /// Bytes free.
        available: u64,
    },
    /// The cache cannot be read or written.
    #[error(
        "cannot use {path}: {source} (HF_HOME or HF_HUB_CACHE names another cache)", path = .path.display()
    )]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing to verify a hub's certificate with.
    #[error(
        "this machine has no certificate authorities to trust a hub by: install ca-certificates, or set \
         SSL_CERT_FILE"
    )]
    NoRoots,
}

impl HubError {
    /// Whether the hub gave no answer about the model: the network's fault or an outage, so that what
    /// the cache has is the best there is.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::NoRoots => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

fn advice(with_token: bool) -> &'static str {
    if with_token {
        "the token that HF_TOKEN (or the file token in HF_HOME) holds does not open it"
    } else {
        "set HF_TOKEN to a token of an account that may read it"
    }
}

fn listed(files: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = files[..files.len().min(SHOWN)].join(", ");
    if files.len() > SHOWN {
        text.push_str(&format!(" and {} more", files.len() - SHOWN));
    }
    text
}
