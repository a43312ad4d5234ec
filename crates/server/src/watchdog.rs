//! What a server does about an engine that hangs, or whose model changes under it: health says so, and in the end the
//! process does, so that whoever runs it starts it again.

use crate::engine_config::EngineConfig;
use crate::health::Health;
use std::error::Error;
use std::time::Duration;
use tandem_telemetry::metrics::Metric;
use tokio::time::MissedTickBehavior;

/// Between two looks at an engine.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps health and a gauge true to an engine, and returns when the engine is lost. `turn` is the number of the turn
/// that the engine is in, none while it has nothing to do, and an error once it has ended. `model` fails once the model
/// in use is not the one that was loaded.
pub async fn watch_engine<E: Error, M: Error>(
    turn: impl Fn() -> Result<Option<u64>, E>,
    model: impl Fn() -> Result<(), M>,
    config: &EngineConfig,
    health: &Health,
    stalled: Metric,
) -> EngineLost {
    let gauge = stalled.gauge(&[]);
    gauge.set(0.0);
    let after = config.stalled_after;
    let lost = watch(turn, model, config.patience(), |change| match change {
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
    });
    let lost = lost.await;
    health.stall(lost.to_string());
    lost
}

/// How long one turn may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Before the engine counts as stalled.
    pub(crate) stalled_after: Duration,
    /// Before it is given up; none for never.
    pub(crate) lost_after: Option<Duration>,
}

/// What there is to tell of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// One turn lasts longer than it may.
    Stalled,
    /// It has ended after all.
    GoesOn,
}

/// Why an engine will answer nobody any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineLost {
    /// One turn lasts longer than anybody waits.
    #[error("the engine has been in one step for {} s", .0.as_secs())]
    Hangs(Duration),
    /// Its thread has ended.
    #[error("{0}")]
    Ended(String),
    /// Its model is another one.
    #[error("{0}")]
    ModelChanged(String),
}

/// Watches an engine, tells each change, and returns when it is lost.
///
/// Time is counted in looks and not by a clock: a process that was stopped, or a machine that slept, has not
/// stalled.
async fn watch<E: Error, M: Error>(
    turn: impl Fn() -> Result<Option<u64>, E>,
    model: impl Fn() -> Result<(), M>,
    patience: Patience,
    mut tell: impl FnMut(Change),
) -> EngineLost {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut lasts, mut stalled) = (None, Duration::ZERO, false);
    loop {
        looks.tick().await;
        let now = match turn() {
            Ok(now) => now,
            Err(ended) => return EngineLost::Ended(ended.to_string()),
        };
        if let Err(changed) = model() {
            return EngineLost::ModelChanged(changed.to_string());
        }
        if now.is_some() && now == last {
            lasts += LOOK;
        } else {
            (last, lasts) = (now, Duration::ZERO);
        }
        if stalled != (lasts >= patience.stalled_after) {
            stalled = !stalled;
            tell(if stalled {
                Change::Stalled
            } else {
                Change::GoesOn
            });
        }
        if patience.lost_after.is_some_and(|most| lasts >= most) {
            return EngineLost::Hangs(lasts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    type Told = Arc<Mutex<Vec<Change>>>;

    /// An engine that does what the test says.
    #[derive(Clone, Default)]
    struct Engine(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        turn: Option<u64>,
        turns: u64,
        ended: bool,
        model_changed: bool,
    }

    impl Engine {
        fn state(&self) -> std::sync::MutexGuard<'_, State> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn begin_turn(&self) {
            let mut state = self.state();
            state.turns += 1;
            state.turn = Some(state.turns);
        }

        fn turn(&self) -> io::Result<Option<u64>> {
            let state = self.state();
            if state.ended {
                return Err(io::Error::other("it has ended"));
            }
            Ok(state.turn)
        }

        fn model(&self) -> io::Result<()> {
            if self.state().model_changed {
                return Err(io::Error::other("it is another one"));
            }
            Ok(())
        }
    }

    fn watched(engine: &Engine, lost_after: Option<u64>) -> (Told, JoinHandle<EngineLost>) {
        let told = Told::default();
        let seen = Arc::clone(&told);
        let patience = Patience {
            stalled_after: Duration::from_secs(10),
            lost_after: lost_after.map(Duration::from_secs),
        };
        let (turning, holding) = (engine.clone(), engine.clone());
        let watched = watch(
            move || turning.turn(),
            move || holding.model(),
            patience,
            move |change| seen.lock().unwrap().push(change),
        );
        (told, tokio::spawn(watched))
    }

    fn told(told: &Told) -> Vec<Change> {
        told.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn turns_that_end_are_no_stall_however_many() {
        let engine = Engine::default();
        let (changes, watch) = watched(&engine, Some(20));
        for _ in 0..60 {
            engine.begin_turn();
            sleep(Duration::from_secs(8)).await;
        }
        engine.state().turn = None;
        sleep(Duration::from_secs(3600)).await;
        assert!(told(&changes).is_empty() && !watch.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_lasts_is_a_stall_until_it_ends() {
        let engine = Engine::default();
        let (changes, watch) = watched(&engine, Some(60));
        engine.begin_turn();
        sleep(Duration::from_secs(9)).await;
        assert!(told(&changes).is_empty());
        sleep(Duration::from_secs(4)).await;
        assert_eq!(told(&changes), [Change::Stalled]);
        engine.begin_turn();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(told(&changes), [Change::Stalled, Change::GoesOn]);
        assert!(!watch.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_too_long_is_lost_unless_that_is_off() {
        let engine = Engine::default();
        let (_, given_up) = watched(&engine, Some(30));
        let (changes, patient) = watched(&engine, None);
        engine.begin_turn();
        sleep(Duration::from_secs(3600)).await;
        let lost = given_up.await.unwrap();
        assert_eq!(lost, EngineLost::Hangs(Duration::from_secs(30)));
        assert_eq!(told(&changes), [Change::Stalled]);
        assert!(!patient.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_ends_is_lost() {
        let engine = Engine::default();
        let (_, watch) = watched(&engine, None);
        sleep(Duration::from_secs(5)).await;
        engine.state().ended = true;
        let lost = watch.await.unwrap();
        assert_eq!(lost, EngineLost::Ended("it has ended".to_owned()));
    }
    #[tokio::test(start_paused = true)]
    async fn an_engine_whose_model_changes_is_lost() {
        let engine = Engine::default();
        let (_, watch) = watched(&engine, None);
        sleep(Duration::from_secs(5)).await;
        engine.state().model_changed = true;
        let lost = watch.await.unwrap();
        let expected = EngineLost::ModelChanged("it is another one".to_owned());
        assert_eq!(lost, expected);
    }
}
