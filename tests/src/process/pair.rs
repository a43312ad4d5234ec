//! An edge and its cloud.

use std::path::Path;

use anyhow::{Context, Result};

use super::options::ServerOptions;
use super::server::Server;
use crate::link::{LinkProfile, ShapedLink};

/// How a pair differs from the shipped configuration.
#[derive(Clone, Debug, Default)]
pub struct PairOptions {
    /// For the cloud.
    pub cloud: ServerOptions,
    /// For the edge.
    pub edge: ServerOptions,
    /// What lies between them; `None` connects them directly.
    pub link: Option<LinkProfile>,
}

impl PairOptions {
    /// Options for the cloud.
    pub fn cloud(mut self, options: ServerOptions) -> Self {
        self.cloud = options;
        self
    }

    /// Options for the edge.
    pub fn edge(mut self, options: ServerOptions) -> Self {
        self.edge = options;
        self
    }

    /// Puts a link between the two. [`LinkProfile::unshaped`] only counts.
    pub fn link(mut self, profile: LinkProfile) -> Self {
        self.link = Some(profile);
        self
    }
}

/// Both servers, serving. Ended in the order of the fields: the edge before its cloud.
#[derive(Debug)]
pub struct Pair {
    /// The one that clients talk to.
    pub edge: Server,
    /// What lies between, if anything was asked for.
    pub link: Option<ShapedLink>,
    /// The one with the back layers.
    pub cloud: Server,
}

impl Pair {
    /// Starts a cloud, a link if there is to be one, and an edge with the first `split` layers
    /// of the same model; returns when both serve.
    pub async fn start(model: &Path, split: u32, options: PairOptions) -> Result<Self> {
        let cloud = Server::cloud(model, options.cloud).await?;
        let link = options
            .link
            .map(|profile| ShapedLink::start(cloud.address(), profile))
            .transpose()
            .context("the link between edge and cloud")?;
        let url = match &link {
            Some(link) => format!("http://{}", link.address()),
            None => cloud.url(),
        };
        let edge = Server::edge(model, &url, split, options.edge).await?;
        Ok(Self { edge, link, cloud })
    }

    /// The link between them.
    ///
    /// # Panics
    /// The pair was started without one.
    pub fn link(&self) -> &ShapedLink {
        self.link.as_ref().expect("a pair started with a link")
    }
}
