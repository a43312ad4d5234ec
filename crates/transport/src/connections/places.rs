//! Who has how many connections.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::config::ConnectionsConfig;
use crate::auth::network_of;
use tandem_telemetry::metrics::Metric;

/// What listeners count of their connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionMetrics {
    /// Those that are open, a gauge.
    pub open: Metric,
    /// Those that were closed, by cause: `max`, `per_address` or `no_call`.
    pub closed: Metric,
}

/// The places that connections take, shared by the listeners of a server whose clients are the same.
#[derive(Debug, Clone)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: ConnectionsConfig,
    metrics: ConnectionMetrics,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// The limit that leaves no place for one more connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Of all connections.
    All,
    /// Of those of one address.
    Address,
}

impl Full {
    /// The limit's key.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::All => "max",
            Self::Address => "per_address",
        }
    }
}

/// The place of one connection, free again when this is dropped.
pub struct Place {
    shared: Arc<Shared>,
    network: Option<IpAddr>,
}

impl Places {
    /// All of them free.
    pub fn new(limits: ConnectionsConfig, metrics: ConnectionMetrics) -> Self {
        Self(Arc::new(Shared {
            limits,
            metrics,
            taken: Mutex::default(),
        }))
    }

    /// What they are limited by.
    pub fn limits(&self) -> &ConnectionsConfig {
        &self.0.limits
    }

    /// Those that are taken.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.0.taken().all
    }

    /// Takes a place for a connection from an address; a refused one is counted.
    ///
    /// # Errors
    /// All places are taken, or all that one address may have.
    pub(crate) fn enter(&self, address: Option<IpAddr>) -> Result<Place, Full> {
        let network = address.map(network_of);
        let Shared {
            limits, metrics, ..
        } = &*self.0;
        let entered = self.0.taken().enter(network, limits);
        match entered {
            Ok(()) => {
                metrics.open.gauge(&[]).increment(1.0);
                Ok(Place {
                    shared: Arc::clone(&self.0),
                    network,
                })
            }
            Err(full) => {
                metrics.closed.counter(&[full.key()]).increment(1);
                Err(full)
            }
        }
    }
}

impl Place {
    /// How long its connection may be without a call.
    pub(crate) fn first_call_within(&self) -> Duration {
        self.shared.limits.first_call.get()
    }

    /// Counts that its connection is closed because it made no call.
    pub(crate) fn made_no_call(&self) {
        let closed = self.shared.metrics.closed;
        closed.counter(&["no_call"]).increment(1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.taken().leave(self.network);
        self.shared.metrics.open.gauge(&[]).decrement(1.0);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn enter(&mut self, network: Option<IpAddr>, limits: &ConnectionsConfig) -> Result<(), Full> {
        if self.all >= limits.max {
            return Err(Full::All);
        }
        if let Some(network) = network {
            let of_network = self.by_network.entry(network).or_default();
            if limits.per_address > 0 && *of_network >= limits.per_address {
                return Err(Full::Address);
            }
            *of_network += 1;
        }
        self.all += 1;
        Ok(())
    }

    fn leave(&mut self, network: Option<IpAddr>) {
        self.all -= 1;
        if let Some(network) = network
            && let Some(of_network) = self.by_network.get_mut(&network)
        {
            *of_network -= 1;
            if *of_network == 0 {
                self.by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_telemetry::metrics::{Kind, Label, Unit, recorder};

    const METRICS: ConnectionMetrics = ConnectionMetrics {
        open: Metric {
            name: "tandem_test_connections",
            kind: Kind::Gauge,
            unit: Unit::Count,
            labels: &[],
            help: "Of the tests.",
        },
        closed: Metric {
            name: "tandem_test_connections_closed_total",
            kind: Kind::Counter,
            unit: Unit::Count,
            labels: &[Label {
                name: "cause",
                values: &["max", "per_address", "no_call"],
            }],
            help: "Of the tests.",
        },
    };

    fn places(max: usize, per_address: usize) -> Places {
        let limits = ConnectionsConfig {
            max,
            per_address,
            ..ConnectionsConfig::default()
        };
        Places::new(limits, METRICS)
    }

    fn at(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn one_address_cannot_take_the_places_of_others() {
        let recorder = recorder(&[METRICS.open, METRICS.closed]).unwrap();
        let _local = metrics::set_default_local_recorder(&recorder);
        let places = places(3, 2);
        let first = places.enter(at("10.0.0.1")).unwrap();
        let _second = places.enter(at("::ffff:10.0.0.1")).unwrap();
        assert_eq!(places.enter(at("10.0.0.1")).unwrap_err(), Full::Address);
        let _other = places.enter(at("10.0.0.2")).unwrap();
        assert_eq!(places.enter(at("10.0.0.3")).unwrap_err(), Full::All);
        drop(first);
        let _again = places.enter(at("10.0.0.1")).unwrap();

        let page = recorder.handle().render();
        for line in [
            "tandem_test_connections 3",
            "cause=\"max\"} 1",
            "cause=\"per_address\"} 1",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let places = places(9, 1);
        let _first = places.enter(at("2001:db8::1")).unwrap();
        assert_eq!(places.enter(at("2001:db8::2")).unwrap_err(), Full::Address);
        let _other = places.enter(at("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn nobody_is_remembered_who_has_gone() {
        let places = places(9, 0);
        let held: Vec<Place> = (0..9)
            .map(|_| places.enter(at("10.0.0.1")).unwrap())
            .collect();
        assert_eq!(places.enter(at("10.0.0.1")).unwrap_err(), Full::All);
        drop(held);
        let taken = places.0.taken();
        assert_eq!((taken.all, taken.by_network.len()), (0, 0));
    }
}
