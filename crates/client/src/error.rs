//! What can go wrong between an edge and its cloud.

use bytes::Bytes;
use std::error::Error as _;
use std::time::Duration;
use tandem_engine::EngineError;
use tandem_status::{NOT_GRPC, cause, reason, retry_after, speaks_grpc};
use tonic::{Code, Status};

/// Why a session has failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// The cloud, or the way there.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The front layers that run here.
    #[error(transparent)]
    Front(#[from] EngineError),
}

/// Why the cloud cannot be used, or has ended a session.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CloudError {
    /// There is no connection, or nothing behind it that serves the protocol.
    #[error("the cloud cannot be reached: {why}")]
    Unreachable {
        /// The deepest cause there is.
        why: String,
        /// Whether anything of the call may have left: not over a connection that ended while the call
        /// waited for it, as one does that the cloud finds too old.
        sent: bool,
    },
    /// The connection broke under a session.
    #[error("the connection to the cloud was lost: {why}")]
    Lost {
        /// The deepest cause there is.
        why: String,
    },
    /// The cloud does not let this edge in. Clients of the edge are told no more than that.
    #[error("the cloud refuses this edge, see its cloud_token: {message}")]
    Refused {
        /// What it says.
        message: String,
    },
    /// The cloud ended the session without a word.
    #[error("the cloud ended the session")]
    Gone,
    /// The session is shorter than the prompt was checked against: the cloud has changed since it
    /// described itself.
    #[error("the cloud grants {granted} positions; it described itself with {context} or more")]
    GrantedLess {
        /// Positions granted.
        granted: usize,
        /// Positions asked for.
        context: usize,
    },
    /// The clouds that answer are not known to compute as the one that the answer began with: it might go on otherwise,
    /// which it must not.
    #[error(
        "no cloud answers that is known to compute as the one an answer began with, which holds its layers in {began}; \
         one holds them in {found}"
    )]
    HeldOtherwise {
        /// How one of them holds its layers.
        found: String,
        /// How the first did.
        began: String,
    },
    /// The answer is to keep a schema, a regular expression or a grammar, which the cloud does not serve.
    #[error("the cloud serves no answers that keep a schema, a regular expression or a grammar")]
    Unconstrained,
    /// The cloud answered what was not asked: it is broken, or another program that passes for a cloud.
    #[error("the cloud's answer is not to what was asked: {problem}")]
    Unasked {
        /// What is wrong with it.
        problem: String,
    },
    /// A status of the cloud's own, as docs/protocol.md lists them.
    #[error("{0}")]
    Status(CloudStatus),
}

/// A status that the cloud has sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CloudStatus {
    /// Its code.
    pub code: Code,
    /// Its reason, which may be one of a later release.
    pub reason: Option<String>,
    /// For people.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// All its details, to be passed on.
    pub details: Bytes,
}

/// What may be tried after a session has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same at once: nothing of it has left.
    AtOnce,
    /// Its answer in another session: this one is lost, and nothing is wrong with what was asked.
    InAnotherSession,
    /// Nothing: it would fail again.
    Never,
}

impl SessionError {
    /// What may be tried now.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Cloud(error) => error.retry(),
            Self::Front(EngineError::SessionGone | EngineError::Stopped) => Retry::InAnotherSession,
            Self::Front(_) => Retry::Never,
        }
    }

    /// Whether a session that was open is lost, and nothing is wrong with what was asked of it.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Cloud(CloudError::Lost { .. } | CloudError::Gone) => true,
            // A cloud that serves a feature no more is another one than described itself.
            Self::Cloud(CloudError::Status(status)) => matches!(
                status.code,
                Code::Aborted | Code::DataLoss | Code::Unimplemented
            ),
            _ => false,
        }
    }

    /// Whether the stream of a session broke, or none could be made: the cloud may have the session yet.
    pub(crate) fn is_broken_stream(&self) -> bool {
        matches!(
            self,
            Self::Cloud(CloudError::Lost { .. } | CloudError::Unreachable { .. })
        )
    }

    /// Whether a session that was to be taken up is not there any more, or is taken up by nobody there.
    pub(crate) fn is_session_gone(&self) -> bool {
        match self {
            Self::Cloud(CloudError::Gone) => true,
            Self::Cloud(CloudError::Status(status)) => {
                matches!(status.code, Code::Aborted | Code::Unimplemented)
            }
            _ => false,
        }
    }

    /// Whether an answer that has begun may go on in another session.
    pub fn may_go_on_elsewhere(&self) -> bool {
        match self {
            Self::Cloud(CloudError::Unreachable { .. }) => true,
            Self::Cloud(CloudError::Status(status)) => matches!(
                status.code,
                Code::Aborted
                    | Code::DataLoss
                    | Code::Unavailable
                    | Code::ResourceExhausted
                    | Code::Unimplemented
            ),
            // Another one may come that computes alike.
            Self::Cloud(CloudError::HeldOtherwise { .. } | CloudError::Unconstrained) => true,
            _ => self.is_loss(),
        }
    }

    /// When the cloud says to come again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Cloud(CloudError::Status(status)) => status.retry_after,
            _ => None,
        }
    }

    /// What lost a session, by the label of the metric.
    pub(crate) fn loss_label(&self) -> &'static str {
        match self {
            Self::Cloud(CloudError::Status(status)) => match status.code {
                Code::Aborted => "given_up",
                Code::Unavailable => "unavailable",
                Code::ResourceExhausted => "no_room",
                _ => "other",
            },
            Self::Cloud(
                CloudError::Lost { .. } | CloudError::Gone | CloudError::Unreachable { .. },
            ) => "connection",
            _ => "other",
        }
    }

    /// Whether what the cloud said of itself may be outdated.
    pub fn cloud_may_have_changed(&self) -> bool {
        match self {
            Self::Cloud(CloudError::Status(status)) => {
                matches!(
                    status.code,
                    Code::FailedPrecondition | Code::Unavailable | Code::Unimplemented
                )
            }
            Self::Cloud(CloudError::Unconstrained) | Self::Front(_) => false,
            Self::Cloud(_) => true,
        }
    }
}

