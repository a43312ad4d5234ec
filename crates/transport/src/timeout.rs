//! A caller's deadline, from `grpc-timeout`.
//!
//! tonic ends a request at it only until the response headers are out; a streaming answer is the
//! server's to end, so it has to know. The format is gRPC's over HTTP/2
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>): one to eight ASCII digits and
//! one of the units `H M S m u n`.

use std::time::Duration;
use tandem_shape::Reason;

use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::MetadataMap;

use tandem_status::bad_request;

/// A `grpc-timeout` that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout must be one to eight digits and a unit of H, M, S, m, u, n")]
pub struct TimeoutError;

/// How long the caller waits for the whole answer, counted from the request's arrival; `None` if it
/// does not say. Zero, which the format forbids, is taken as a deadline that has passed.
///
/// # Errors
/// The header is malformed or there several times.
pub fn timeout(metadata: &MetadataMap) -> Result<Option<Duration>, TimeoutError> {
    let mut values = metadata.get_all("grpc-timeout").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value.as_encoded_bytes()).map(Some),
        (Some(_), Some(_)) => Err(TimeoutError),
    }
}

/// The moment at which the caller stops waiting, for a request that has just arrived; `None` if it
/// does not say, or one so far off that the clock cannot express it.
///
/// # Errors
/// The header is malformed or there several times.
pub fn deadline(metadata: &MetadataMap) -> Result<Option<Instant>, TimeoutError> {
    Ok(timeout(metadata)?.and_then(|timeout| Instant::now().checked_add(timeout)))
}

impl From<TimeoutError> for Status {
    fn from(error: TimeoutError) -> Self {
        bad_request(Reason::Timeout, [("grpc-timeout", error.to_string())])
    }
}

fn parse(value: &[u8]) -> Result<Duration, TimeoutError> {
    let (unit, digits) = value.split_last().ok_or(TimeoutError)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(TimeoutError);
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Ok(Duration::from_secs(number * 3_600)),
        b'M' => Ok(Duration::from_secs(number * 60)),
        b'S' => Ok(Duration::from_secs(number)),
        b'm' => Ok(Duration::from_millis(number)),
        b'u' => Ok(Duration::from_micros(number)),
        b'n' => Ok(Duration::from_nanos(number)),
        _ => Err(TimeoutError),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::mpsc;
    use tokio_util::task::AbortOnDropHandle;
    use tonic::metadata::MetadataValue;
    use tonic::transport::{Endpoint, Server};
    use tonic::{Code, Request, Response};
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::health_server::{Health, HealthServer};
    use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

    use super::*;
    use crate::grpc::incoming;

    fn of(value: &str) -> Result<Option<Duration>, TimeoutError> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", value.parse().unwrap());
        timeout(&metadata)
    }

    #[test]
    fn every_unit_is_read() {
        for (text, expected) in [
            ("2H", Duration::from_secs(7_200)),
            ("3M", Duration::from_secs(180)),
            ("42S", Duration::from_secs(42)),
            ("500m", Duration::from_millis(500)),
            ("13u", Duration::from_micros(13)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("99999999H", Duration::from_secs(99_999_999 * 3_600)),
            ("0S", Duration::ZERO),
        ] {
            assert_eq!(of(text), Ok(Some(expected)), "{text}");
        }
        assert_eq!(timeout(&MetadataMap::new()), Ok(None));
    }

    #[test]
    fn hostile_values_are_refused() {
        for text in [
            "",
            "S",
            "5",
            "123456789S",
            "-1S",
            "+1S",
            "1.5S",
            "1 S",
            "1s",
            "1SS",
            "0x1S",
        ] {
            assert_eq!(of(text), Err(TimeoutError), "{text}");
        }
        let mut twice = MetadataMap::new();
        twice.append("grpc-timeout", MetadataValue::from_static("1S"));
        twice.append("grpc-timeout", MetadataValue::from_static("2S"));
        assert_eq!(timeout(&twice), Err(TimeoutError));
        assert_eq!(Status::from(TimeoutError).code(), Code::InvalidArgument);
    }

    #[test]
    fn what_tonics_client_sends_is_read() {
        let mut request = Request::new(());
        request.set_timeout(Duration::from_millis(1_500));
        let sent = timeout(request.metadata()).unwrap().unwrap();
        assert_eq!(sent, Duration::from_millis(1_500));
        let left = deadline(request.metadata()).unwrap().unwrap() - Instant::now();
        assert!(left <= sent && left > Duration::ZERO);
    }

    /// A health service that says what deadline it sees.
    struct Seen(mpsc::Sender<Result<Option<Duration>, TimeoutError>>);

    #[tonic::async_trait]
    impl Health for Seen {
        async fn check(
            &self,
            request: Request<HealthCheckRequest>,
        ) -> Result<Response<HealthCheckResponse>, Status> {
            self.0.send(timeout(request.metadata())).await.unwrap();
            Ok(Response::new(HealthCheckResponse::default()))
        }

        type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

        async fn watch(
            &self,
            _: Request<HealthCheckRequest>,
        ) -> Result<Response<Self::WatchStream>, Status> {
            Err(Status::unimplemented(""))
        }
    }

    #[tokio::test]
    async fn a_service_sees_the_deadline_of_its_caller() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (seen, mut seen_by_service) = mpsc::channel(1);
        let router = Server::builder().add_service(HealthServer::new(Seen(seen)));
        let _server =
            AbortOnDropHandle::new(tokio::spawn(router.serve_with_incoming(incoming(listener))));
        let channel = Endpoint::from_shared(endpoint)
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut client = HealthClient::new(channel);
        for given in [None, Some(Duration::from_secs(90))] {
            let mut request = Request::new(HealthCheckRequest::default());
            if let Some(given) = given {
                request.set_timeout(given);
            }
            client.check(request).await.unwrap();
            assert_eq!(seen_by_service.recv().await, Some(Ok(given)));
        }
    }

    #[test]
    fn the_longest_deadline_is_a_moment_or_none() {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", MetadataValue::from_static("99999999H"));
        assert!(deadline(&metadata).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = parse(&bytes);
        }
    }
}
