//! A hub on the loopback, as far as a fetch talks to one: the listing, files, redirections to a store
//! on another port, and all that can go wrong on the way.

// Each file of tests uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use axum::routing::get;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tandem_hub::{Settings, Token};

/// The files of a small model in three shards, and more that no one loads.
pub const SHARDED: &[(&str, &[u8])] = &[
    ("config.json", b"{}"),
    ("generation_config.json", b"{\"eos_token_id\":2}"),
    ("tokenizer.json", b"{\"version\":\"1.0\"}"),
    ("tokenizer_config.json", b"{ }"),
    ("LICENSE.txt", b"do as you like"),
    ("USE_POLICY.md", b"but kindly"),
    ("README.md", b"read me"),
    ("pytorch_model.bin", b"pickle"),
    ("onnx/model.onnx", b"onnx"),
    ("model-q4.gguf", b"gguf"),
    ("original/LICENSE", b"another"),
    ("codec/cut-001.profile", b"profile"),
    ("codec/sensitivity.json", b"[]"),
    (
        "model.safetensors.index.json",
        br#"{"metadata":{"total_size":9},"weight_map":{
        "model.embed_tokens.weight":"model-00001-of-00003.safetensors",
        "model.layers.0.w":"model-00001-of-00003.safetensors",
        "model.layers.1.w":"model-00002-of-00003.safetensors",
        "model.layers.2.w":"model-00003-of-00003.safetensors",
        "model.norm.weight":"model-00003-of-00003.safetensors"}}"#,
    ),
    ("model-00001-of-00003.safetensors", b"first shard"),
    ("model-00002-of-00003.safetensors", b"second shard"),
    ("model-00003-of-00003.safetensors", b"third shard"),
];

/// The files of a model in one piece.
pub const SINGLE: &[(&str, &[u8])] = &[
    ("config.json", b"{}"),
    ("tokenizer.json", b"{\"version\":\"1.0\"}"),
    ("model.safetensors", b"all of the weights, in one piece"),
];

pub fn id(text: &str) -> tandem_hub::HubId {
    text.parse().unwrap()
}

/// The model at a commit.
pub fn pinned() -> tandem_hub::HubId {
    id(&format!("o/n@{COMMIT}"))
}

/// Fetches all of a model and says nothing of it.
pub fn fetch(
    settings: &Settings,
    id: &tandem_hub::HubId,
) -> Result<tandem_hub::Snapshot, tandem_hub::HubError> {
    tandem_hub::fetch_with(settings, id, tandem_hub::Wanted::All, &mut |_| {})
}

/// Waits for what another thread or process does.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::yield_now();
    }
}

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const TOKEN: &str = "the-token";

/// What the server holds, does wrong, and was asked.
#[derive(Default)]
pub struct Hub {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Who may not read without a token is told this code.
    pub gated: Option<&'static str>,
    /// Whether the listing has neither sizes nor hashes, as some mirrors' have not.
    pub bare: bool,
    /// Whether contents have tags of which nobody knows how they are made.
    pub opaque: bool,
    /// Bodies of these files end after so many bytes, once for each entry.
    pub cuts: HashMap<String, Vec<usize>>,
    /// Bodies of these files pause after so many bytes, once and for ever.
    pub stalls: HashMap<String, usize>,
    /// These files' bodies are other bytes than the hash says.
    pub damaged: HashMap<String, Vec<u8>>,
    /// Status and `Retry-After` of the next answers to whoever asks the hub itself.
    pub failures: Vec<(u16, Option<u64>)>,
    /// Another address of the store.
    pub store: Option<String>,
    /// Where files' readers are sent instead of the store.
    pub redirect: Option<String>,
    /// The listing's bytes, where they are not to be made of the files.
    pub listing: Option<String>,
    /// Whether the store ignores ranges.
    pub no_ranges: bool,
    /// A file whose readers wait, each for a permit.
    pub held: Option<(String, Arc<tokio::sync::Semaphore>)>,
    /// `METHOD path [range] [token]` of all requests, the store's with `store` before.
    pub requests: Vec<String>,
}

