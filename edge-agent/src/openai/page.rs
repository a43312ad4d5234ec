//! The page that people see at the API's address: a chat, and how the edge and its cloud share the work. Its files lie in the
//! binary; what it shows comes from the API's calls and from two of its own.

use super::error::Failure;
use super::{Api, json_response};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, LazyLock};
use tandem_proto::v1;

/// Where its files are, all but the first.
const FILES_AT: &str = "/page/";

/// Their names and contents.
const FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Neither the page nor what a model writes into it leads a browser anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether a path is one of the page's, which asks for no token: it is the same for everybody.
pub(super) fn has(path: &str) -> bool {
    path == "/" || path.starts_with(FILES_AT)
}

/// The files, before there is anything to serve and afterwards.
pub(super) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(
            "/",
            get(async |asked: HeaderMap| file("index.html", &asked)),
        )
        .route(
            "/page/{name}",
            get(async |Path(name): Path<String>, asked: HeaderMap| file(&name, &asked)),
        )
}

/// What the page shows besides answers.
pub(super) fn calls() -> Router<Arc<Api>> {
    Router::new()
        .route("/tandem/model", get(model))
        .route("/tandem/plan", get(plan))
}

/// What the files are called as a whole: of another release they may be others.
static TAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    FILES.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
});

fn file(name: &str, asked: &HeaderMap) -> Response {
    let Some((_, content)) = FILES.iter().find(|(known, _)| *known == name) else {
        let message = format!("the page has no file {name}");
        return Failure::http(StatusCode::NOT_FOUND, "not_found", message).into_response();
    };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let headers: [(HeaderName, HeaderValue); 6] = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (ETAG, TAG.clone()),
    ];
    if asked.get(IF_NONE_MATCH) == Some(&*TAG) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, *content).into_response()
}

/// `GET /tandem/model`: the model, and how it is split.
async fn model(State(api): State<Arc<Api>>) -> Response {
    let described = api.service.edge.describe().await;
    let model = described.model.unwrap_or_default();
    let sampling = described.default_sampling.unwrap_or_default();
    json_response(&json!({
        "name": model.name,
        "layers": model.layers,
        "hidden": model.hidden_size,
        "split": described.split,
        "codec": described.codec,
        "context": described.context,
        "cloud_reachable": described.cloud_reachable,
        "edge": described.edge.map(|held| layers(&held)),
        "cloud": described.cloud.map(|held| layers(&held)),
        "default_sampling": {
            "temperature": sampling.temperature.map(in_decimals),
            "top_k": sampling.top_k,
            "top_p": sampling.top_p.map(in_decimals),
            "min_p": sampling.min_p.map(in_decimals),
            "repetition_penalty": in_decimals(sampling.repetition_penalty.unwrap_or(1.0)),
        },
    }))
}

/// As people have written it, without the digits of a wider type.
fn in_decimals(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_default()
}

fn layers(held: &v1::HeldLayers) -> Value {
    json!({
        "first_layer": held.first,
        "end_layer": held.end,
        "weights": held.weights,
        "kv": held.kv,
        "weight_bytes": held.weight_bytes,
    })
}

/// `GET /tandem/plan`: the plan that the edge has made, as `plan --json` has it.
async fn plan(State(api): State<Arc<Api>>) -> Result<Response, Failure> {
    match &api.service.edge.plan {
        Some(plan) => Ok(json_response(plan)),
        None => Err(Failure::http(
            StatusCode::NOT_FOUND,
            "no_plan",
            "the split was given by hand: edge-agent plan says what others would cost",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_small_and_comes_with_its_policy() {
        let bytes: usize = FILES.iter().map(|(_, content)| content.len()).sum();
        assert!(bytes < 300_000, "{bytes} bytes");
        for (name, content) in FILES {
            let response = file(name, &HeaderMap::new());
            let headers = response.headers();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(headers[CONTENT_SECURITY_POLICY], POLICY);
            assert_ne!(headers[CONTENT_TYPE], "application/octet-stream", "{name}");
            // What a browser would fetch, were it not for the policy.
            let text = std::str::from_utf8(content).unwrap();
            for elsewhere in [
                "src=\"http",
                "href=\"http",
                "@import",
                "url(http",
                "import(\"http",
            ] {
                assert!(!text.contains(elsewhere), "{name}: {elsewhere}");
            }
        }
        let nothing = file("nothing.js", &HeaderMap::new());
        assert_eq!(nothing.status(), StatusCode::NOT_FOUND);
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, TAG.clone())]);
        assert_eq!(
            file("index.html", &known).status(),
            StatusCode::NOT_MODIFIED
        );
        assert!(has("/") && has("/page/main.js") && !has("/v1/models") && !has("/tandem/plan"));
    }
}
