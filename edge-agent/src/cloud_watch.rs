//! Whether a cloud answers and fits, in this edge's health, from the first moment on.
//!
//! An edge is ready whether or not its clouds can be reached: that mends itself, and clients are told when to try again.
//! It is not ready while what answers is another model's: somebody has to mend that.

use std::time::Duration;
use tandem_client::{Clouds, Standing};
use tandem_server::health::Health;

/// How long readiness waits for the first word of a cloud.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// Watches the clouds for as long as the edge serves, and says what it finds of `service`.
pub async fn watch(clouds: &Clouds, health: &Health, service: &str) {
    let mut misfits = false;
    let tending = clouds.tend(|standing| match standing {
        Standing::Fits => {
            misfits = false;
            health.set_serving(service);
        }
        Standing::Misfit { cloud, misfit } => {
            misfits = true;
            health.refuse(service, format!("cloud {cloud}: {misfit}"));
        }
        // A cloud that was another model's may come back as the same.
        Standing::Unknown | Standing::Away if misfits => {}
        Standing::Unknown => {}
        Standing::Away => health.set_serving(service),
    });
    let silent = async {
        tokio::time::sleep(FIRST_WORD).await;
        if clouds.known().is_empty() {
            health.set_serving(service);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = tending => {}
        () = silent => {}
    }
}
