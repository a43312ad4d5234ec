//! How drafts fared in the answers of an edge: kept while it serves, for the plans that are made later.

use super::cache::Cache;
use crate::config::EdgeConfig;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use tandem_client::SplitClient;
use tandem_planner::{DraftProfile, DraftStart};
use tandem_shape::Identity;

/// How often it is written.
const EVERY: Duration = Duration::from_secs(60);
/// Of fewer round trips nothing is said.
const LEAST: f64 = 50.0;
/// So many say as much as any more: they replace what an edge before has found in more.
const ENOUGH: f64 = 1000.0;
/// It is written again when it has grown by this factor.
const GROWN: f64 = 1.1;

/// What is kept, and of which weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    weights: Option<String>,
    files: Option<String>,
    starts: Vec<DraftStart>,
}

/// Where a serving edge keeps it.
#[derive(Debug)]
pub struct Keeper {
    cache: Cache,
    file: String,
    identity: Identity,
    /// Round trips that there have to be before it is written again.
    awaited: f64,
}

impl Keeper {
    /// Of an edge with this configuration and model.
    pub fn new(config: &EdgeConfig, identity: Identity) -> Self {
        let cache = Cache::new(&config.plan.cache, &config.model, &identity.to_string());
        let file = file(config);
        let before = cache
            .read::<Kept>(&file)
            .filter(|kept| kept.is_of(identity));
        let before = before.map_or(0.0, |kept| count(&kept.starts));
        Self {
            cache,
            file,
            identity,
            awaited: before.clamp(LEAST, ENOUGH),
        }
    }

    /// Writes what is new every minute.
    pub async fn keep_of(&mut self, client: &SplitClient) {
        let mut interval = tokio::time::interval(EVERY);
        loop {
            interval.tick().await;
            self.write(client.draft_starts()).await;
        }
    }

    /// Writes how round trips have begun, where there are enough of them to be said anything of.
    pub async fn write(&mut self, starts: Vec<tandem_client::DraftStart>) {
        let starts: Vec<DraftStart> = starts
            .into_iter()
            .map(|start| DraftStart {
                count: start.count,
                chances: start.chances,
            })
            .collect();
        let count = count(&starts);
        if count < self.awaited {
            return;
        }
        let kept = Kept::new(self.identity, starts);
        let (cache, file) = (self.cache.clone(), self.file.clone());
        let written = tokio::task::spawn_blocking(move || cache.write(&file, &kept)).await;
        match written {
            Ok(Some(_)) => self.awaited = GROWN * count,
            _ => {
                tracing::warn!(
                    "how drafts fare cannot be kept for plans: set plan.cache to a folder that can be written to"
                );
                self.awaited = f64::INFINITY;
            }
        }
    }
}

/// What is kept of this model, with the drafts that the configuration asks for.
pub fn kept(config: &EdgeConfig, cache: &Cache, identity: Identity) -> Option<DraftProfile> {
    // More are sent in a row, but no round trip is of more.
    let most = config.drafts.max.min(config.drafts.message);
    let kept: Kept = cache.read(&file(config)).filter(|_| most > 0)?;
    let says_something = (LEAST..f64::INFINITY).contains(&count(&kept.starts));
    let is_sound = says_something && kept.starts.iter().all(is_sound);
    (is_sound && kept.is_of(identity)).then_some(DraftProfile {
        starts: kept.starts,
        most,
    })
}

impl Kept {
    fn new(identity: Identity, starts: Vec<DraftStart>) -> Self {
        Self {
            weights: identity.weights().map(|weights| weights.to_string()),
            files: identity.files().map(|files| files.to_string()),
            starts,
        }
    }

    /// Whether it is of these weights.
    fn is_of(&self, identity: Identity) -> bool {
        let asked = Self::new(identity, Vec::new());
        let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        same(&self.weights, &asked.weights) || same(&self.files, &asked.files)
    }
}

