//! The OpenAI-compatible API: what [`crate::service`] is over gRPC, for clients that speak HTTP and
//! JSON. docs/openai.md has what is served and what is refused.
//!
//! `hosts` and `origins` say who may call, and `body` takes what they send. `request` reads it field by field, `message` its conversation; the answer is made by the
//! same [`AnswerService`]; `respond` sends it as `reply` and `logprobs` write it; `error` is the one mapping
//! from statuses. Tokens are checked in front of it all, as on the data port.

mod body;
mod error;
mod fields;
pub(crate) mod hosts;
mod logprobs;
mod message;
pub(crate) mod origins;
mod reply;
pub mod request;
mod respond;

use crate::answer_service::{AnswerService, Call, ClientRequest};
use crate::config::OpenAiConfig;
use crate::error::RequestError;
use crate::opening::Opening;
use axum::Extension;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use body::JsonBody;
use error::Failure;
use hosts::Hosts;
use logprobs::Logprobs;
use reply::{Origin, Writer};
use request::{Endpoint, Prompt, ReplyOptions, read};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tandem_transport::auth::{Authenticate, EndWithToken, Peer};
use tandem_transport::data_port::DataPort;
use tandem_transport::grpc::{self, TransportConfig};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor as _;
use tower::ServiceExt as _;

/// Hexadecimal digits of the weights' fingerprint that answers name.
const FINGERPRINT_BYTES: usize = 8;

/// Serves the API on a listener, HTTP/1.1 and HTTP/2, with the data port's TLS and tokens, until
/// `closing`. Before there is something to serve, requests are refused.
///
/// # Errors
/// The transport failed.
pub async fn serve(
    opening: Opening,
    config: &OpenAiConfig,
    transport: &TransportConfig,
    port: &DataPort,
    listener: TcpListener,
    closing: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let gate = Gate {
        opening,
        max_body: transport.max_message.as_usize(),
        timeout: config.timeout.get(),
        router: OnceLock::new(),
    };
    let router = Router::new()
        .fallback(when_open)
        .with_state(Arc::new(gate))
        .layer(EndWithToken)
        .layer(from_fn_with_state(port.check(), authenticate));
    // Refused while the configuration was read, had one been no name or origin. Browsers ask for leave
    // without a token.
    let router = match origins::cors(&config.origins).unwrap_or_default() {
        Some(cors) => router.layer(cors),
        None => router,
    };
    let hosts = Hosts::new(&config.hosts).unwrap_or_default();
    let router = router.layer(from_fn_with_state(hosts, check_host));
    grpc::server_builder(transport)
        .accept_http1(true)
        .serve_with_incoming_shutdown(router, port.incoming(listener), closing)
        .await
}

/// The API behind an [`Opening`].
#[derive(Debug)]
struct Gate {
    opening: Opening,
    max_body: usize,
    timeout: Duration,
    /// Made by the first request that finds it open.
    router: OnceLock<Router>,
}

