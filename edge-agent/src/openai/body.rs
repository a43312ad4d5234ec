//! The body of a request: JSON, of so many bytes, within so much time.

use super::error::Failure;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use std::time::Duration;

/// How long a body may take from its head to its end.
const WITHIN: Duration = Duration::from_secs(60);

/// A body that is said to be JSON.
#[derive(Debug)]
pub(super) struct JsonBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        if !request.headers().get(CONTENT_TYPE).is_some_and(is_json) {
            return Err(Failure::http(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be JSON, with the header Content-Type: application/json",
            ));
        }
        let reading = tokio::time::timeout(WITHIN, Bytes::from_request(request, state));
        match reading.await {
            Ok(Ok(body)) => Ok(Self(body)),
            Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Failure::http(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "body_too_large",
                    "the body is larger than the edge's transport.max_message",
                ))
            }
            Ok(Err(rejection)) => {
                let why = rejection.body_text();
                Err(Failure::http(rejection.status(), "body", why))
            }
            Err(_) => Err(Failure::http(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                format!("the body did not come within {} s", WITHIN.as_secs()),
            )),
        }
    }
}

fn is_json(value: &HeaderValue) -> bool {
    let kind = value.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::response::IntoResponse as _;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let slow = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        let request = Request::post("/v1/completions").header(CONTENT_TYPE, "application/json");
        let request = request.body(Body::from_stream(slow)).unwrap();
        let refused = JsonBody::from_request(request, &()).await.unwrap_err();
        assert_eq!(
            refused.into_response().status(),
            StatusCode::REQUEST_TIMEOUT
        );
    }
}
