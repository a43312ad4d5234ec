//! What the cloud's steps take and how busy it is: what an edge plans with.
//!
//! Steps are measured when they are asked for, through the engine like anyone's, so that other sessions'
//! steps go between them; the result is kept for some minutes, in which many edges may ask.

use crate::cloud::Cloud;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tandem_engine::{EngineError, MERGED_ROWS, StepTime, TimedSteps, time_back, time_head};
use tandem_proto::v1;
use tandem_wire::engine_status;
use tonic::Status;

/// Steps of a kind, and the time that they may take together.
const REPEATS: usize = 9;
const PATIENCE: Duration = Duration::from_secs(1);
/// How long figures are kept: a machine is not the same all day, and one moment may be a bad one.
const KEPT: Duration = Duration::from_secs(600);
/// Waits that are remembered, and for how long.
const WAITS: usize = 256;
const REMEMBERED: Duration = Duration::from_secs(60);

/// The times of the cloud's steps, and when they were measured. Who asks meanwhile waits for them.
#[derive(Debug, Default)]
pub struct BackTimes(tokio::sync::Mutex<Option<(Instant, Measured)>>);

#[derive(Debug, Clone)]
struct Measured {
    steps: Vec<StepTime>,
    head_seconds: f64,
}

/// How long steps waited lately.
#[derive(Debug, Default)]
pub struct RecentWaits(Mutex<VecDeque<(Instant, Duration)>>);

impl RecentWaits {
    /// A step waited for so long.
    pub fn note(&self, waited: Duration) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waits.len() == WAITS {
            waits.pop_front();
        }
        waits.push_back((Instant::now(), waited));
    }

    /// The median of the last minute; zero when there were none.
    pub fn median(&self) -> Duration {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = waits.iter().filter(|(at, _)| at.elapsed() < REMEMBERED);
        let mut recent: Vec<Duration> = recent.map(|(_, waited)| *waited).collect();
        recent.sort();
        recent.get(recent.len() / 2).copied().unwrap_or_default()
    }
}

/// What an edge plans with.
///
/// # Errors
/// RESOURCE_EXHAUSTED when there is no room for the keys and values of measuring, INTERNAL when a step
/// failed.
pub async fn profile(cloud: &Cloud) -> Result<v1::ProfileBackResponse, Status> {
    let measured = current(cloud)
        .await
        .map_err(|error| engine_status(&error))?;
    let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    let step = |step: &StepTime| v1::StepTime {
        layers: number(step.layers),
        rows: number(step.rows),
        position: number(step.position),
        seconds: step.seconds,
    };
    Ok(v1::ProfileBackResponse {
        machine: Some(cloud.machine.clone()),
        weights: cloud.held.weights.clone(),
        kv: cloud.held.kv.clone(),
        layers: number(cloud.config.layers),
        merged_rows: number(MERGED_ROWS),
        steps: measured.steps.iter().map(step).collect(),
        head_seconds: measured.head_seconds,
        load: Some(cloud.load()),
    })
}

/// The figures kept, or new ones.
async fn current(cloud: &Cloud) -> Result<Measured, EngineError> {
    let mut kept = cloud.times.0.lock().await;
    if let Some((at, measured)) = kept.as_ref()
        && at.elapsed() < KEPT
    {
        return Ok(measured.clone());
    }
    let measured = measure(cloud).await?;
    *kept = Some((Instant::now(), measured.clone()));
    Ok(measured)
}

/// All layers that are held, and half of them: what a layer costs is the difference.
async fn measure(cloud: &Cloud) -> Result<Measured, EngineError> {
    let began = Instant::now();
    let (first, layers) = (cloud.first_layer, cloud.config.layers);
    let longest = cloud.context.saturating_sub(MERGED_ROWS);
    let positions = [128, 512, 1024].into_iter().filter(|&p| p <= longest);
    let whole = TimedSteps {
        rows: vec![1, 16, 64, MERGED_ROWS],
        positions: positions.collect(),
        repeats: REPEATS,
        patience: PATIENCE,
    };
    let fits = |rows: &usize| *rows <= cloud.context;
    let rows: Vec<usize> = whole.rows.iter().copied().filter(fits).collect();
    let whole = TimedSteps { rows, ..whole };
    // The longest of these sessions; they follow one another.
    let needed = cloud.loaded.kv_sizes.bytes(first, whole.context());
    let _memory = cloud.budget.reserve(needed)?;
    let engine = &cloud.engine;
    let mut steps = time_back(engine, first, &cloud.config, &whole).await?;
    let half = first + (layers - first) / 2;
    if half > first {
        let shallow = TimedSteps {
            positions: Vec::new(),
            ..whole.clone()
        };
        steps.extend(time_back(engine, half, &cloud.config, &shallow).await?);
    }
    let last = layers.saturating_sub(1).max(first);
    let head_seconds = time_head(engine, last, &cloud.config, &whole).await?;
    let seconds = began.elapsed().as_secs_f64();
    tracing::info!(steps = steps.len(), seconds, "measured for planning");
    Ok(Measured {
        steps,
        head_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_a_median_of_the_last_ones() {
        let waits = RecentWaits::default();
        assert_eq!(waits.median(), Duration::ZERO);
        for millis in [3, 1, 2] {
            waits.note(Duration::from_millis(millis));
        }
        assert_eq!(waits.median(), Duration::from_millis(2));
        for _ in 0..WAITS {
            waits.note(Duration::from_millis(9));
        }
        assert_eq!(waits.median(), Duration::from_millis(9));
    }
}
