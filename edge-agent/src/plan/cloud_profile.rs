//! What a cloud says of itself, as the planner takes it.

use anyhow::Context as _;
use std::time::Duration;
use tandem_planner::{AttentionTimes, CloudProfile, LayerTimes, StepSample};
use tandem_proto::v1;
use tonic::Code;

use crate::status::for_operator;
use tandem_client::{CloudError, Link};

/// The cloud measures itself when it is first asked.
const PATIENCE: Duration = Duration::from_secs(90);
/// More steps than any cloud measures.
const MOST_STEPS: usize = 10_000;

/// Asks a cloud what its steps take.
///
/// # Errors
/// When it does not answer, or does not know.
pub async fn ask(link: &Link) -> anyhow::Result<v1::ProfileBackResponse> {
    let mut client = link.client();
    let asked = client.profile_back(v1::ProfileBackRequest {});
    let answer = tokio::time::timeout(PATIENCE, asked)
        .await
        .context("the cloud did not say in time what its steps take")?;
    match answer {
        Ok(profile) => Ok(profile.into_inner()),
        Err(status) if status.code() == Code::Unimplemented => anyhow::bail!(
            "the cloud is too old to say what its steps take: upgrade it, or set split, weights and codec"
        ),
        Err(status) => Err(anyhow::anyhow!(
            "the cloud cannot say what its steps take: {}",
            for_operator(&CloudError::of_call(&status).into(), link.address())
        )),
    }
}

/// The planner's form of it.
///
/// # Errors
/// When its figures make no sense.
pub fn profile(
    cloud: &v1::DescribeBackResponse,
    profile: &v1::ProfileBackResponse,
) -> anyhow::Result<CloudProfile> {
    anyhow::ensure!(
        profile.steps.len() <= MOST_STEPS,
        "the cloud tells of {} steps",
        profile.steps.len()
    );
    let sample = |step: &v1::StepTime| StepSample {
        layers: step.layers as usize,
        rows: step.rows as usize,
        position: step.position as usize,
        seconds: step.seconds,
    };
    let steps: Vec<StepSample> = profile.steps.iter().map(sample).collect();
    let of_cloud = "the cloud's figures make no sense";
    let times = LayerTimes::fit(&steps).context(of_cloud)?;
    let deepest = steps.iter().map(|step| step.layers).max().unwrap_or(0);
    let whole: Vec<StepSample> = steps.into_iter().filter(|s| s.layers == deepest).collect();
    let attention = AttentionTimes::fit(&whole, &times).context(of_cloud)?;
    let queue = profile.load.as_ref().map_or(0.0, |load| load.queue_seconds);
    let sane = |seconds: f64| seconds.is_finite() && seconds >= 0.0;
    anyhow::ensure!(sane(profile.head_seconds) && sane(queue), of_cloud);
    Ok(CloudProfile {
        first_layer: cloud.first_layer as usize,
        max_context: cloud.max_context as usize,
        times,
        attention,
        head_seconds: profile.head_seconds,
        queue_seconds: queue,
        running: profile
            .load
            .as_ref()
            .map_or(0, |load| load.running_sessions as usize),
        merged_rows: profile.merged_rows.max(1) as usize,
    })
}
