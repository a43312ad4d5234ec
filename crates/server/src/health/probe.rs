//! The question whether a server serves, as a script or an image's health check asks it.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use tandem_config::address::{EndpointError, plain_uri};
use tandem_status::{NOT_GRPC, cause, speaks_grpc};
use tandem_transport::tls::PlainConnector;

/// A server is not healthy, or does not say so.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] EndpointError),
    /// No connection.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Whom we asked.
        address: String,
        /// Why not.
        reason: String,
    },
    /// No answer in time.
    #[error("{address} did not answer within {timeout:?}")]
    Timeout {
        /// Whom we asked.
        address: String,
        /// How long we waited.
        timeout: Duration,
    },
    /// The server has no service of this name.
    #[error("{address} has no service `{service}`")]
    UnknownService {
        /// Whom we asked.
        address: String,
        /// What we asked for.
        service: String,
    },
    /// The service says that it does not serve.
    #[error("{address} says {status} for `{service}`")]
    NotServing {
        /// Whom we asked.
        address: String,
        /// What we asked for.
        service: String,
        /// The answer: `NOT_SERVING`, `UNKNOWN`.
        status: &'static str,
    },
    /// The server answered with an error.
    #[error("{address} answered {code:?}: {message}")]
    Refused {
        /// Whom we asked.
        address: String,
        /// The status code.
        code: Code,
        /// The status message.
        message: String,
    },
}

/// Asks the server at `address` (`host:port` or `http://host:port`) whether `service` serves; the
/// empty name asks for the whole server. Connecting and asking together take at most `timeout`.
///
/// # Errors
/// The answer is not SERVING, or there is none.
pub async fn check(address: &str, service: &str, timeout: Duration) -> Result<(), HealthError> {
    let endpoint = Endpoint::from(plain_uri(address)?);
    let asked = async {
        let channel = endpoint
            .connect_with_connector(PlainConnector::new())
            .await
            .map_err(|error| HealthError::Unreachable {
                address: address.to_owned(),
                reason: innermost(&error),
            })?;
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        HealthClient::new(channel)
            .check(request)
            .await
            .map_err(|status| match status.code() {
                Code::NotFound => HealthError::UnknownService {
                    address: address.to_owned(),
                    service: service.to_owned(),
                },
                code => match unreachable(&status) {
                    Some(reason) => HealthError::Unreachable {
                        address: address.to_owned(),
                        reason,
                    },
                    None => HealthError::Refused {
                        address: address.to_owned(),
                        code,
                        message: status.message().to_owned(),
                    },
                },
            })
    };
    let answer =
        tokio::time::timeout(timeout, asked)
            .await
            .map_err(|_| HealthError::Timeout {
                address: address.to_owned(),
                timeout,
            })??;
    match answer.get_ref().status() {
        ServingStatus::Serving => Ok(()),
        status => Err(HealthError::NotServing {
            address: address.to_owned(),
            service: service.to_owned(),
            status: status.as_str_name(),
        }),
    }
}

/// Why a status says that nobody there answers for health.
fn unreachable(status: &Status) -> Option<String> {
    if speaks_grpc(status.metadata()) {
        cause(status)
    } else {
        Some(NOT_GRPC.to_owned())
    }
}

/// Whether the server on a connection knows of a service, by its health: it tells servers and ports apart
/// that all speak gRPC.
pub async fn knows(channel: Channel, service: &str) -> bool {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    HealthClient::new(channel).check(request).await.is_ok()
}

/// The cause at the bottom of an error; transport errors say only "transport error" on top.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unreachable_or_silent_server_is_not_healthy() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = listener.local_addr().unwrap().to_string();
        let short = Duration::from_millis(50);
        let error = check(&silent, "", short).await.unwrap_err();
        assert!(matches!(error, HealthError::Timeout { .. }), "{error}");

        drop(listener);
        let error = check(&silent, "", Duration::from_secs(10))
            .await
            .unwrap_err();
        assert!(matches!(error, HealthError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");

        let error = check("https://localhost:1", "", short).await.unwrap_err();
        assert!(matches!(error, HealthError::Address(_)), "{error}");
    }
}