/// The file: one for each model with the same drafts.
fn file(config: &EdgeConfig) -> String {
    let drafts = &config.drafts;
    let whole = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let of = (whole(&config.model), whole(&drafts.model), &drafts.weights);
    format!(
        "edge-drafts-{:08x}.json",
        crc32c::crc32c(format!("{of:?}").as_bytes())
    )
}

fn count(starts: &[DraftStart]) -> f64 {
    starts.iter().map(|start| start.count).sum()
}

/// Whether a start is one that an edge may have written: the file may be anyone's.
fn is_sound(start: &DraftStart) -> bool {
    let chances = &start.chances;
    start.count >= 0.0 && chances.iter().all(|chance| (0.0..=1.0).contains(chance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::quiet_defaults;
    use tandem_shape::Fingerprint;

    fn config(folder: &Path, max: usize, small: &str) -> EdgeConfig {
        quiet_defaults()
            .set("model", "model")
            .set("plan.cache", folder)
            .set("drafts.max", max)
            .set("drafts.model", small)
            .build()
            .unwrap()
    }

    fn identity(weights: u8) -> Identity {
        Identity::whole(Fingerprint([weights; 32]), Some(Fingerprint([7; 32])))
    }

    fn starts(count: f64) -> Vec<tandem_client::DraftStart> {
        vec![tandem_client::DraftStart {
            count,
            chances: vec![0.5, 0.25],
        }]
    }

    #[tokio::test]
    async fn what_an_edge_keeps_is_there_for_plans_with_the_same_drafts() {
        let folder = tempfile::tempdir().unwrap();
        let serving = config(folder.path(), 3, "");
        let cache = Cache::new(folder.path(), Path::new(""), "");
        let read = |config: &EdgeConfig, identity| {
            kept(config, &cache, identity).map(|profile| (profile.most, count(&profile.starts)))
        };
        let mut keeper = Keeper::new(&serving, identity(1));
        keeper.write(starts(49.0)).await;
        assert_eq!(read(&serving, identity(1)), None);
        keeper.write(starts(60.0)).await;
        assert_eq!(read(&serving, identity(1)), Some((3, 60.0)));
        // Of so few more nothing new is to be said.
        keeper.write(starts(61.0)).await;
        assert_eq!(read(&serving, identity(1)), Some((3, 60.0)));
        // A part of the same model is known by its files.
        let part = Identity::of_files(Fingerprint([7; 32]));
        assert_eq!(read(&serving, part), Some((3, 60.0)));
        let other = Identity::whole(Fingerprint([2; 32]), None);
        assert_eq!(read(&serving, other), None);
        assert_eq!(read(&config(folder.path(), 0, ""), identity(1)), None);
        assert_eq!(read(&config(folder.path(), 3, "small"), identity(1)), None);
        // An edge that starts again has to find as much first.
        let mut again = Keeper::new(&serving, identity(1));
        again.write(starts(55.0)).await;
        assert_eq!(read(&serving, identity(1)), Some((3, 60.0)));
        again.write(starts(80.0)).await;
        assert_eq!(read(&serving, identity(1)), Some((3, 80.0)));
    }

    #[test]
    fn files_that_no_edge_has_written_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), 3, "");
        let cache = Cache::new(folder.path(), Path::new(""), "");
        let start = |count: f64, chance: f64| DraftStart {
            count,
            chances: vec![chance],
        };
        for (starts, is_used) in [
            (vec![start(60.0, 0.5)], true),
            (vec![start(60.0, 1.5)], false),
            (vec![start(60.0, 0.5), start(-1.0, 0.5)], false),
            (vec![start(f64::MAX, 0.5), start(f64::MAX, 0.5)], false),
        ] {
            cache
                .write(&file(&config), &Kept::new(identity(1), starts))
                .unwrap();
            assert_eq!(kept(&config, &cache, identity(1)).is_some(), is_used);
        }
        std::fs::write(folder.path().join(file(&config)), "{\"starts\": [").unwrap();
        assert_eq!(kept(&config, &cache, identity(1)), None);
    }
}
