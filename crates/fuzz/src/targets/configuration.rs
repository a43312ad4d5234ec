//! Any text is a configuration of each server, laid over its defaults, or is refused.

use crate::scratch;
use cloud_service::config::CloudConfig;
use edge_agent::config::EdgeConfig;
use tandem_config::Layers;

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    let directory = scratch::directory(&[("server.yaml", data)]);
    let file = directory.path().join("server.yaml");
    let over = |defaults| Layers::new(defaults).file(&file);
    let misfits = match over(cloud_service::config::DEFAULTS) {
        Ok(layers) => layers.build::<CloudConfig>().map(|_| ()),
        Err(error) => Err(error),
    };
    if let Err(error) = misfits {
        assert!(!error.to_string().is_empty());
    }
    let misfits = match over(edge_agent::config::DEFAULTS) {
        Ok(layers) => layers.build::<EdgeConfig>().map(|_| ()),
        Err(error) => Err(error),
    };
    if let Err(error) = misfits {
        assert!(!error.to_string().is_empty());
    }
}
