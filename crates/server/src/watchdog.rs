//! What a server does about an engine that hangs: health says so, and in the end the process does, so that whoever runs
//! it starts it again.

use crate::engine_config::EngineConfig;
use crate::health::Health;
use tandem_engine::{Change, EngineLost, Pulse};
use tandem_telemetry::metrics::Metric;

/// Keeps health and a gauge true to an engine, and returns when the engine is lost.
pub async fn watch_engine(
    pulse: Pulse,
    config: &EngineConfig,
    health: &Health,
    stalled: Metric,
) -> EngineLost {
    let gauge = stalled.gauge(&[]);
    gauge.set(0.0);
    let after = config.stalled_after;
    let lost = pulse
        .watch(config.patience(), |change| match change {
            Change::Stalled => {
                tracing::error!(%after, "the engine has stalled");
                health.stall(format!(
                    "the engine has been in one step for more than {after}"
                ));
                gauge.set(1.0);
            }
            Change::GoesOn => {
                tracing::warn!("the engine goes on");
                health.go_on();
                gauge.set(0.0);
            }
        })
        .await;
    health.stall(lost.to_string());
    lost
}
