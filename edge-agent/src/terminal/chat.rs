//! `edge-agent chat`: a conversation on a terminal, with an edge of its own or a running one.

use super::answer_view::AnswerView;
use super::answerer::Answerer;
use super::commands::{HELP, Wish, read};
use super::device::{Keyboard, Kind, size};
use super::figures::Figures;
use super::prompt::Prompt;
use super::{history, transcript};
use crate::cli::ChatArgs;
use crate::generate::{message, user};
use anyhow::Context as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tandem_proto::v1;
use tandem_proto::v1::chat_response::Event;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// How often figures are drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// Ends the mode of a terminal in which a prompt that was not left reads what is pasted.
const PASTE_AS_TYPED: &str = "\x1b[?2004l";

/// Runs the command until the end of input. On a terminal it goes on when something fails; a script is told by the
/// command's end.
///
/// # Errors
/// The edge cannot be had; without a terminal, anything that fails.
pub async fn chat(args: ChatArgs) -> anyhow::Result<()> {
    let request = args.sampling.chat_request(Vec::new())?;
    let mut talk = Talk::new(args.load, args.system)?;
    let mut answerer = Answerer::start(args.running, args.own).await?;
    let introduction = answerer.introduce().await?;
    // Left as it was found, whatever is reading it at the end.
    let _keyboard = Keyboard::as_it_is();
    let has_person = io::stdin().is_terminal();
    if has_person {
        println(&introduction.line)?;
        talk.say_where_it_stands()?;
    }
    let history = if args.no_history {
        None
    } else {
        history::file()
    };
    let prompt = Prompt::start(history)?;
    let mut answers = Answers {
        request: v1::ChatRequest {
            tells_steps: true,
            tells_reasoning: true,
            ..request
        },
        hidden: introduction.hidden,
        has_figures: !args.no_figures,
        stops: Stops::new()?,
        answerer,
    };
    loop {
        let typed = tokio::select! {
            typed = prompt.next() => typed?,
            () = answers.stops.end() => {
                if has_person && Kind::of_stdout().is_terminal() {
                    println(PASTE_AS_TYPED)?;
                }
                break;
            }
        };
        let Some(typed) = typed else {
            break;
        };
        match do_as_wished(&mut talk, &mut answers, &typed).await {
            Ok(Next::Read) => {}
            Ok(Next::Leave) => break,
            Err(error) if has_person => println(&format!("({error:#})"))?,
            Err(error) => return Err(error),
        }
    }
    answers.answerer.end().await;
    Ok(())
}

/// What comes after a wish.
enum Next {
    Read,
    Leave,
}

async fn do_as_wished(talk: &mut Talk, answers: &mut Answers, typed: &str) -> anyhow::Result<Next> {
    match read(typed).map_err(anyhow::Error::msg)? {
        Wish::Nothing => {}
        Wish::Quit => return Ok(Next::Leave),
        Wish::Answer(text) => return talk.answer(user(&text), None, answers).await,
        Wish::Retry => {
            let (question, answer) = talk.last_question()?;
            return talk.answer(question, answer, answers).await;
        }
        Wish::Help => println(HELP)?,
        Wish::Reset => {
            talk.reset();
            println("(forgotten)")?;
        }
        Wish::System(Some(text)) => talk.set_system(&text),
        Wish::System(None) => match talk.system() {
            Some(system) => println(system)?,
            None => println("(there is no system message)")?,
        },
        Wish::Stats => match &talk.figures {
            Some(finished) => println(&stats(finished))?,
            None => println("(no answer yet)")?,
        },
        Wish::Save(path) => {
            let saved = talk.save(path)?;
            println(&saved)?;
        }
        Wish::Load(path) => {
            talk.load(&path)?;
            talk.say_where_it_stands()?;
        }
    }
    Ok(Next::Read)
}

/// A conversation.
#[derive(Debug, Default)]
struct Talk {
    messages: Vec<v1::ChatMessage>,
    /// A question whose answer failed before it began.
    unanswered: Option<v1::ChatMessage>,
    /// The file that it was saved to or loaded from.
    file: Option<PathBuf>,
    /// Of the last answer.
    figures: Option<v1::Finished>,
}

impl Talk {
    fn new(file: Option<PathBuf>, system: Option<String>) -> anyhow::Result<Self> {
        let mut talk = Self::default();
        if let Some(file) = file {
            talk.load(&file)?;
        }
        if let Some(system) = system {
            talk.set_system(&system);
        }
        Ok(talk)
    }

    /// What the system message says.
    fn system(&self) -> Option<&str> {
        let first = self.messages.first().filter(|first| first.role == "system");
        first.map(|first| &*first.content)
    }

    fn set_system(&mut self, text: &str) {
        let system = message("system", text);
        match self.messages.first_mut() {
            Some(first) if first.role == "system" => *first = system,
            _ => self.messages.insert(0, system),
        }
    }

    /// Forgets all but the system message.
    fn reset(&mut self) {
        let system = usize::from(self.system().is_some());
        self.messages.truncate(system);
        self.unanswered = None;
    }

