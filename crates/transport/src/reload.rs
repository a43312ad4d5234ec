//! Certificates, keys and tokens that are replaced while the server runs.
//!
//! The files' contents are compared, not their times: a Kubernetes Secret is replaced behind a
//! symbolic link, and some file systems keep whole seconds. What cannot be used is logged and
//! counted, and the old stays; so a key that arrives after its certificate does no harm.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use tandem_telemetry::metrics::Metric;

/// How often files are compared with what is in use.
pub const EVERY: Duration = Duration::from_secs(2);

/// The most bytes of a file: far beyond a bundle of every public authority.
const MAX_FILE: u64 = 4 << 20;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not what it should be. The message never has a secret in it.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The files do not go together, or the cryptography refuses them.
    #[error("{0}")]
    Refused(String),
}

/// One file: its path and what was in it.
#[derive(Clone, Copy)]
pub struct Material<'a> {
    /// For messages.
    pub path: &'a Path,
    /// Secret, as a rule.
    pub bytes: &'a [u8],
}

impl Material<'_> {
    /// An error about this file.
    pub fn refused(&self, message: impl Into<String>) -> MaterialError {
        MaterialError::Content {
            path: self.path.to_owned(),
            message: message.into(),
        }
    }
}

type Parse<T> = Box<dyn Fn(&[Material<'_>]) -> Result<T, MaterialError> + Send + Sync>;

/// What files hold, made anew when they change.
pub struct Reloaded<T>(Arc<Inner<T>>);

struct Inner<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    parse: Parse<T>,
    reloads: Metric,
    current: watch::Sender<Arc<T>>,
    /// Of the contents that were last tried, well or badly: a broken file is reported once.
    tried: Mutex<blake3::Hash>,
}

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded")
            .field("what", &self.0.what)
            .field("paths", &self.0.paths)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the files and makes of them what `parse` does, given them in the same order. `reloads`
    /// counts later readings by `what` and outcome: `done` or `failed`.
    ///
    /// # Errors
    /// A file cannot be read, or `parse` refuses.
    pub async fn load(
        what: &'static str,
        paths: Vec<PathBuf>,
        reloads: Metric,
        parse: impl Fn(&[Material<'_>]) -> Result<T, MaterialError> + Send + Sync + 'static,
    ) -> Result<Self, MaterialError> {
        let contents = read(paths.clone()).await?;
        let current = parse(&materials(&paths, &contents))?;
        Ok(Self(Arc::new(Inner {
            what,
            tried: Mutex::new(digest(&contents)),
            paths,
            parse: Box::new(parse),
            reloads,
            current: watch::Sender::new(Arc::new(current)),
        })))
    }

    /// What is in use now.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.current.borrow())
    }

    /// What is in use now and from now on, for as long as this is held.
    pub fn changes(&self) -> watch::Receiver<Arc<T>> {
        self.0.current.subscribe()
    }

    /// Takes what the files hold now, if that has changed and can be used.
    pub async fn refresh(&self) {
        let inner = &self.0;
        let read = read(inner.paths.clone()).await;
        // A file that is absent or unreadable counts as contents of its own.
        let found = match &read {
            Ok(contents) => digest(contents),
            Err(error) => blake3::hash(error.to_string().as_bytes()),
        };
        {
            let mut tried = inner.tried.lock().unwrap_or_else(PoisonError::into_inner);
            if *tried == found {
                return;
            }
            *tried = found;
        }
        let parsed = read.and_then(|contents| (inner.parse)(&materials(&inner.paths, &contents)));
        let outcome = match parsed {
            Ok(new) => {
                inner.current.send_replace(Arc::new(new));
                tracing::info!(what = inner.what, "reloaded");
                "done"
            }
            Err(error) => {
                tracing::warn!(what = inner.what, %error, "cannot be reloaded; the old stays in use");
                "failed"
            }
        };
        inner.reloads.counter(&[inner.what, outcome]).increment(1);
    }

    /// Refreshes every so often for as long as the returned value lives. Needs a tokio runtime.
    pub fn watch(&self, every: Duration) -> Watch {
        let watched = self.clone();
        Watch {
            _task: AbortOnDropHandle::new(tokio::spawn(async move {
                let mut interval = tokio::time::interval(every);
                interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    interval.tick().await;
                    watched.refresh().await;
                }
            })),
        }
    }
}

