//! Whether an engine goes on: a step that hangs in a driver or a library is noticed by those outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Between two looks at an engine.
const LOOK: Duration = Duration::from_secs(1);

/// What an engine's thread says of itself. Clones are of the same engine.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Beat>);

#[derive(Debug, Default)]
struct Beat {
    /// Turns that were begun: a turn takes in what was asked for and runs one step.
    turns: AtomicU64,
    /// Whether one is under way.
    works: AtomicBool,
    ended: AtomicBool,
}

/// The thread's own side: a turn is under way until it rests, and the engine has ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Beating(Pulse);

impl Beating {
    pub(crate) fn of(pulse: Pulse) -> Self {
        Self(pulse)
    }

    /// A turn begins.
    pub(crate) fn turn(&self) {
        let beat = &self.0.0;
        beat.turns.fetch_add(1, Ordering::Relaxed);
        beat.works.store(true, Ordering::Release);
    }

    /// Nothing is to be done.
    pub(crate) fn rest(&self) {
        self.0.0.works.store(false, Ordering::Release);
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.0.ended.store(true, Ordering::Release);
    }
}

/// How long one turn may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Before the engine counts as stalled.
    pub stalled_after: Duration,
    /// Before it is given up; none for never.
    pub lost_after: Option<Duration>,
}

/// What there is to tell of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// One turn lasts longer than it may.
    Stalled,
    /// It has ended after all.
    GoesOn,
}

/// Why an engine will answer nobody any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineLost {
    /// One turn lasts longer than anybody waits.
    #[error("the engine has been in one step for {} s", .0.as_secs())]
    Hangs(Duration),
    /// Its thread has ended.
    #[error("the engine's thread has ended")]
    Ended,
}

impl Pulse {
    /// The turn under way.
    fn turn(&self) -> Option<u64> {
        let beat = &self.0;
        beat.works
            .load(Ordering::Acquire)
            .then(|| beat.turns.load(Ordering::Relaxed))
    }

    /// Watches the engine, tells each change, and returns when it is lost.
    ///
    /// Time is counted in looks and not by a clock: a process that was stopped, or a machine that slept, has not
    /// stalled.
    pub async fn watch(self, patience: Patience, mut tell: impl FnMut(Change)) -> EngineLost {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut lasts, mut stalled) = (None, Duration::ZERO, false);
        loop {
            looks.tick().await;
            if self.0.ended.load(Ordering::Acquire) {
                return EngineLost::Ended;
            }
            let turn = self.turn();
            if turn.is_some() && turn == last {
                lasts += LOOK;
            } else {
                (last, lasts) = (turn, Duration::ZERO);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    type Told = Arc<Mutex<Vec<Change>>>;

    fn watched(pulse: &Pulse, lost_after: Option<u64>) -> (Told, JoinHandle<EngineLost>) {
        let told = Told::default();
        let seen = Arc::clone(&told);
        let patience = Patience {
            stalled_after: Duration::from_secs(10),
            lost_after: lost_after.map(Duration::from_secs),
        };
        let watch = pulse
            .clone()
            .watch(patience, move |change| seen.lock().unwrap().push(change));
        (told, tokio::spawn(watch))
    }

    fn told(told: &Told) -> Vec<Change> {
        told.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn turns_that_end_are_no_stall_however_many() {
        let pulse = Pulse::default();
        let beating = Beating::of(pulse.clone());
        let (changes, watch) = watched(&pulse, Some(20));
        for _ in 0..60 {
            beating.turn();
            sleep(Duration::from_secs(8)).await;
        }
        beating.rest();
        sleep(Duration::from_secs(3600)).await;
        assert!(told(&changes).is_empty() && !watch.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_lasts_is_a_stall_until_it_ends() {
        let pulse = Pulse::default();
        let beating = Beating::of(pulse.clone());
        let (changes, watch) = watched(&pulse, Some(60));
        beating.turn();
        sleep(Duration::from_secs(9)).await;
        assert!(told(&changes).is_empty());
        sleep(Duration::from_secs(4)).await;
        assert_eq!(told(&changes), [Change::Stalled]);
        beating.turn();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(told(&changes), [Change::Stalled, Change::GoesOn]);
        assert!(!watch.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_too_long_is_lost_unless_that_is_off() {
        let pulse = Pulse::default();
        let beating = Beating::of(pulse.clone());
        let (_, given_up) = watched(&pulse, Some(30));
        let (changes, patient) = watched(&pulse, None);
        beating.turn();
        sleep(Duration::from_secs(3600)).await;
        let lost = given_up.await.unwrap();
        assert_eq!(lost, EngineLost::Hangs(Duration::from_secs(30)));
        assert_eq!(told(&changes), [Change::Stalled]);
        assert!(!patient.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_ends_is_lost() {
        let pulse = Pulse::default();
        let beating = Beating::of(pulse.clone());
        let (_, watch) = watched(&pulse, None);
        sleep(Duration::from_secs(5)).await;
        drop(beating);
        assert_eq!(watch.await.unwrap(), EngineLost::Ended);
    }
}
