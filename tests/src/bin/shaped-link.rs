//! A network link as a process: between an edge and a cloud, or anything else that speaks TCP.
#![allow(
    clippy::print_stdout,
    reason = "the address and the counters are its result"
)]

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use tandem_tests::link::{DEFAULT_QUEUE, LinkProfile, Rate, ShapedLink};
use tokio::signal::unix::{SignalKind, signal};

/// Passes TCP connections on, as a link with a rate, a delay and a bounded queue would.
///
/// Prints the address it listens on; at SIGINT or SIGTERM, what has crossed the link as JSON.
/// SIGUSR1 prints that too, and counts from zero again.
#[derive(Debug, Parser)]
#[command(name = "shaped-link")]
struct Arguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Where connections lead
    #[arg(long, value_name = "HOST:PORT")]
    to: String,

    /// Round trip, half of it each way: 80ms, 1.5s, 500us
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = time)]
    rtt: Duration,

    /// Payload bits a second, each way: 10Mbit, 64kbit; without it, unlimited
    #[arg(long)]
    rate: Option<Rate>,

    /// Up only, instead of --rate
    #[arg(long, value_name = "RATE")]
    up_rate: Option<Rate>,

    /// Down only, instead of --rate
    #[arg(long, value_name = "RATE")]
    down_rate: Option<Rate>,

    /// Bytes that may wait for transmission, each way
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_QUEUE)]
    queue: usize,
}

impl Arguments {
    fn profile(&self) -> LinkProfile {
        let mut profile = LinkProfile::new(self.rtt, self.rate).with_queue(self.queue);
        profile.up.rate = self.up_rate.or(self.rate);
        profile.down.rate = self.down_rate.or(self.rate);
        profile
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a time such as 80ms, 1.5s or 500us");
    let unit = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(refuse)?;
    let scale = match &text[unit..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(refuse()),
    };
    let number: f64 = text[..unit].parse().map_err(|_| refuse())?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| refuse())
}

fn print(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").context("writing to stdout")?;
    out.flush().context("writing to stdout")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let addresses = arguments.to.to_socket_addrs();
    let target = match addresses.map(|mut all| all.next()) {
        Ok(Some(address)) => address,
        Ok(None) => bail!("{} has no address", arguments.to),
        Err(error) => bail!("{} is not an address: {error}", arguments.to),
    };
    // Before the address is printed: whoever has read it may send a signal.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut lap = signal(SignalKind::user_defined1())?;

    let link = ShapedLink::start_at(arguments.listen, target, arguments.profile())
        .with_context(|| format!("listening on {}", arguments.listen))?;
    print(&link.address().to_string())?;
    loop {
        tokio::select! {
            _ = lap.recv() => print(&serde_json::to_string(&link.take_counters())?)?,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    print(&serde_json::to_string(&link.counters())?)
}
