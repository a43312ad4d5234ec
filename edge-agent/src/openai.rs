//! The OpenAI-compatible API: what [`crate::service`] is over gRPC, for clients that speak HTTP and
//! JSON. docs/openai.md has what is served and what is refused.
//!
//! `hosts` and `origins` say who may call, and `body` takes what they send. `request` reads it field by field, `message` its
//! conversation; the answers are made by the same [`AnswerService`]; `respond` sends them as `reply` and `logprobs` write
//! them; `error` is the one mapping from statuses. `responses` is the newer call for answers, `tokenize` is for text and
//! ids alone, and `page` is what people see. Tokens are checked in front of it all, as on the data port.

mod body;
mod error;
pub mod fields;
pub(crate) mod hosts;
mod logprobs;
mod message;
pub(crate) mod origins;
mod page;
mod reply;
pub mod request;
mod respond;
pub mod responses;
mod tokenize;

use crate::answer_service::{AnswerService, Call};
use crate::config::OpenAiConfig;
use crate::error::{AnswerError, RequestError};
use crate::forms::Thought;
use crate::opening::Opening;
use crate::parts::Splitter;
use crate::several::{self, Several};
use axum::Extension;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use body::JsonBody;
use error::Failure;
use fields::{Fields, UnknownFields};
use hosts::Hosts;
use logprobs::Logprobs;
use reply::{Choice, Origin, Writer};
use request::{Endpoint, Prompt, ReplyOptions, Request, read};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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

/// Which fields of a request were passed over.
const PASSED_OVER: HeaderName = HeaderName::from_static("x-tandem-passed-over");

/// Fields that the log names, at most.
const MOST_TOLD: usize = 256;

/// Where probes of other servers' clients ask, without a token.
const HEALTH: &str = "/health";

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
        config: config.clone(),
        router: OnceLock::new(),
    };
    let files = if config.page {
        page::files()
    } else {
        Router::new()
    };
    let router = files
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
    config: OpenAiConfig,
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
        .get_or_init(|| router(service.clone(), gate.max_body, &gate.config));
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
    let path = request.uri().path();
    if path == HEALTH || page::has(path) {
        return Ok(next.run(request).await);
    }
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

/// The API of an [`AnswerService`]. Bodies have at most `max_body` bytes.
fn router(service: AnswerService, max_body: usize, config: &OpenAiConfig) -> Router {
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
        timeout: config.timeout.get(),
        aliases: config.aliases.iter().cloned().collect(),
        any_model: config.any_model,
        unknown_fields: config.unknown_fields,
        told: Mutex::default(),
        service,
    };
    let only_post = || async { Failure::method("POST") };
    let only_get = || async { Failure::method("GET, HEAD") };
    Router::new()
        .route("/v1/chat/completions", post(chat).fallback(only_post))
        .route("/v1/completions", post(completion).fallback(only_post))
        .route("/v1/responses", post(respond_to).fallback(only_post))
        .route("/v1/models", get(models).fallback(only_get))
        // A name may have slashes.
        .route("/v1/models/{*name}", get(model).fallback(only_get))
        .route("/tokenize", post(tokenize::tokenize).fallback(only_post))
        .route(
            "/detokenize",
            post(tokenize::detokenize).fallback(only_post),
        )
        .route(HEALTH, get(|| async {}).fallback(only_get))
        .merge(if config.page {
            page::calls()
        } else {
            Router::new()
        })
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
    /// Other names of the model.
    aliases: BTreeSet<String>,
    any_model: bool,
    unknown_fields: UnknownFields,
    /// Fields that were passed over, and of which the log has a line.
    told: Mutex<BTreeSet<String>>,
}

/// What a request asks for.
#[derive(Debug)]
struct Asked {
    /// One for each answer.
    choices: Vec<Choice>,
    /// To each prompt.
    answers: usize,
    options: ReplyOptions,
    passed_over: Vec<String>,
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

/// `POST /v1/responses`
async fn respond_to(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    let reading = async {
        let request = responses::read(&body, api.unknown_fields)?;
        api.check_model(&request.model)?;
        let prompted = api.service.edge.prompt_of(request.conversation).await?;
        let marks = api.service.edge.marks;
        let thought = marks.thought(prompted.thinks);
        let mut terms = request.terms;
        terms.constraint = marks.constraint(&request.form, &request.functions, thought);
        let mut parts = marks.splitter(thought, &request.functions);
        if request.options.stream {
            parts = parts.in_pieces();
        }
        let writer = responses::Writer::new(&api.origin, request.repeated, parts);
        let several = Several {
            ends: Instant::now().checked_add(api.timeout),
            ..Several::new(peer, vec![prompted.ids], 1, terms)
        };
        Ok((several, (writer, request.options, request.passed_over)))
    };
    let call = Call {
        name: "responses",
        headers: &headers,
    };
    let (events, read) = several::begin(&api.service, call, reading).await?;
    let (writer, options, passed_over) = read;
    let mut response = if options.stream {
        respond::pieces(events, writer).await?
    } else {
        respond::whole(events, writer).await?
    };
    api.tell(&passed_over, response.headers_mut());
    Ok(response)
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
        let name = match endpoint {
            Endpoint::Chat => "chat",
            Endpoint::Completion => "completions",
        };
        let reading = async {
            let request = read(endpoint, body, self.unknown_fields)?;
            self.check_model(&request.model)?;
            self.ask(request, peer).await
        };
        let call = Call { name, headers };
        let (events, asked) = several::begin(&self.service, call, reading).await?;
        let Asked {
            choices,
            answers,
            options,
            passed_over,
        } = asked;
        let writer = Writer::new(endpoint, options, &self.origin, choices, answers);
        let mut response = if options.stream {
            respond::pieces(events, writer).await?
        } else {
            respond::whole(events, writer).await?
        };
        self.tell(&passed_over, response.headers_mut());
        Ok(response)
    }

