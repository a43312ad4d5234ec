//! A server's data port: its handshakes, its tokens, and the files that both are made of.

use std::sync::Arc;

use tokio::net::TcpListener;
use tonic::service::InterceptorLayer;

use crate::auth::{AuthSettings, Authenticate, EndWithToken, Tokens};
use crate::connections::{ConnectionMetrics, ConnectionsConfig, Places};
use crate::reload::{EVERY, MaterialError, Reloaded, Watch};
use crate::tls::{Incoming, ServerTls, TlsSettings, incoming, server_config};
use tandem_telemetry::metrics::Metric;

/// What a data port counts; each server has metrics of its own for it.
#[derive(Debug, Clone, Copy)]
pub struct DataPortMetrics {
    /// Handshakes by outcome: `done`, `failed` or `timeout`.
    pub handshakes: Metric,
    /// Refused requests by cause: `missing`, `unknown` or `certificate`.
    pub unauthenticated: Metric,
    /// Files read again, by what (`tls` or `tokens`) and outcome (`done` or `failed`).
    pub reloads: Metric,
    /// Open and closed connections.
    pub connections: ConnectionMetrics,
}

/// What a data port shows and asks for. Its files are watched for as long as it lives.
#[derive(Debug)]
pub struct DataPort {
    tls: Option<Reloaded<ServerTls>>,
    names: Arc<[String]>,
    tokens: Option<Reloaded<Tokens>>,
    places: Places,
    metrics: DataPortMetrics,
    _watches: Vec<Watch>,
}

impl DataPort {
    /// Reads the files. Needs a tokio runtime.
    ///
    /// # Errors
    /// One cannot be read, or is not what it should be.
    pub async fn load(
        tls: &TlsSettings,
        auth: &AuthSettings,
        connections: &ConnectionsConfig,
        metrics: DataPortMetrics,
    ) -> Result<Self, MaterialError> {
        let names = tls.client_names.as_slice().into();
        let tls = server_config(tls, metrics.reloads).await?;
        let tokens = auth.tokens(metrics.reloads).await?;
        let watches = [
            tls.as_ref().map(|tls| tls.watch(EVERY)),
            tokens.as_ref().map(|tokens| tokens.watch(EVERY)),
        ];
        Ok(Self {
            tls,
            names,
            tokens,
            places: Places::new(connections.clone(), metrics.connections),
            metrics,
            _watches: watches.into_iter().flatten().collect(),
        })
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether requests need a token.
    pub fn asks_for_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// The connections of a listener; all of its listeners share their places.
    pub fn incoming(&self, listener: TcpListener) -> Incoming {
        let (tls, places) = (self.tls.clone(), self.places.clone());
        incoming(listener, tls, places, self.metrics.handshakes)
    }

    /// The check in front of all its services, which lasts as long as their answers.
    pub fn authenticate(&self) -> (InterceptorLayer<Authenticate>, EndWithToken) {
        (InterceptorLayer::new(self.check()), EndWithToken)
    }

    /// The same check for what is not gRPC. [`EndWithToken`] goes behind it.
    pub fn check(&self) -> Authenticate {
        Authenticate::new(self.tokens.clone(), self.metrics.unauthenticated)
            .with_names(Arc::clone(&self.names))
    }
}
