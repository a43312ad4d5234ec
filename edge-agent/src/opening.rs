//! What clients meet before the model is loaded: a refusal at once, in place of a connection that nobody
//! answers. Both doors ask the same [`Opening`], so they open at the same moment, and no connection is
//! dropped for it.

use crate::answer_service::{AnswerService, count_failure};
use crate::error::AnswerError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tonic::Status;

/// What will be served, once it is there; clones share it.
#[derive(Debug, Clone)]
pub struct Opening(Arc<State>);

#[derive(Debug)]
struct State {
    planning: AtomicBool,
    service: OnceLock<AnswerService>,
}

impl Opening {
    /// Nothing is served yet; `planning` says whether the model waits for a plan.
    pub fn new(planning: bool) -> Self {
        Self(Arc::new(State {
            planning: AtomicBool::new(planning),
            service: OnceLock::new(),
        }))
    }

    /// The plan is made; the model is being loaded.
    pub fn planned(&self) {
        self.0.planning.store(false, Ordering::Relaxed);
    }

    /// Serves from now on. Only the first service counts.
    pub fn open(&self, service: AnswerService) {
        let _ = self.0.service.set(service);
    }

    /// What is served.
    ///
    /// # Errors
    /// It is not there yet: the edge plans or loads.
    pub fn service(&self) -> Result<&AnswerService, AnswerError> {
        self.0.service.get().ok_or_else(|| {
            let error = if self.0.planning.load(Ordering::Relaxed) {
                AnswerError::Planning
            } else {
                AnswerError::Loading
            };
            count_failure(&Status::from(&error));
            error
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_it_serves_it_says_what_it_is_doing() {
        let opening = Opening::new(true);
        assert!(matches!(opening.service(), Err(AnswerError::Planning)));
        opening.planned();
        assert!(matches!(opening.service(), Err(AnswerError::Loading)));
    }
}