    fn load(&mut self, path: &Path) -> anyhow::Result<()> {
        self.messages = transcript::load(path)?;
        self.unanswered = None;
        self.file = Some(path.to_owned());
        Ok(())
    }

    fn count(&self) -> String {
        match self.messages.len() {
            1 => "1 message".to_owned(),
            count => format!("{count} messages"),
        }
    }

    /// Saves it, and says so.
    fn save(&mut self, path: Option<PathBuf>) -> anyhow::Result<String> {
        let known = self.file.clone();
        let path = path.or_else(|| known.clone());
        let path = path.context("/save needs the name of a file")?;
        let is_known = known.is_some_and(|known| is_same_file(&known, &path));
        transcript::save(&path, &self.messages, is_known)?;
        let saved = format!("({} in {})", self.count(), path.display());
        self.file = Some(path);
        Ok(saved)
    }

    fn say_where_it_stands(&self) -> anyhow::Result<()> {
        if let Some(file) = &self.file {
            println(&format!("({} from {})", self.count(), file.display()))?;
        }
        Ok(())
    }

    /// Takes the last question out, and its answer where it has one.
    fn last_question(&mut self) -> anyhow::Result<(v1::ChatMessage, Option<v1::ChatMessage>)> {
        if let Some(question) = self.unanswered.take() {
            return Ok((question, None));
        }
        let answer = self.messages.pop_if(|last| last.role == "assistant");
        if let Some(question) = self.messages.pop_if(|last| last.role == "user") {
            return Ok((question, answer));
        }
        self.messages.extend(answer);
        anyhow::bail!("there is no message to answer again");
    }

    /// Answers a question. What is said until it fails or is stopped stays; else what it was answered `before`.
    async fn answer(
        &mut self,
        question: v1::ChatMessage,
        before: Option<v1::ChatMessage>,
        answers: &mut Answers,
    ) -> anyhow::Result<Next> {
        self.messages.push(question);
        let Answer {
            text,
            reasoning,
            finished,
            ended,
        } = answers.answer(self.messages.clone()).await;
        self.unanswered = None;
        if finished.is_some() {
            self.figures = finished;
        }
        if !text.is_empty() {
            self.messages.push(v1::ChatMessage {
                reasoning,
                ..message("assistant", &text)
            });
        } else if before.is_some() {
            self.messages.extend(before);
        } else {
            self.unanswered = self.messages.pop();
        }
        ended
    }
}

/// Whether both name the same file. Both have to be there.
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Makes answers and shows them.
struct Answers {
    answerer: Answerer,
    /// What is asked for, without messages.
    request: v1::ChatRequest,
    /// Values of a hidden row.
    hidden: u32,
    has_figures: bool,
    stops: Stops,
}

/// What has become of an answer.
struct Answer {
    text: String,
    reasoning: String,
    finished: Option<v1::Finished>,
    ended: anyhow::Result<Next>,
}

impl Answers {
    async fn answer(&mut self, messages: Vec<v1::ChatMessage>) -> Answer {
        let request = v1::ChatRequest {
            messages,
            ..self.request.clone()
        };
        let kind = Kind::of_stdout();
        let _keyboard = kind.is_terminal().then(Keyboard::silent).flatten();
        let mut showing = Showing {
            view: AnswerView::new(io::stdout(), kind, size),
            figures: self.has_figures.then(|| Figures::new(self.hidden)),
            began: Instant::now(),
            answer: Answer {
                text: String::new(),
                reasoning: String::new(),
                finished: None,
                ended: Ok(Next::Read),
            },
        };
        let ended = {
            let (events, mut stream) = mpsc::unbounded_channel();
            let making = self.answerer.answer(request, move |event| {
                // It is read below for as long as this runs.
                events.send(event).map_err(io::Error::other)
            });
            showing.all(making, &mut stream, &mut self.stops).await
        };
        let mut answer = showing.answer;
        let shown = showing.view.end();
        drop(showing.view);
        answer.ended = ended.and_then(|next| {
            shown?;
            Ok(next)
        });
        // What went wrong stands on a line of its own.
        let broken = println("");
        answer.ended = answer.ended.and_then(|next| broken.map(|()| next));
        answer
    }
}

/// An answer that is being shown.
struct Showing<S: Fn() -> Option<super::device::Size>> {
    view: AnswerView<io::Stdout, S>,
    figures: Option<Figures>,
    began: Instant,
    answer: Answer,
}

