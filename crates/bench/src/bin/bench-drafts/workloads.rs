//! What is asked: questions, and texts to be made into other ones.

use crate::Arguments;
use anyhow::{Context as _, Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use std::fmt;
use std::fs;
use tandem_proto::v1::{self, SamplingParameters};
use tandem_tests::client::message;
use tandem_tests::paths::workspace;

/// Source files of this project whose functions are edited.
const SOURCES: [&str; 4] = [
    "crates/codec/src/bits.rs",
    "crates/codec/src/rounding.rs",
    "crates/shape/src/layer_range.rs",
    "crates/engine/src/scheduler.rs",
];
/// Characters of a text to be summarised or rewritten.
const TEXT: std::ops::Range<usize> = 500..1100;
/// Lines of code to be edited.
const CODE_LINES: usize = 24;

/// A kind of request.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Questions of MT-bench
    Chat,
    /// MT-bench's questions about programs
    Code,
    /// A paragraph in two sentences
    Summarise,
    /// A paragraph with its mistakes mended
    Rewrite,
    /// Code with a name changed
    CodeEdit,
    /// Words without a meaning, to go on with
    Random,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chat => "chat",
            Self::Code => "code",
            Self::Summarise => "summarise",
            Self::Rewrite => "rewrite",
            Self::CodeEdit => "code edit",
            Self::Random => "random words",
        })
    }
}

impl Workload {
    /// The requests of this kind, always the same ones.
    pub(crate) fn requests(self, arguments: &Arguments) -> Result<Vec<v1::ChatRequest>> {
        let prompts = self.prompts(arguments)?;
        ensure!(
            prompts.len() >= arguments.requests,
            "{self}: {} requests can be made",
            prompts.len()
        );
        let every = prompts.len() / arguments.requests;
        let chosen = prompts.into_iter().step_by(every).take(arguments.requests);
        Ok(chosen
            .enumerate()
            .map(|(number, prompt)| request(number, &prompt, arguments))
            .collect())
    }

    fn prompts(self, arguments: &Arguments) -> Result<Vec<String>> {
        let paragraphs = || -> Result<Vec<String>> {
            let text = arguments.text.as_ref();
            let text = text.with_context(|| format!("{self} needs --text"))?;
            let text = fs::read_to_string(text)?;
            let paragraphs = text.lines().map(str::trim);
            let fitting = paragraphs.filter(|paragraph| TEXT.contains(&paragraph.len()));
            Ok(fitting.map(str::to_owned).collect())
        };
        let of_each = |order: &str, texts: Vec<String>| {
            texts
                .into_iter()
                .map(|text| format!("{order}\n\n{text}"))
                .collect()
        };
        Ok(match self {
            Self::Chat | Self::Code => {
                let questions = arguments.questions.as_ref();
                let questions = questions.with_context(|| format!("{self} needs --questions"))?;
                let category = matches!(self, Self::Code).then_some("coding");
                questions_of(&fs::read_to_string(questions)?, category)?
            }
            Self::Summarise => of_each("Summarise this text in two sentences:", paragraphs()?),
            Self::Rewrite => of_each(
                "Correct spelling and punctuation of this text, and change nothing else:",
                paragraphs()?,
            ),
            Self::CodeEdit => of_each(
                "Rename the variable `rows` to `lines` wherever it occurs, and `count` to `number`. Answer with the whole code.",
                code()?,
            ),
            Self::Random => (0..40).map(random_words).collect(),
        })
    }
}

/// The first turns of all questions, or of those of one category.
fn questions_of(lines: &str, category: Option<&str>) -> Result<Vec<String>> {
    let mut questions = Vec::new();
    for line in lines.lines() {
        let question: serde_json::Value = serde_json::from_str(line)?;
        if category.is_none_or(|category| question["category"] == category) {
            let first = question["turns"][0].as_str();
            questions.push(first.context("a question has turns")?.to_owned());
        }
    }
    Ok(questions)
}

/// Pieces of this project's own source.
fn code() -> Result<Vec<String>> {
    let mut pieces = Vec::new();
    for source in SOURCES {
        let text = fs::read_to_string(workspace().join(source))?;
        let lines: Vec<&str> = text.lines().collect();
        pieces.extend(lines.chunks(CODE_LINES).map(|lines| lines.join("\n")));
    }
    Ok(pieces)
}

/// Words that nobody says in this order.
fn random_words(number: u64) -> String {
    const WORDS: [&str; 16] = [
        "anchor", "velvet", "quartz", "lantern", "moss", "copper", "ladder", "plum", "whistle",
        "fjord", "candle", "saddle", "orbit", "pepper", "tunnel", "glacier",
    ];
    let mut random = SmallRng::seed_from_u64(number);
    let words: Vec<&str> = (0..40)
        .map(|_| WORDS[random.random_range(..WORDS.len())])
        .collect();
    format!("Go on with these words: {}", words.join(" "))
}

fn request(number: usize, prompt: &str, arguments: &Arguments) -> v1::ChatRequest {
    v1::ChatRequest {
        messages: vec![message("user", prompt)],
        sampling: Some(SamplingParameters {
            temperature: Some(arguments.temperature),
            seed: Some(number as u64),
            ..SamplingParameters::default()
        }),
        max_tokens: Some(arguments.tokens),
        ..v1::ChatRequest::default()
    }
}
