//! Measures settings on links, in turn, and keeps what was measured.

use crate::candidates::Settings;
use crate::grid::{CONTEXT, LinkKey, OUTPUT, PROMPT};
use crate::processors::Processors;
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tandem_proto::v1;
use tandem_tests::client::Client;
use tandem_tests::link::{LinkProfile, Rate, ShapedLink};
use tandem_tests::process::{Server, ServerOptions};
use tandem_tests::statistics::median;

/// The share of the processors that others may take while a request is measured.
const QUIET: f64 = 0.1;
/// How often a request is made again that others disturbed.
const AGAIN: usize = 5;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Seconds to the first token.
    pub(crate) first_token: f64,
    /// Seconds of a token behind it.
    pub(crate) token: f64,
    /// Seconds of the whole request.
    pub(crate) request: f64,
    /// Compute seconds of the cloud for each token.
    pub(crate) cloud: f64,
}

impl Measured {
    fn median(runs: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| median(runs.iter().map(value));
        Self {
            first_token: of(|m| m.first_token),
            token: of(|m| m.token),
            request: of(|m| m.request),
            cloud: of(|m| m.cloud),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    settings: Settings,
    link: LinkKey,
    measured: Measured,
}

/// What was measured, on disk as it is made.
#[derive(Debug)]
pub(crate) struct Log {
    file: std::fs::File,
    known: HashMap<(Settings, LinkKey), Vec<Measured>>,
}

impl Log {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut known: HashMap<_, Vec<Measured>> = HashMap::new();
        // What a run that was cut off has not written to its end is measured again.
        for line in text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            let line: Line = serde_json::from_str(line)?;
            let runs = known.entry((line.settings, line.link)).or_default();
            runs.push(line.measured);
        }
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)?;
        Ok(Self { file, known })
    }

    /// Medians of what was measured of some settings on a link.
    pub(crate) fn get(&self, settings: &Settings, link: LinkKey) -> Option<Measured> {
        let runs = self.known.get(&(settings.clone(), link))?;
        Some(Measured::median(runs))
    }

    /// The same of all settings on a link.
    pub(crate) fn on(&self, link: LinkKey) -> impl Iterator<Item = (&Settings, Measured)> {
        let here = self.known.iter().filter(move |((_, l), _)| *l == link);
        here.map(|((settings, _), runs)| (settings, Measured::median(runs)))
    }

    /// How often some settings were measured on a link.
    pub(crate) fn runs(&self, settings: &Settings, link: LinkKey) -> usize {
        let runs = self.known.get(&(settings.clone(), link));
        runs.map_or(0, Vec::len)
    }

    fn add(&mut self, settings: &Settings, link: LinkKey, measured: Measured) -> Result<()> {
        let line = Line {
            settings: settings.clone(),
            link,
            measured,
        };
        writeln!(self.file, "{}", serde_json::to_string(&line)?)?;
        let runs = self.known.entry((line.settings, link)).or_default();
        runs.push(measured);
        Ok(())
    }
}

/// A cloud, and edges that reach it by links of their own. Edges stay, idle, for the links to come: they need
/// memory for all of them (some 5 GB for the default model's list).
#[derive(Debug)]
pub(crate) struct Bench {
    model: PathBuf,
    cloud: Server,
    /// What plans are made on.
    link: ShapedLink,
    edges: HashMap<Settings, Edge>,
    text: Vec<u32>,
    prompts: usize,
}

/// An edge with some settings, started once and asked in turn with the others.
#[derive(Debug)]
struct Edge {
    server: Server,
    client: Client,
    link: ShapedLink,
    /// What the link is, and has been used as.
    knows: Option<LinkKey>,
}

impl Bench {
    pub(crate) async fn start(model: &Path, text: &Path) -> Result<Self> {
        let options = ServerOptions::default().args(["--threads", "2"]);
        let cloud = Server::cloud(model, options).await?;
        let link = ShapedLink::start(cloud.address(), LinkProfile::unshaped())?;
        let text = tokens(model, &cloud, text).await?;
        Ok(Self {
            model: model.to_owned(),
            cloud,
            link,
            edges: HashMap::new(),
            text,
            prompts: 0,
        })
    }

    pub(crate) fn model(&self) -> &Path {
        &self.model
    }

    /// The cloud behind a link that is like this.
    pub(crate) fn url_by(&self, link: LinkKey) -> String {
        self.link.set_profile(profile(link));
        format!("http://{}", self.link.address())
    }