impl<S: Fn() -> Option<super::device::Size>> Showing<S> {
    async fn all(
        &mut self,
        making: impl Future<Output = anyhow::Result<()>>,
        events: &mut mpsc::UnboundedReceiver<Event>,
        stops: &mut Stops,
    ) -> anyhow::Result<Next> {
        let mut ticks = tokio::time::interval(DRAWN_EVERY);
        tokio::pin!(making);
        loop {
            tokio::select! {
                biased;
                stop = stops.next() => match stop {
                    Stop::Interrupt => anyhow::bail!("stopped"),
                    Stop::End => return Ok(Next::Leave),
                },
                Some(event) = events.recv() => self.event(event)?,
                made = &mut making => {
                    while let Ok(event) = events.try_recv() {
                        self.event(event)?;
                    }
                    return made.map(|()| Next::Read);
                }
                _ = ticks.tick() => self.draw_figures()?,
            }
        }
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        if let Some(figures) = &mut self.figures {
            figures.add(&event, self.began.elapsed());
        }
        match event {
            Event::Delta(delta) => {
                self.view.think(&delta.reasoning)?;
                self.view.say(&delta.text)?;
                self.answer.reasoning += &delta.reasoning;
                self.answer.text += &delta.text;
            }
            Event::Finished(finished) => self.answer.finished = Some(finished),
            Event::Started(_) | Event::Step(_) => {}
        }
        Ok(())
    }

    fn draw_figures(&mut self) -> io::Result<()> {
        let (Some(figures), Some(size)) = (&mut self.figures, size()) else {
            return Ok(());
        };
        let line = figures.line(self.began.elapsed(), size.columns.saturating_sub(1));
        self.view.show_figures(line)
    }
}

/// What a process is told from outside.
struct Stops {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

enum Stop {
    /// Ctrl-C: what it is doing.
    Interrupt,
    /// All of it.
    End,
}

impl Stops {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::End,
            _ = self.hangup.recv() => Stop::End,
        }
    }

    /// Waits for the end: there is nothing else to interrupt.
    async fn end(&mut self) {
        while let Stop::Interrupt = self.next().await {}
    }
}

/// The figures of an answer.
fn stats(finished: &v1::Finished) -> String {
    let timings = finished.timings.unwrap_or_default();
    let wire = finished.wire.clone().unwrap_or_default();
    let mut text = format!(
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
    let drafts = finished.drafts.unwrap_or_default();
    if drafts.sent > 0 {
        text += &format!(
            "\n{} drafts sent, {} of them right",
            drafts.sent, drafts.accepted
        );
    }
    if finished.replays > 0 {
        text += &format!("\n{} replays", finished.replays);
    }
    text
}

fn println(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(talk: &Talk) -> Vec<&str> {
        talk.messages.iter().map(|message| &*message.role).collect()
    }

    #[test]
    fn the_system_message_is_the_first_and_stays() {
        let mut talk = Talk::new(None, None).unwrap();
        assert_eq!(talk.system(), None);
        talk.messages = vec![user("Hello?"), message("assistant", "Hello.")];
        talk.set_system("Be brief.");
        talk.set_system("Be kind.");
        assert_eq!(roles(&talk), ["system", "user", "assistant"]);
        assert_eq!(talk.system(), Some("Be kind."));
        talk.reset();
        assert_eq!(roles(&talk), ["system"]);
    }

    #[test]
    fn the_last_question_is_the_one_that_failed_or_the_one_before_the_last_answer() {
        let mut talk = Talk::new(None, Some("Be brief.".to_owned())).unwrap();
        let none = talk.last_question().unwrap_err().to_string();
        assert_eq!(none, "there is no message to answer again");
        let answer = message("assistant", "b");
        talk.messages.extend([user("a"), answer.clone()]);
        assert_eq!(
            talk.last_question().unwrap(),
            (user("a"), Some(answer.clone()))
        );
        assert_eq!(roles(&talk), ["system"]);
        talk.messages.extend([user("a"), answer]);
        talk.unanswered = Some(user("c"));
        assert_eq!(talk.last_question().unwrap(), (user("c"), None));
        assert_eq!(roles(&talk), ["system", "user", "assistant"]);
        // A file may begin with an answer.
        talk.messages = vec![message("assistant", "b")];
        talk.last_question().unwrap_err();
        assert_eq!(roles(&talk), ["assistant"]);
    }

    #[test]
    fn a_file_is_replaced_where_it_is_the_conversations_own() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("own"), folder.path().join("other"));
        let mut talk = Talk::new(None, Some("Be brief.".to_owned())).unwrap();
        let nameless = talk.save(None).unwrap_err().to_string();
        assert_eq!(nameless, "/save needs the name of a file");
        let saved = talk.save(Some(own.clone())).unwrap();
        assert_eq!(saved, format!("(1 message in {})", own.display()));
        talk.messages.push(user("a"));
        talk.save(None).unwrap();
        talk.save(Some(folder.path().join("./own"))).unwrap();
        std::fs::write(&other, "something else").unwrap();
        talk.save(Some(other.clone())).unwrap_err();
        // What cannot be loaded changes nothing.
        talk.load(&other).unwrap_err();
        assert_eq!(roles(&talk), ["system", "user"]);
        talk.save(None).unwrap();
        let loaded = Talk::new(Some(own), None).unwrap();
        assert_eq!(loaded.messages, talk.messages);
        assert_eq!(std::fs::read_to_string(other).unwrap(), "something else");
    }
}