/// A running server; it ends with the process.
pub struct HubServer {
    pub hub: Arc<Mutex<Hub>>,
    pub endpoint: String,
    store: String,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Server {
    hub: Arc<Mutex<Hub>>,
    store: String,
}

/// What the server looks at of a request.
struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl HubServer {
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let hub = Hub {
            files: files
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
                .collect(),
            ..Hub::default()
        };
        let hub = Arc::new(Mutex::new(hub));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (endpoint, store) = runtime.block_on(async {
            let hub_listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let store_listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("http://{}", hub_listener.local_addr().unwrap());
            let store = format!("http://{}", store_listener.local_addr().unwrap());
            let state = Server {
                hub: hub.clone(),
                store: store.clone(),
            };
            let api = Router::new()
                .route(
                    "/api/models/{owner}/{name}/revision/{revision}",
                    get(listing),
                )
                .route("/{owner}/{name}/resolve/{commit}/{*file}", get(resolve))
                .with_state(state.clone());
            let content = Router::new()
                .route("/content/{*file}", get(content))
                .with_state(state);
            tokio::spawn(async move { axum::serve(hub_listener, api).await.unwrap() });
            tokio::spawn(async move { axum::serve(store_listener, content).await.unwrap() });
            (endpoint, store)
        });
        Self {
            hub,
            endpoint,
            store,
            _runtime: runtime,
        }
    }

    /// Settings for this hub, without a token and with no patience to speak of.
    pub fn settings(&self, cache: &std::path::Path) -> Settings {
        Settings {
            endpoint: self.endpoint.clone(),
            cache: cache.to_owned(),
            token: None,
            offline: None,
            lookup_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(20),
            attempts: 4,
            retry_pause: Duration::from_millis(1),
        }
    }

    pub fn change(&self, change: impl FnOnce(&mut Hub)) {
        change(&mut self.hub.lock().unwrap());
    }

    /// What was asked since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.hub.lock().unwrap().requests)
    }

    pub fn store(&self) -> &str {
        &self.store
    }
}

pub fn token() -> Option<Token> {
    Token::new(TOKEN, "a test").unwrap()
}

