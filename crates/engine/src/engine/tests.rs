//! Turns between the parts of long steps, with a half that does nothing but count.

use super::*;

/// Counts rows; a step of several runs a row a part, each when the test lets it.
struct Counting {
    parts: std::sync::mpsc::Receiver<()>,
}

impl Half for Counting {
    type Session = usize;
    type Open = ();
    type Step = usize;
    type Output = usize;

    fn open(&mut self, (): ()) -> Result<usize, EngineError> {
        Ok(0)
    }

    fn advance(
        &mut self,
        done: &mut usize,
        step: &mut usize,
    ) -> Result<Option<usize>, EngineError> {
        self.parts.recv().map_err(|_| EngineError::Stopped)?;
        *done += 1;
        *step -= 1;
        Ok((*step == 0).then_some(*done))
    }

    fn merge(_: &mut usize, next: usize) -> Option<usize> {
        Some(next)
    }
}

async fn engine() -> (Engine<Counting>, std::sync::mpsc::Sender<()>) {
    let (allow, parts) = std::sync::mpsc::channel();
    let engine = Engine::start("test", 1, move || Ok::<_, EngineError>(Counting { parts }));
    (engine.await.unwrap(), allow)
}

#[tokio::test]
async fn a_long_step_lets_others_in_between_its_parts() {
    let (engine, allow) = engine().await;
    let (long, short) = (
        engine.open(()).await.unwrap(),
        engine.open(()).await.unwrap(),
    );
    let long = long.submit(Priority::Prefill, 100).await.unwrap();
    allow.send(()).unwrap();
    let short = short.submit(Priority::Decode, 1).await.unwrap();
    // The first part of the long one was under way at most.
    allow.send(()).unwrap();
    allow.send(()).unwrap();
    assert_eq!(short.await.unwrap().unwrap().output, 1);
    (0..100).for_each(|_| allow.send(()).unwrap());
    let long = long.await.unwrap().unwrap();
    assert_eq!(long.output, 100);
}

#[tokio::test]
async fn a_closed_session_ends_between_the_parts_of_its_step() {
    let (engine, allow) = engine().await;
    let (long, other) = (
        engine.open(()).await.unwrap(),
        engine.open(()).await.unwrap(),
    );
    let pending = long.submit(Priority::Prefill, usize::MAX).await.unwrap();
    allow.send(()).unwrap();
    drop(long);
    allow.send(()).unwrap();
    allow.send(()).unwrap();
    let other = other.run(Priority::Decode, 1);
    assert_eq!(other.await.unwrap().output, 1);
    assert!(pending.await.is_err());
}
