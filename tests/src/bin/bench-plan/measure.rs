//! Measures settings on links, and keeps what was measured.

use crate::candidates::Settings;
use crate::grid::{CONTEXT, LinkKey, OUTPUT, PROMPT};
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

/// Requests of a kind, where one does not take long.
const REPEATS: usize = 3;
/// What takes longer is measured once: the link is most of it, and the link is steady.
const LONG: f64 = 4.0;

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
    known: HashMap<(Settings, LinkKey), Measured>,
}

impl Log {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut known = HashMap::new();
        for line in text.lines() {
            let line: Line = serde_json::from_str(line)?;
            known.insert((line.settings, line.link), line.measured);
        }
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)?;
        Ok(Self { file, known })
    }

    pub(crate) fn get(&self, settings: &Settings, link: LinkKey) -> Option<Measured> {
        self.known.get(&(settings.clone(), link)).copied()
    }

    pub(crate) fn on(&self, link: LinkKey) -> impl Iterator<Item = (&Settings, Measured)> {
        let here = self.known.iter().filter(move |((_, l), _)| *l == link);
        here.map(|((settings, _), measured)| (settings, *measured))
    }

    fn add(&mut self, settings: &Settings, link: LinkKey, measured: Measured) -> Result<()> {
        let line = Line {
            settings: settings.clone(),
            link,
            measured,
        };
        writeln!(self.file, "{}", serde_json::to_string(&line)?)?;
        self.known.insert((line.settings, link), measured);
        Ok(())
    }
}

/// A cloud behind a link.
#[derive(Debug)]
pub(crate) struct Bench {
    model: PathBuf,
    link: ShapedLink,
    cloud: Server,
    text: Vec<u32>,
    prompts: usize,
}

impl Bench {
    pub(crate) async fn start(model: &Path, text: &Path) -> Result<Self> {
        let options = ServerOptions::default().args(["--threads", "2"]);
        let cloud = Server::cloud(model, options).await?;
        let link = ShapedLink::start(cloud.address(), LinkProfile::unshaped())?;
        let text = tokens(model, &cloud, text).await?;
        Ok(Self {
            model: model.to_owned(),
            link,
            cloud,
            text,
            prompts: 0,
        })
    }

    pub(crate) fn model(&self) -> &Path {
        &self.model
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.link.address())
    }

    pub(crate) fn set_link(&self, (round_trip, rate): LinkKey) {
        let round_trip = Duration::from_millis(round_trip);
        let profile = LinkProfile::new(round_trip, Some(Rate::kbit(rate)));
        self.link.set_profile(profile);
    }

    /// Measures what is not known yet of some settings on some links.
    pub(crate) async fn measure(
        &mut self,
        settings: &Settings,
        links: &[LinkKey],
        log: &mut Log,
    ) -> Result<()> {
        let mut missing: Vec<LinkKey> = links.to_vec();
        missing.retain(|&link| log.get(settings, link).is_none());
        if missing.is_empty() {
            return Ok(());
        }
        self.link.set_profile(LinkProfile::unshaped());
        let options = ServerOptions::default()
            .args(["--threads", "1", "--weights", &settings.weights])
            .args(["--kv", &settings.kv, "--codec", &settings.codec])
            .args(["--context", &CONTEXT.to_string()]);
        let split = u32::try_from(settings.split)?;
        let edge = Server::edge(&self.model, &self.url(), split, options).await?;
        let client = Client::connect(&edge.url()).await?;
        // Fresh pages, and the workers' first look.
        self.request(&client, 8).await?;
        for link in missing {
            self.set_link(link);
            // The way up learns of the new link from this one.
            self.request(&client, 2).await?;
            let mut runs = vec![self.request(&client, OUTPUT).await?];
            while runs.len() < REPEATS && runs[0].request < LONG {
                runs.push(self.request(&client, OUTPUT).await?);
            }
            let of = |value: fn(&Measured) -> f64| {
                let mut values: Vec<f64> = runs.iter().map(value).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let measured = Measured {
                first_token: of(|m| m.first_token),
                token: of(|m| m.token),
                request: of(|m| m.request),
                cloud: of(|m| m.cloud),
            };
            eprintln!(
                "{settings} on {} ms, {} kbit/s: first {:.3} s, token {:.1} ms",
                link.0,
                link.1,
                measured.first_token,
                1e3 * measured.token
            );
            log.add(settings, link, measured)?;
        }
        Ok(())
    }

    /// Sends a prompt that no session has seen, and waits for its answer.
    async fn request(&mut self, client: &Client, output: usize) -> Result<Measured> {
        // Windows that share no beginning: none is reused.
        let start = (self.prompts * 97) % (self.text.len() - PROMPT);
        self.prompts += 1;
        let prompt = &self.text[start..start + PROMPT];
        let answer = client.greedy(prompt, u32::try_from(output)?).await?;
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
