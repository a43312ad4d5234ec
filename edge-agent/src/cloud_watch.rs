//! Whether the cloud answers and fits, in the log and in this edge's health, from the first moment on.
//!
//! An edge is ready whether or not its cloud can be reached: that mends itself, and clients are told when
//! to try again. It is not ready while its cloud is another model's: somebody has to mend that.

use std::time::Duration;
use tandem_client::fit::{self, Misfit};
use tandem_client::{CloudError, FIRST_RETRY, LAST_RETRY, Link};
use tandem_proto::v1;
use tandem_server::health::Health;

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

/// Watches the cloud for as long as the edge serves, and says what it finds of `service`. The edge has `own`
/// model, and runs the layers below `split`.
pub async fn watch(
    link: &Link,
    own: &v1::ModelDescription,
    split: usize,
    health: &Health,
    service: &str,
) {
    if tokio::time::timeout(FIRST_WORD, link.describe())
        .await
        .is_err()
    {
        health.set_serving(service);
    }
    let cloud = link.address();
    let mut last = None;
    let mut wait = FIRST_RETRY;
    loop {
        let standing = match link.describe().await {
            Ok(description) => match fit::check(own, split, &description) {
                Ok(()) => Standing::Fits,
                Err(misfit) => Standing::Misfit(misfit),
            },
            Err(error) => {
                away(cloud, &error);
                Standing::Away
            }
        };
        if last.as_ref() != Some(&standing) {
            wait = FIRST_RETRY;
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
                while link.known().is_some() {
                    tokio::time::sleep(LOOK).await;
                }
            }
            Standing::Misfit(_) | Standing::Away => {
                tokio::time::sleep(wait).await;
                wait = (2 * wait).min(LAST_RETRY);
                link.forget();
            }
        }
        last = Some(standing);
    }
}

fn away(cloud: &str, error: &CloudError) {
    tracing::warn!(
        cloud,
        %error,
        "the cloud does not answer; retrying"
    );
}