/// Files that the hub keeps outside Git, by their SHA-256.
fn is_lfs(file: &str) -> bool {
    file.ends_with(".safetensors") || file == "tokenizer.json"
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

fn git_blob(bytes: &[u8]) -> String {
    let whole = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    hex(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &whole).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn has_token(headers: &HeaderMap) -> bool {
    headers
        .get("authorization")
        .is_some_and(|v| v == &format!("Bearer {TOKEN}"))
}

fn plain(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(body.into())
        .unwrap()
}

fn coded(status: u16, code: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("x-error-code", code)
        .body(Body::empty())
        .unwrap()
}

impl Hub {
    fn note(&mut self, who: &str, request: &Asked) {
        let range = request.headers.get("range");
        let range = range.map_or(String::new(), |r| format!(" {}", r.to_str().unwrap()));
        let token = if request.headers.contains_key("authorization") {
            " token"
        } else {
            ""
        };
        let line = format!(
            "{who}{} {}{range}{token}",
            request.method,
            request.uri.path()
        );
        self.requests.push(line);
    }

    /// The failure that is due, or the refusal of who may not read.
    fn refusal(&mut self, headers: &HeaderMap) -> Option<Response<Body>> {
        if !self.failures.is_empty() {
            let (status, retry_after) = self.failures.remove(0);
            let mut response = plain(status, "no");
            if let Some(seconds) = retry_after {
                response.headers_mut().insert("retry-after", seconds.into());
            }
            return Some(response);
        }
        let code = self.gated.filter(|_| !has_token(headers))?;
        Some(coded(if code == "GatedRepo" { 403 } else { 401 }, code))
    }
}

async fn listing(
    State(server): State<Server>,
    Path((owner, name, revision)): Path<(String, String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let request = Asked {
        method,
        uri,
        headers,
    };
    let mut hub = server.hub.lock().unwrap();
    hub.note("", &request);
    // A gated model's listing is public; a private one's is not.
    let is_public = hub.gated == Some("GatedRepo") && hub.failures.is_empty();
    if !is_public && let Some(refusal) = hub.refusal(&request.headers) {
        return refusal;
    }
    if (&*owner, &*name) != ("o", "n") {
        return coded(404, "RepoNotFound");
    }
    if !["main", "refs/pr/1", COMMIT].contains(&&*revision) {
        return coded(404, "RevisionNotFound");
    }
    if let Some(listing) = &hub.listing {
        return plain(200, listing.clone());
    }
    let files = hub.files.iter().map(|(name, bytes)| {
        let size = bytes.len();
        let (oid, sha) = (git_blob(bytes), sha256(bytes));
        if hub.bare {
            format!(r#"{{"rfilename":"{name}"}}"#)
        } else if is_lfs(name) {
            format!(
                r#"{{"rfilename":"{name}","blobId":"{COMMIT}","size":{size},"lfs":{{"sha256":"{sha}","size":{size},"pointerSize":9}}}}"#
            )
        } else {
            format!(r#"{{"rfilename":"{name}","blobId":"{oid}","size":{size}}}"#)
        }
    });
    let files = files.collect::<Vec<_>>().join(",");
    plain(200, format!(r#"{{"sha":"{COMMIT}","siblings":[{files}]}}"#))
}

async fn resolve(
    State(server): State<Server>,
    Path((_, _, commit, file)): Path<(String, String, String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let request = Asked {
        method,
        uri,
        headers,
    };
    {
        let mut hub = server.hub.lock().unwrap();
        hub.note("", &request);
        if let Some(refusal) = hub.refusal(&request.headers) {
            return refusal;
        }
        let Some(bytes) = hub.files.get(&file).filter(|_| commit == COMMIT) else {
            return coded(404, "EntryNotFound");
        };
        if is_lfs(&file) && !hub.opaque {
            let location = match &hub.redirect {
                Some(location) => location.clone(),
                None => {
                    let store = hub.store.as_ref().unwrap_or(&server.store);
                    format!("{store}/content/{file}?signature=secret")
                }
            };
            return Response::builder()
                .status(302)
                .header("location", location)
                .header("x-repo-commit", COMMIT)
                .header("x-linked-etag", format!("\"{}\"", sha256(bytes)))
                .header("x-linked-size", bytes.len())
                .body(Body::empty())
                .unwrap();
        }
    }
    body(&server, &file, &request).await
}

async fn content(
    State(server): State<Server>,
    Path(file): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let request = Asked {
        method,
        uri,
        headers,
    };
    server.hub.lock().unwrap().note("store ", &request);
    body(&server, &file, &request).await
}

async fn body(server: &Server, file: &str, request: &Asked) -> Response<Body> {
    let held = server.hub.lock().unwrap().held.clone();
    if let Some((name, released)) = held
        && name == file
    {
        released.acquire().await.unwrap().forget();
    }
    let mut hub = server.hub.lock().unwrap();
    let tag = git_blob(&hub.files[file]);
    let bytes = hub.damaged.get(file).unwrap_or(&hub.files[file]).clone();
    let from = request
        .headers
        .get("range")
        .filter(|_| !hub.no_ranges)
        .and_then(|r| r.to_str().unwrap().strip_prefix("bytes="))
        .map(|r| r.trim_end_matches('-').parse::<usize>().unwrap());
    let mut response = Response::builder().header("etag", format!("\"{tag}\""));
    if let Some(from) = from {
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header("content-range", range);
    }
    let rest = Bytes::from(bytes).slice(from.unwrap_or(0)..);
    response = response.header("content-length", rest.len());
    if request.method == Method::HEAD {
        return response.body(Body::empty()).unwrap();
    }
    if let Some(bytes) = hub.stalls.remove(file) {
        let part = futures_util::stream::iter([Ok::<_, std::io::Error>(rest.slice(..bytes))]);
        let stream = futures_util::StreamExt::chain(part, futures_util::stream::pending());
        return response.body(Body::from_stream(stream)).unwrap();
    }
    let cut = hub.cuts.get_mut(file).filter(|cuts| !cuts.is_empty());
    let Some(cut) = cut.map(|cuts| cuts.remove(0)) else {
        return response.body(Body::from(rest)).unwrap();
    };
    // The error makes the server drop the connection; what came before it is sent while it waits.
    let part = futures_util::stream::iter([Ok(rest.slice(..cut.min(rest.len())))]);
    let end = futures_util::stream::once(async {
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    });
    response
        .body(Body::from_stream(futures_util::StreamExt::chain(part, end)))
        .unwrap()
}
