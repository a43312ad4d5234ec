//! Whether the cloud answers and fits, in the log and in this edge's health, from the first moment on.
//!
//! An edge is ready whether or not its cloud can be reached: that mends itself, and clients are told when
//! to try again. It is not ready while its cloud is another model's: somebody has to mend that.

use crate::edge::Edge;
use crate::fit::{self, Misfit};
use crate::link::RETRY;
use std::time::Duration;
use tandem_server::health::Health;
use tonic::Status;

/// How long readiness waits for the first word of the cloud.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// How often it is looked whether the cloud has to be asked again: after a session was refused or lost.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of the cloud.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Fits,
    Misfit(Misfit),
    Away,
}

/// Watches the cloud for as long as the edge serves, and says what it finds of `service`.
pub async fn watch(edge: &Edge, health: &Health, service: &str) {
    if tokio::time::timeout(FIRST_WORD, edge.link.describe())
        .await
        .is_err()
    {
        health.set_serving(service);
    }
    let (own, cloud) = (edge.description(), edge.link.address());
    let mut last = None;
    let mut wait = RETRY.0;
    loop {
        let standing = match edge.link.describe().await {
            Ok(description) => match fit::check(&own, edge.split, &description) {
                Ok(()) => Standing::Fits,
                Err(misfit) => Standing::Misfit(misfit),
            },
            Err(status) => {
                away(cloud, &status);
                Standing::Away
            }
        };
        if last.as_ref() != Some(&standing) {
            wait = RETRY.0;
            match &standing {
                Standing::Fits => {
                    health.set_serving(service);
                    tracing::info!(cloud, "the cloud answers");
                }
                Standing::Misfit(misfit) => {
                    health.refuse(service, format!("cloud {cloud}: {misfit}"));
                    tracing::warn!(
                        cloud,
                        error = %misfit,
                        "the cloud does not fit this edge: no answers until it does"
                    );
                }
                // A cloud that was another model's may come back as the same.
                Standing::Away if matches!(last, Some(Standing::Misfit(_))) => {}
                Standing::Away => health.set_serving(service),
            }
        }
        match standing {
            Standing::Fits => {
                while edge.link.known().is_some() {
                    tokio::time::sleep(LOOK).await;
                }
            }
            Standing::Misfit(_) | Standing::Away => {
                tokio::time::sleep(wait).await;
                wait = (2 * wait).min(RETRY.1);
                edge.link.forget();
            }
        }
        last = Some(standing);
    }
}

fn away(cloud: &str, status: &Status) {
    tracing::warn!(
        cloud,
        error = status.message(),
        "the cloud does not answer; retrying"
    );
}
