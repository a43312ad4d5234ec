//! Whose pages may call the API from a browser. Without their origin in the list, browsers keep answers from
//! pages, and ask for leave before they send JSON, which is not given.

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Method, Uri};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser need not ask for leave again.
const LEAVE_LASTS: Duration = Duration::from_secs(600);

/// What pages of these origins are told; `None` of no origins.
///
/// # Errors
/// What is wrong with an entry.
pub(crate) fn cors(origins: &[String]) -> Result<Option<CorsLayer>, String> {
    if origins.is_empty() {
        return Ok(None);
    }
    let origin = match origins {
        [any] if any == "*" => AllowOrigin::any(),
        several => {
            let parsed: Result<Vec<_>, _> = several.iter().map(|origin| header(origin)).collect();
            AllowOrigin::list(parsed?)
        }
    };
    let headers = [
        AUTHORIZATION,
        CONTENT_TYPE,
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("tracestate"),
    ];
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(headers)
        .expose_headers([RETRY_AFTER])
        .max_age(LEAVE_LASTS);
    Ok(Some(layer))
}

fn header(origin: &str) -> Result<HeaderValue, String> {
    let is_origin = || {
        let uri: Uri = origin.parse().ok()?;
        let whole = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
        (whole == origin).then_some(())
    };
    match (is_origin(), origin.parse()) {
        (Some(()), Ok(value)) => Ok(value),
        _ => Err(format!(
            "has `{origin}`, must have origins such as https://chat.example.org, or * alone"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN};
    use axum::http::{Request, Response};
    use axum::routing::post;
    use tower::ServiceExt as _;

    async fn asked(method: Method, origin: &str) -> Response<Body> {
        let layer = cors(&["https://chat.example.org".to_owned()]).unwrap();
        let answered = Router::new().route("/", post(|| async { "answered" }));
        let request = Request::builder()
            .method(method)
            .uri("/")
            .header(ORIGIN, origin)
            .header("access-control-request-method", "POST");
        let request = request.body(Body::empty()).unwrap();
        answered
            .layer(layer.unwrap())
            .oneshot(request)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn only_pages_of_the_list_have_leave() {
        for method in [Method::OPTIONS, Method::POST] {
            let ours = asked(method.clone(), "https://chat.example.org").await;
            let allowed = ours.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap();
            assert_eq!(
                (ours.status().as_u16(), allowed.as_bytes()),
                (200, &b"https://chat.example.org"[..])
            );
            let theirs = asked(method, "https://pages.example").await;
            assert_eq!(theirs.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN), None);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        assert!(cors(&[]).unwrap().is_none());
        assert!(cors(&["*".to_owned()]).unwrap().is_some());
        for bad in ["", "chat.example.org", "https://a/", "https://a/b", "a b"] {
            assert!(cors(&[bad.to_owned()]).is_err(), "{bad}");
        }
        let mixed = ["https://a".to_owned(), "*".to_owned()];
        assert!(cors(&mixed).is_err());
    }
}