    /// The answers that a request asks for.
    async fn ask(&self, request: Request, peer: Peer) -> Result<(Several, Asked), AnswerError> {
        let edge = &self.service.edge;
        let (mut prompts, mut choices) = (Vec::new(), Vec::new());
        let mut thought = Thought::None;
        for prompt in request.prompts {
            let mut parts = Splitter::new();
            let mut echo = Arc::from("");
            let ids = match prompt {
                Prompt::Conversation(conversation) => {
                    let prompted = edge.prompt_of(conversation).await?;
                    thought = edge.marks.thought(prompted.thinks);
                    parts = edge.marks.splitter(thought, &request.functions);
                    if request.options.stream {
                        parts = parts.in_pieces();
                    }
                    prompted.ids
                }
                Prompt::Text(text) => {
                    if request.options.echo {
                        echo = Arc::from(&*text);
                    }
                    edge.text_ids(text).await?
                }
                Prompt::Ids(ids) => {
                    edge.check_ids(&ids)?;
                    if request.options.echo {
                        echo = Arc::from(edge.text_of(ids.clone(), false).await?);
                    }
                    ids
                }
            };
            let choice = || Choice::new(self.logprobs(), parts.clone(), Arc::clone(&echo));
            choices.extend(std::iter::repeat_with(choice).take(request.answers));
            prompts.push(ids);
        }
        let mut terms = request.terms;
        let marks = edge.marks;
        terms.constraint = marks.constraint(&request.form, &request.functions, thought);
        let several = Several {
            ends: Instant::now().checked_add(self.timeout),
            ..Several::new(peer, prompts, request.answers, terms)
        };
        let asked = Asked {
            choices,
            answers: request.answers,
            options: request.options,
            passed_over: request.passed_over,
        };
        Ok((several, asked))
    }

    fn logprobs(&self) -> Logprobs {
        let edge = Arc::clone(&self.service.edge);
        Logprobs::new(move |id| {
            // An id that is no text is no reason to end an answer.
            let tokenizer = &edge.answers.tokenizer;
            tokenizer.decode(&[id], false).unwrap_or_default()
        })
    }

    /// Says which fields of a request were passed over: in its response, and once in the log.
    fn tell(&self, passed_over: &[String], headers: &mut HeaderMap) {
        if passed_over.is_empty() {
            return;
        }
        // What is no name of a field anywhere is shown in the log alone, in quotes.
        let is_plain = |path: &&String| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-.[]".contains(c);
            path.len() <= 128 && path.chars().all(plain)
        };
        let plain: Vec<&str> = passed_over
            .iter()
            .filter(is_plain)
            .map(String::as_str)
            .collect();
        if let Ok(value) = HeaderValue::from_str(&plain.join(", ")) {
            headers.insert(PASSED_OVER, value);
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_TOLD.saturating_sub(told.len());
        let new: Vec<String> = passed_over
            .iter()
            .map(|path| path.chars().take(128).collect())
            .filter(|path| !told.contains(path))
            .take(room)
            .collect();
        if !new.is_empty() {
            tracing::info!(fields = ?new, "requests have fields that are passed over");
            told.extend(new);
        }
    }

    /// A response of JSON to a request of which some fields were passed over.
    fn reply(&self, value: &Value, passed_over: &[String]) -> Response {
        let mut response = json_response(value);
        self.tell(passed_over, response.headers_mut());
        response
    }

    /// Checks the model's name where a request has one.
    fn check_named_model(&self, fields: &mut Fields) -> Result<(), RequestError> {
        let named: Option<String> = fields.take("model")?;
        named.map_or(Ok(()), |name| self.check_model(&name))
    }

    fn check_model(&self, name: &str) -> Result<(), RequestError> {
        let served = &self.origin.model;
        if name == served || self.any_model || self.aliases.contains(name) {
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