impl CloudError {
    /// What may be tried now.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { sent: false, .. } => Retry::AtOnce,
            Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Refused { .. }
            | Self::Gone
            | Self::HeldOtherwise { .. }
            | Self::GrantedLess { .. } => Retry::InAnotherSession,
            Self::Unasked { .. } | Self::Unconstrained => Retry::Never,
            // What these codes mean is part of the protocol, whatever the reason.
            Self::Status(status) => match status.code {
                Code::Aborted | Code::Unavailable => Retry::InAnotherSession,
                _ => Retry::Never,
            },
        }
    }

    /// A call that failed.
    pub fn of_call(status: &Status) -> Self {
        let unreachable = |why: &str| Self::Unreachable {
            why: why.to_owned(),
            sent: !was_canceled(status),
        };
        if !speaks_grpc(status.metadata()) {
            return unreachable(NOT_GRPC);
        }
        match status.code() {
            Code::Unknown | Code::Unavailable | Code::Internal | Code::Cancelled => {
                match (cause(status), status.code()) {
                    (Some(cause), _) => unreachable(&cause),
                    (None, Code::Unknown | Code::Cancelled) => unreachable(status.message()),
                    (None, _) => Self::own(status),
                }
            }
            // Every cloud has the calls of version 1.
            Code::Unimplemented if status.message().is_empty() => unreachable(
                "this port speaks gRPC, but is not a cloud-service's listen: it looks like an edge-agent's, \
                 or the port of metrics",
            ),
            Code::Unauthenticated | Code::PermissionDenied => Self::Refused {
                message: status.message().to_owned(),
            },
            _ => Self::own(status),
        }
    }

    /// A stream that had begun and failed: its connection is lost, rather than the cloud away.
    pub fn of_stream(status: &Status) -> Self {
        match cause(status) {
            Some(why) if !was_canceled(status) => Self::Lost { why },
            _ => Self::of_call(status),
        }
    }

    fn own(status: &Status) -> Self {
        Self::Status(CloudStatus {
            code: status.code(),
            reason: reason(status),
            message: status.message().to_owned(),
            retry_after: retry_after(status),
            details: Bytes::copy_from_slice(status.details()),
        })
    }
}

fn was_canceled(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        let hyper: Option<&hyper::Error> = error.downcast_ref();
        if hyper.is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tandem_shape::Reason;
    use tandem_status::{failure, resource_exhausted, unavailable};

    fn broken(code: Code) -> Status {
        let mut status = Status::new(code, "h2 protocol error");
        status.set_source(Arc::new(std::io::Error::other("the link is down")));
        status
    }

    #[test]
    fn a_broken_connection_is_the_clouds_absence_or_the_loss_of_a_session() {
        let away = CloudError::of_call(&broken(Code::Internal));
        assert_eq!(
            away.to_string(),
            "the cloud cannot be reached: the link is down"
        );
        let lost = CloudError::of_stream(&broken(Code::Unknown));
        assert_eq!(
            lost.to_string(),
            "the connection to the cloud was lost: the link is down"
        );
        for error in [away, lost] {
            assert_eq!(error.retry(), Retry::InAnotherSession);
            assert!(SessionError::from(error).cloud_may_have_changed());
        }
    }

    #[test]
    fn the_clouds_own_statuses_are_kept_whole() {
        let soon = Some(Duration::from_secs(2));
        let status = resource_exhausted(Reason::KvMemory, "there is no room", soon);
        let CloudError::Status(kept) = CloudError::of_call(&status) else {
            panic!("it is the cloud's own");
        };
        assert_eq!(kept.code, Code::ResourceExhausted);
        assert_eq!(kept.reason.as_deref(), Some("KV_MEMORY"));
        assert_eq!(kept.retry_after, soon);
        assert_eq!(kept.details, status.details());
        assert_eq!(kept.to_string(), "there is no room");
    }

    #[test]
    fn what_may_be_tried_again_is_what_the_session_was_lost_for() {
        let retry = |status: Status| CloudError::of_stream(&status).retry();
        let evicted = failure(Code::Aborted, Reason::Evicted, "another needed the room");
        assert_eq!(retry(evicted), Retry::InAnotherSession);
        let draining = unavailable(Reason::Draining, "shutting down", None);
        assert_eq!(retry(draining), Retry::InAnotherSession);
        let mismatch = failure(Code::FailedPrecondition, Reason::Model, "another model");
        assert_eq!(retry(mismatch), Retry::Never);
        let front = |error: EngineError| SessionError::from(error).retry();
        assert_eq!(front(EngineError::SessionGone), Retry::InAnotherSession);
        assert_eq!(front(EngineError::NoRun), Retry::Never);
    }

    #[test]
    fn a_cloud_that_does_not_let_us_in_is_no_matter_of_our_clients() {
        let refused = failure(Code::Unauthenticated, Reason::Token, "the token is unknown");
        let error = CloudError::of_call(&refused);
        assert!(matches!(&error, CloudError::Refused { message } if message.contains("unknown")));
    }
}