    /// Measures each of some settings until it has been measured `times`: one request each, in turn, so
    /// that what the machine does meanwhile is done to all of them.
    pub(crate) async fn measure(
        &mut self,
        all: &[Settings],
        link: LinkKey,
        times: usize,
        log: &mut Log,
    ) -> Result<()> {
        for round in 1..=times {
            for settings in all
                .iter()
                .filter(|s| log.runs(s, link) < round)
                .cloned()
                .collect::<Vec<_>>()
            {
                self.ready(&settings, link).await?;
                let measured = self.quiet_request(&settings).await?;
                eprintln!(
                    "{} ms, {} kbit/s, round {round}: {settings}: first {:.3} s, token {:.1} ms",
                    link.0,
                    link.1,
                    measured.first_token,
                    1e3 * measured.token
                );
                log.add(&settings, link, measured)?;
            }
        }
        Ok(())
    }

    /// An edge with these settings that has seen this link.
    async fn ready(&mut self, settings: &Settings, link: LinkKey) -> Result<()> {
        if !self.edges.contains_key(settings) {
            let edge = self.start_edge(settings).await?;
            self.edges.insert(settings.clone(), edge);
            // Fresh pages, and the workers' first look.
            self.request(settings, PROMPT, 8).await?;
        }
        let edge = self.edges.get_mut(settings).context("just started")?;
        if edge.knows != Some(link) {
            edge.link.set_profile(profile(link));
            edge.knows = Some(link);
            // The way up learns from this one how much may be on the way.
            self.request(settings, PROMPT / 2, 2).await?;
        }
        Ok(())
    }

    /// A request that others did not disturb, or the last of several that they did.
    async fn quiet_request(&mut self, settings: &Settings) -> Result<Measured> {
        let edge = self.edges.get(settings).context("an edge")?;
        let own = [std::process::id(), self.cloud.pid(), edge.server.pid()];
        let mut tries = 0;
        loop {
            let before = Processors::now(&own)?;
            let measured = self.request(settings, PROMPT, OUTPUT).await?;
            let others = Processors::now(&own)?.others_since(before);
            tries += 1;
            if others <= QUIET || tries > AGAIN {
                return Ok(measured);
            }
            eprintln!(
                "{settings}: others took {:.0}% of the processors: again",
                100.0 * others
            );
        }
    }

    async fn start_edge(&self, settings: &Settings) -> Result<Edge> {
        let options = ServerOptions::default()
            .args(["--threads", "1", "--weights", &settings.weights])
            .args(["--kv", &settings.kv, "--codec", &settings.codec])
            // Plans are made without drafts.
            .args(["--context", &CONTEXT.to_string(), "--drafts", "0"]);
        let link = ShapedLink::start(self.cloud.address(), LinkProfile::unshaped())?;
        let url = format!("http://{}", link.address());
        let split = u32::try_from(settings.split)?;
        let server = Server::edge(&self.model, &url, split, options).await?;
        let client = Client::connect(&server.url()).await?;
        Ok(Edge {
            server,
            client,
            link,
            knows: None,
        })
    }

    /// Sends a prompt that no session has seen, and waits for its answer.
    async fn request(
        &mut self,
        settings: &Settings,
        prompt: usize,
        output: usize,
    ) -> Result<Measured> {
        let edge = self.edges.get(settings).context("an edge")?;
        // Windows that share no beginning: none is reused.
        let start = (self.prompts * 97) % (self.text.len() - prompt);
        self.prompts += 1;
        let prompt = &self.text[start..start + prompt];
        let answer = edge.client.greedy(prompt, u32::try_from(output)?).await?;
        ensure!(
            answer.ids.len() == output,
            "an answer of {} tokens",
            answer.ids.len()
        );
        let timings = answer.finished.timings.context("timings")?;
        Ok(Measured {
            first_token: timings.ttft_seconds,
            token: timings.decode_seconds / (output - 1) as f64,
            request: timings.ttft_seconds + timings.decode_seconds,
            cloud: timings.cloud_compute_seconds / output as f64,
        })
    }
}

fn profile((round_trip, rate): LinkKey) -> LinkProfile {
    LinkProfile::new(Duration::from_millis(round_trip), Some(Rate::kbit(rate)))
}

/// The beginning of a text as tokens, by an edge without layers.
async fn tokens(model: &Path, cloud: &Server, text: &Path) -> Result<Vec<u32>> {
    const CHARACTERS: usize = 200_000;
    let edge = Server::edge(model, &cloud.url(), 0, ServerOptions::default()).await?;
    let text: String = std::fs::read_to_string(text)?
        .chars()
        .take(CHARACTERS)
        .collect();
    let request = v1::TokenizeRequest {
        input: Some(v1::tokenize_request::Input::Text(text)),
    };
    let mut client = Client::connect(&edge.url()).await?;
    let ids = client.raw().tokenize(request).await?.into_inner().ids;
    ensure!(
        ids.len() > 100 * PROMPT,
        "the text has only {} tokens",
        ids.len()
    );
    Ok(ids)
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cloud.kill();
    }
}
