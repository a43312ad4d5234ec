//! The page of an edge's metrics.

use super::reading::Reading;
use std::io;
use std::time::Duration;
use tandem_config::address::{EndpointError, plain_uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long to wait for it.
const WITHIN: Duration = Duration::from_secs(2);

/// The longest page that is read.
const LONGEST: u64 = 4 << 20;

/// A metric that every edge has.
const EDGE: &str = "tandem_edge_build_info";

/// One that every cloud has.
const CLOUD: &str = "tandem_cloud_build_info";

/// Metrics cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    /// No connection, or one that broke.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Whom we asked.
        address: String,
        /// Why not.
        reason: String,
    },
    /// No answer in time.
    #[error("{address} did not answer within {WITHIN:?}")]
    Silent {
        /// Whom we asked.
        address: String,
    },
    /// Something else is there.
    #[error("{address} is no port for an edge-agent's metrics{what}")]
    NoEdge {
        /// Whom we asked.
        address: String,
        /// What it looks like.
        what: &'static str,
    },
}

/// Where metrics are read.
#[derive(Debug)]
pub(super) struct Page {
    /// As it was given.
    address: String,
    /// `host:port`.
    authority: String,
}

impl Page {
    /// The page at `host:port` or `http://host:port`.
    ///
    /// # Errors
    /// It is neither.
    pub(super) fn new(address: &str) -> Result<Self, EndpointError> {
        let uri = plain_uri(address)?;
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(80);
        Ok(Self {
            address: address.to_owned(),
            authority: format!("{host}:{port}"),
        })
    }

    /// As it was given.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Reads the metrics.
    ///
    /// # Errors
    /// There are none of an edge.
    pub(super) async fn read(&self) -> Result<Reading, PageError> {
        let address = || self.address.clone();
        let got = tokio::time::timeout(WITHIN, self.get()).await;
        let got = got.map_err(|_| PageError::Silent { address: address() })?;
        let answer = got.map_err(|error| PageError::Unreachable {
            address: address(),
            reason: words(&error),
        })?;
        let reading = Reading::parse(&answer);
        if reading.has(EDGE) {
            return Ok(reading);
        }
        let what = if reading.has(CLOUD) {
            ": it is a cloud-service's"
        } else {
            ": see its `metrics_listen`"
        };
        let address = address();
        Err(PageError::NoEdge { address, what })
    }

    /// The answer with its head, in which no line reads as a sample. By HTTP/1.0 it ends with the connection.
    async fn get(&self) -> io::Result<String> {
        let authority = &self.authority;
        let mut stream = TcpStream::connect(authority).await?;
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// An error as people read it: without the system's number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A server that answers once.
    async fn answering(answer: &'static str) -> Page {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /metrics HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        Page::new(&address).unwrap()
    }

    #[tokio::test]
    async fn an_edges_page_is_read() {
        let page =
            answering("HTTP/1.0 200 OK\r\na: 1\r\n\r\ntandem_edge_build_info{version=\"1\"} 1\n")
                .await;
        let reading = page.read().await.unwrap();
        assert_eq!(reading.label(EDGE, "version"), Some("1"));
    }

    #[tokio::test]
    async fn what_is_none_is_said() {
        let cloud = "HTTP/1.0 200 OK\r\n\r\ntandem_cloud_build_info{version=\"1\"} 1\n";
        for (answer, said) in [
            (cloud, "metrics: it is a cloud-service's"),
            (
                "HTTP/1.0 404 Not Found\r\n\r\n",
                "metrics: see its `metrics_listen`",
            ),
            ("\u{0}\u{1}", "metrics: see its `metrics_listen`"),
        ] {
            let error = answering(answer).await.read().await.unwrap_err();
            assert!(matches!(error, PageError::NoEdge { .. }));
            assert!(error.to_string().ends_with(said), "{error}");
        }
        let nobody = Page::new("127.0.0.1:1").unwrap();
        let error = nobody.read().await.unwrap_err().to_string();
        assert_eq!(error, "127.0.0.1:1 cannot be reached: Connection refused");
        assert!(Page::new("https://127.0.0.1:9500").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = Page::new(&listener.local_addr().unwrap().to_string()).unwrap();
        let error = page.read().await.unwrap_err();
        assert!(matches!(error, PageError::Silent { .. }), "{error}");
    }
}