async fn when_open(
    State(gate): State<Arc<Gate>>,
    request: axum::extract::Request,
) -> Result<Response, Failure> {
    let service = gate.opening.service()?;
    let router = gate
        .router
        .get_or_init(|| router(service.clone(), gate.max_body, gate.timeout));
    match router.clone().oneshot(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

/// Refuses what is sent to a name that is not this server's.
async fn check_host(
    State(hosts): State<Hosts>,
    request: axum::extract::Request,
    next: Next,
) -> Result<Response, Failure> {
    if hosts.allow(&request) {
        return Ok(next.run(request).await);
    }
    Err(Failure::http(
        StatusCode::FORBIDDEN,
        "host_not_allowed",
        "this server is not called by the request's Host: its name must be in the edge's openai.hosts",
    ))
}

/// The data port's check, answered as this API's clients know it.
async fn authenticate(
    State(mut check): State<Authenticate>,
    request: axum::extract::Request,
    next: Next,
) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let metadata = MetadataMap::from_headers(std::mem::take(&mut parts.headers));
    let extensions = std::mem::take(&mut parts.extensions);
    let checked = check.call(tonic::Request::from_parts(metadata, extensions, ()))?;
    let (metadata, extensions, ()) = checked.into_parts();
    parts.headers = metadata.into_headers();
    parts.extensions = extensions;
    let request = axum::extract::Request::from_parts(parts, body);
    Ok(next.run(request).await)
}

/// The API of an [`AnswerService`]. Bodies have at most `max_body` bytes, and answers take `timeout`.
fn router(service: AnswerService, max_body: usize, timeout: Duration) -> Router {
    let description = service.edge.model();
    let weights = match &*description.weights_fingerprint {
        [] => &description.files_fingerprint,
        _ => &description.weights_fingerprint,
    };
    let prefix = weights.iter().take(FINGERPRINT_BYTES);
    let digits: String = prefix.map(|byte| format!("{byte:02x}")).collect();
    let api = Api {
        origin: Origin {
            model: description.name,
            fingerprint: format!("fp_{digits}"),
        },
        created: unix_seconds(),
        timeout,
        service,
    };
    let only_post = || async { Failure::method("POST") };
    let only_get = || async { Failure::method("GET, HEAD") };
    Router::new()
        .route("/v1/chat/completions", post(chat).fallback(only_post))
        .route("/v1/completions", post(completion).fallback(only_post))
        .route("/v1/models", get(models).fallback(only_get))
        // A name may have slashes.
        .route("/v1/models/{*name}", get(model).fallback(only_get))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(max_body))
        .with_state(Arc::new(api))
}

/// What all requests share.
#[derive(Debug)]
struct Api {
    service: AnswerService,
    origin: Origin,
    /// When it began to serve, in seconds since 1970.
    created: u64,
    /// How long an answer may take.
    timeout: Duration,
}

async fn chat(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    api.answer(Endpoint::Chat, peer, &headers, &body).await
}

async fn completion(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    api.answer(Endpoint::Completion, peer, &headers, &body)
        .await
}

async fn models(State(api): State<Arc<Api>>) -> Response {
    json_response(&json!({"object": "list", "data": [api.model()]}))
}

async fn model(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Response, Failure> {
    api.check_model(&name)?;
    Ok(json_response(&api.model()))
}

async fn nothing_here(uri: Uri) -> Failure {
    let message = format!("nothing is served at {}", uri.path());
    Failure::http(StatusCode::NOT_FOUND, "not_found", message)
}

impl Api {
    async fn answer(
        &self,
        endpoint: Endpoint,
        peer: Peer,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, Failure> {
        let mut options = ReplyOptions::default();
        let name = match endpoint {
            Endpoint::Chat => "chat",
            Endpoint::Completion => "completions",
        };
        let edge = Arc::clone(&self.service.edge);
        let ends = Instant::now().checked_add(self.timeout);
        let reading = async {
            let request = read(endpoint, body)?;
            self.check_model(&request.model)?;
            options = request.options;
            Ok(ClientRequest {
                peer,
                prompt: match request.prompt {
                    Prompt::Messages(messages) => edge.chat_ids(messages).await?,
                    Prompt::Text(text) => edge.text_ids(text).await?,
                    Prompt::Ids(ids) => ids,
                },
                terms: request.terms,
                deadline: None,
                ends,
            })
        };
        let events = self.service.begin(Call { name, headers }, reading).await?;
        let logprobs = Logprobs::new(move |id| {
            // An id that is no text is no reason to end an answer.
            edge.answers
                .tokenizer
                .decode(&[id], false)
                .unwrap_or_default()
        });
        let writer = Writer::new(endpoint, options, &self.origin, logprobs);
        if options.stream {
            respond::pieces(events, writer).await
        } else {
            respond::whole(events, writer).await
        }
    }

    fn check_model(&self, name: &str) -> Result<(), RequestError> {
        let served = &self.origin.model;
        if name == served {
            return Ok(());
        }
        Err(RequestError::Model {
            asked: name.to_owned(),
            served: served.clone(),
        })
    }

    fn model(&self) -> Value {
        json!({
            "id": self.origin.model,
            "object": "model",
            "created": self.created,
            "owned_by": "tandem",
        })
    }
}

fn json_response(value: &Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], value.to_string()).into_response()
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
