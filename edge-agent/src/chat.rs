//! `edge-agent chat`: a conversation on a terminal.

use crate::answer::AnswerEvent;
use crate::cli::ChatArgs;
use crate::edge::{Edge, with_model_here};
use crate::generate::{Collected, message, readable, run, terms, user};
use crate::metrics::TRACES;
use crate::plan::start::{Patience, planned};
use crate::request::Terms;
use crate::serve::SERVICE;
use rustyline::error::ReadlineError;
use std::io::Write as _;
use std::time::Instant;
use tandem_model_source::ProgressTo;
use tandem_proto::v1;
use tandem_server::collector::start_traces;
use tandem_telemetry::logging;
use tokio::sync::{mpsc, oneshot};

const HELP: &str = "\
/reset   forget the conversation
/stats   figures of the last answer
/help    this
/quit    leave (or Ctrl-D)
Ctrl-C stops an answer.";

/// Runs the command until the end of input.
///
/// # Errors
/// When the edge cannot be loaded.
pub async fn chat(args: ChatArgs) -> anyhow::Result<()> {
    let config = args.edge.load_quiet()?;
    logging::init(&config.log)?;
    let config = with_model_here(config, ProgressTo::Terminal).await?;
    let config = planned(config, Patience::Fail).await?.config;
    let traces = start_traces(&config.traces, SERVICE, TRACES).await?;
    let edge = Edge::load(&config, |_| {}).await?;
    let cloud = edge.client().clouds().any().await;
    let cloud = cloud.map_err(|error| readable(&edge.answers, &error.into()))?;
    println!(
        "{}: {} of {} layers here, the rest at {}, codec {}. /help for help.",
        cloud
            .described
            .model
            .as_ref()
            .map_or("", |m| m.name.as_str()),
        edge.answers.served.split,
        edge.client().front().config.layers,
        cloud.link.address(),
        edge.answers.served.codec
    );
    let mut conversation = Conversation {
        edge: &edge,
        system: args.system,
        terms: terms(&args.sampling)?,
        messages: Vec::new(),
        last: None,
    };
    conversation.reset();
    let mut prompt = Prompt::start()?;
    while let Some(line) = prompt.line().await {
        match line.trim() {
            "" => {}
            "/quit" | "/exit" => break,
            "/help" => println!("{HELP}"),
            "/reset" => {
                conversation.reset();
                println!("(forgotten)");
            }
            "/stats" => conversation.print_stats(),
            command if command.starts_with('/') => println!("{command}? {HELP}"),
            text => conversation.ask(text).await,
        }
    }
    traces.flush().await;
    Ok(())
}

struct Conversation<'a> {
    edge: &'a Edge,
    system: Option<String>,
    terms: Terms,
    messages: Vec<v1::ChatMessage>,
    last: Option<v1::Finished>,
}

impl Conversation<'_> {
    fn reset(&mut self) {
        let system = self.system.as_deref();
        let system = system.map(|content| message("system", content));
        self.messages = system.into_iter().collect();
    }

    async fn ask(&mut self, text: &str) {
        self.messages.push(user(text));
        let ids = self.edge.chat_ids(self.messages.clone()).await;
        let request =
            ids.and_then(|ids| Ok(self.edge.check(self.terms.clone(), ids, Instant::now())?));
        let mut collected = Collected::default();
        let answered = async {
            let request = request.map_err(|error| readable(&self.edge.answers, &error))?;
            run(&self.edge.answers, "chat", request, |event| {
                if let AnswerEvent::Delta(delta) = &event {
                    print!("{}", delta.text);
                    std::io::stdout().flush()?;
                }
                collected.add(event);
                Ok(())
            })
            .await
        };
        let stopped = tokio::select! {
            answered = answered => answered.err().map(|error| error.to_string()),
            _ = tokio::signal::ctrl_c() => Some("stopped".to_owned()),
        };
        match stopped {
            Some(why) => println!("\n({why})"),
            None => {
                println!();
                self.last = Some(collected.finished);
            }
        }
        if collected.text.is_empty() {
            self.messages.pop();
        } else {
            self.messages.push(message("assistant", &collected.text));
        }
    }

    fn print_stats(&self) {
        let Some(finished) = &self.last else {
            println!("no answer yet");
            return;
        };
        let timings = finished.timings.unwrap_or_default();
        let wire = finished.wire.clone().unwrap_or_default();
        println!(
            "{} prompt tokens, {} rows sent, first token after {:.0} ms\n\
             {} tokens, {:.1} tokens/s\n\
             {} bytes up, {} down, {:.2} bits a value",
            finished.prompt_tokens,
            wire.rows,
            1e3 * timings.ttft_seconds,
            finished.completion_tokens,
            timings.tokens_per_second,
            wire.up_bytes,
            wire.down_bytes,
            wire.bits_per_value,
        );
    }
}

/// Reads lines on a thread of its own, because reading blocks and answers must not wait for it.
struct Prompt {
    wanted: mpsc::Sender<oneshot::Sender<Option<String>>>,
}

impl Prompt {
    fn start() -> anyhow::Result<Self> {
        let mut editor = rustyline::DefaultEditor::new()?;
        let (wanted, mut requests) = mpsc::channel::<oneshot::Sender<Option<String>>>(1);
        // Ends when the conversation drops its sender.
        std::thread::Builder::new()
            .name("prompt".to_owned())
            .spawn(move || {
                while let Some(reply) = requests.blocking_recv() {
                    let line = loop {
                        match editor.readline("> ") {
                            Ok(line) => {
                                let _ = editor.add_history_entry(&line);
                                break Some(line);
                            }
                            Err(ReadlineError::Interrupted) => println!("(Ctrl-D or /quit leaves)"),
                            Err(_) => break None,
                        }
                    };
                    let _ = reply.send(line);
                }
            })?;
        Ok(Self { wanted })
    }

    async fn line(&mut self) -> Option<String> {
        let (reply, line) = oneshot::channel();
        self.wanted.send(reply).await.ok()?;
        line.await.ok().flatten()
    }
}
