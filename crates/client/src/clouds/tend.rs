//! Asks clouds what they are, from the first moment on and again when they have failed, so that sessions need not.

use super::{Clouds, LOOK_UP_EVERY, LOOK_UP_SOON};
use crate::error::CloudError;
use crate::fit::Misfit;
use crate::link::{Cloud, Link};
use crate::metrics::CLOUDS;
use futures_util::FutureExt as _;
use futures_util::future::select_all;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often it is looked whether somebody has to be asked.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of all clouds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// None has answered yet.
    Unknown,
    /// One answers and fits, at least.
    Fits,
    /// Those that answer do not fit.
    Misfit {
        /// One of them.
        cloud: String,
        /// Why not.
        misfit: Misfit,
    },
    /// None answers.
    Away,
}

/// What was found of a link last, and told.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Fits,
    Misfit(Misfit),
    Away,
}

impl Clouds {
    /// Keeps asking for as long as it is polled, and says in the log and to `told` what it finds when that changes.
    pub async fn tend(&self, mut told: impl FnMut(&Standing)) {
        let mut asking: JoinSet<(Link, Result<Cloud, CloudError>)> = JoinSet::new();
        let mut found: HashMap<u64, Found> = HashMap::new();
        let mut asked: Vec<u64> = Vec::new();
        let mut last = Standing::Unknown;
        loop {
            let soon = !matches!(last, Standing::Fits);
            if self.is_lookup_due(if soon { LOOK_UP_SOON } else { LOOK_UP_EVERY }) {
                self.look_up().await;
            }
            let links = self.links();
            found.retain(|number, _| links.iter().any(|link| link.number() == *number));
            self.note(&links, &mut found);
            let standing = standing(&links, &found);
            if standing != last {
                told(&standing);
                last = standing;
            }
            let now = Instant::now();
            let mut next = now + LOOK;
            for link in &links {
                // It may have got the right model since.
                let is_misfit = matches!(found.get(&link.number()), Some(Found::Misfit(_)));
                if is_misfit && link.known().is_some() {
                    link.forget();
                }
                let Some(at) = link.ask_at().filter(|_| !asked.contains(&link.number())) else {
                    continue;
                };
                if at > now {
                    next = next.min(at);
                    continue;
                }
                asked.push(link.number());
                let link = link.clone();
                asking.spawn(async move {
                    let answer = link.describe().await;
                    (link, answer)
                });
            }
            let forgotten = links.iter().map(|link| link.forgotten().boxed());
            let forgotten: Vec<_> = forgotten.collect();
            tokio::select! {
                Some(answered) = asking.join_next() => {
                    let Ok((link, answer)) = answered else { continue };
                    asked.retain(|number| *number != link.number());
                    if let Err(error) = answer {
                        away(&link, &error, matches!(last, Standing::Fits));
                        found.insert(link.number(), Found::Away);
                    }
                }
                _ = select_all(forgotten), if !links.is_empty() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Takes note of those that have answered, whoever asked them.
    fn note(&self, links: &[Link], found: &mut HashMap<u64, Found>) {
        let (own, split) = &self.0.own;
        for link in links.iter().filter(|link| link.known().is_some()) {
            let cloud = link.address();
            let now = match link.misfit(own, *split) {
                None => Found::Fits,
                Some(misfit) => Found::Misfit(misfit),
            };
            if found.get(&link.number()) == Some(&now) {
                continue;
            }
            match &now {
                Found::Misfit(misfit) => tracing::warn!(
                    cloud,
                    error = %misfit,
                    "the cloud does not fit this edge: no answers from it until it does"
                ),
                _ => tracing::info!(cloud, "the cloud answers"),
            }
            found.insert(link.number(), now);
        }
        let mut clouds = [("fits", 0.0), ("misfit", 0.0), ("away", 0.0)];
        for link in links {
            let at = match found.get(&link.number()) {
                // One that was forgotten gets no sessions until it has answered.
                Some(Found::Fits) if link.known().is_some() => 0,
                Some(Found::Misfit(_)) => 1,
                Some(_) => 2,
                None => continue,
            };
            clouds[at].1 += 1.0;
        }
        for (state, count) in clouds {
            CLOUDS.gauge(&[state]).set(count);
        }
    }
}

fn standing(links: &[Link], found: &HashMap<u64, Found>) -> Standing {
    let of = |link: &Link| found.get(&link.number());
    if links.iter().any(|link| of(link) == Some(&Found::Fits)) {
        return Standing::Fits;
    }
    let misfit = links.iter().find_map(|link| match of(link) {
        Some(Found::Misfit(misfit)) => Some(Standing::Misfit {
            cloud: link.address().to_owned(),
            misfit: misfit.clone(),
        }),
        _ => None,
    });
    misfit.unwrap_or(if links.iter().all(|link| of(link).is_some()) {
        Standing::Away
    } else {
        Standing::Unknown
    })
}

fn away(link: &Link, error: &CloudError, others_answer: bool) {
    let cloud = link.address();
    if others_answer {
        tracing::info!(cloud, %error, "the cloud does not answer; others do");
    } else {
        tracing::warn!(cloud, %error, "the cloud does not answer; retrying");
    }
}