/// Files being watched; dropping it ends that.
#[derive(Debug)]
pub struct Watch {
    _task: AbortOnDropHandle<()>,
}

/// On a thread of its own: the files may lie on a network that does not answer.
async fn read(paths: Vec<PathBuf>) -> Result<Vec<Vec<u8>>, MaterialError> {
    let reading = tokio::task::spawn_blocking(move || {
        let read =
            |path: PathBuf| read_file(&path).map_err(|source| MaterialError::Read { path, source });
        paths.into_iter().map(read).collect()
    });
    reading
        .await
        .unwrap_or_else(|error| Err(MaterialError::Refused(error.to_string())))
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= MAX_FILE {
        Ok(bytes)
    } else {
        Err(std::io::Error::other("it is larger than 4 MiB"))
    }
}

fn materials<'a>(paths: &'a [PathBuf], contents: &'a [Vec<u8>]) -> Vec<Material<'a>> {
    let pairs = paths.iter().zip(contents);
    pairs
        .map(|(path, bytes)| Material { path, bytes })
        .collect()
}

fn digest(contents: &[Vec<u8>]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for bytes in contents {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_telemetry::metrics::{Kind, Label, Unit, recorder};

    const RELOADS: Metric = Metric {
        name: "tandem_test_reloads_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[
            Label {
                name: "what",
                values: &["tls"],
            },
            Label {
                name: "outcome",
                values: &["done", "failed"],
            },
        ],
        help: "Of the tests.",
    };

    async fn number(path: &Path) -> Result<Reloaded<u32>, MaterialError> {
        Reloaded::load("tls", vec![path.to_owned()], RELOADS, |files| {
            let text = String::from_utf8_lossy(files[0].bytes);
            text.trim()
                .parse()
                .map_err(|_| files[0].refused("is no number"))
        })
        .await
    }

    #[tokio::test]
    async fn new_contents_are_taken_and_broken_ones_keep_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let recorder = recorder(&[RELOADS]).unwrap();
        let _local = metrics::set_default_local_recorder(&recorder);

        let reloaded = number(&path).await.unwrap();
        assert_eq!(*reloaded.current(), 1);
        std::fs::write(&path, "2").unwrap();
        reloaded.refresh().await;
        assert_eq!(*reloaded.current(), 2);
        for broken in ["x", "x"] {
            std::fs::write(&path, broken).unwrap();
            reloaded.refresh().await;
        }
        std::fs::remove_file(&path).unwrap();
        reloaded.refresh().await;
        assert_eq!(*reloaded.current(), 2);
        std::fs::write(&path, "3").unwrap();
        reloaded.refresh().await;
        assert_eq!(*reloaded.current(), 3);

        let page = recorder.handle().render();
        for line in ["outcome=\"done\"} 2", "outcome=\"failed\"} 2"] {
            assert!(page.contains(line), "{page}");
        }
    }

    #[tokio::test]
    async fn watching_takes_what_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let reloaded = number(&path).await.unwrap();
        let _watch = reloaded.watch(Duration::from_millis(5));
        std::fs::write(&path, "2").unwrap();
        let changed = async {
            while *reloaded.current() != 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), changed)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_is_wrong_at_the_start_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let error = number(&path).await.unwrap_err().to_string();
        assert!(
            error.contains("cannot read") && error.contains("number"),
            "{error}"
        );
        std::fs::write(&path, "x").unwrap();
        let error = number(&path).await.unwrap_err().to_string();
        assert!(error.ends_with("number: is no number"), "{error}");
    }
}
