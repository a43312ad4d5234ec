//! Figures and plans that are kept between starts: beside the model, or where temporary files lie when
//! that cannot be written to.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// The folder in a model's directory.
const FOLDER: &str = "plan";
/// More than any figures take.
const MOST_BYTES: u64 = 16 << 20;

/// A place for files.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Where to look, and to write to the first that can be.
    folders: Vec<PathBuf>,
}

impl Cache {
    /// The configured folder; or beside the model, with another for a model that cannot be written to.
    pub fn new(configured: &Path, model: &Path, fingerprint: &str) -> Self {
        let folders = if !configured.as_os_str().is_empty() {
            vec![configured.to_owned()]
        } else {
            let short = fingerprint.get(..16).unwrap_or(fingerprint);
            let elsewhere = std::env::temp_dir().join(format!("tandem-plan-{short}"));
            vec![model.join(FOLDER), elsewhere]
        };
        Self { folders }
    }

    /// What a file holds; `None` if there is none, or none that can be read as such: figures are
    /// measured again then.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.folders.iter().find_map(|folder| {
            let path = folder.join(name);
            let size = std::fs::metadata(&path).ok()?.len();
            let text = (size <= MOST_BYTES).then(|| std::fs::read(&path).ok())??;
            let value = serde_json::from_slice(&text);
            if let Err(error) = &value {
                tracing::warn!(path = %path.display(), %error, "not used: it is damaged or of another version");
            }
            value.ok()
        })
    }

    /// Writes a file whole or not at all, and returns where; `None` where nowhere can be written, which
    /// costs the next start the time to measure again.
    pub fn write(&self, name: &str, value: &impl Serialize) -> Option<PathBuf> {
        let text = serde_json::to_vec_pretty(value).ok()?;
        self.folders.iter().find_map(|folder| {
            let path = folder.join(name);
            // Several edges may write at the same moment.
            let partial = path.with_extension(format!("{}.partial", std::process::id()));
            let written = std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&partial, &text))
                .and_then(|()| std::fs::rename(&partial, &path));
            if let Err(error) = &written {
                tracing::debug!(path = %path.display(), %error, "cannot be kept here");
            }
            written.ok().map(|()| path)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_not() {
        let folder = std::env::temp_dir().join(format!("tandem-cache-{}", std::process::id()));
        let cache = Cache::new(&folder, Path::new("/nowhere"), "f");
        assert_eq!(cache.read::<Vec<u32>>("a.json"), None);
        let path = cache.write("a.json", &vec![1, 2]).unwrap();
        assert_eq!(cache.read("a.json"), Some(vec![1, 2]));
        std::fs::write(&path, "[1,").unwrap();
        assert_eq!(cache.read::<Vec<u32>>("a.json"), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_model_that_cannot_be_written_to_has_its_figures_elsewhere() {
        let model = Path::new("/proc/no-such-model");
        let fingerprint = format!("{:016x}-rest", std::process::id());
        let cache = Cache::new(Path::new(""), model, &fingerprint);
        let path = cache.write("b.json", &7).unwrap();
        assert!(path.starts_with(std::env::temp_dir()), "{path:?}");
        assert_eq!(cache.read("b.json"), Some(7));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
