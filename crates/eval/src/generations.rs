//! `tandem-eval generations`: how long greedy text stays the same when rows are compressed.
//!
//! An answer is generated with exact rows. As long as a codec's predictions agree, its own run would
//! have the same tokens and so the same rows: they are sent its way too, until it would have
//! chosen otherwise.

use crate::cli::GenerationsArgs;
use crate::cut::{Crossing, Cut, Reference};
use crate::divergence::likeliest;
use crate::error::{EvalError, Result};
use crate::pipeline::Framing;
use crate::precision::{PrecisionReport, Sides};
use crate::prompts;
use crate::summary::Summary;
use serde::Serialize;
use std::fmt;
use tandem_model::ComputeThread;
use tandem_program::progress::Progress;
use tandem_text::{ChatMessage, ChatTemplate, RenderOptions, Tokenizer};

/// What `generations --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Layers of the front.
    pub split: usize,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub precision: PrecisionReport,
    /// Prompts answered.
    pub prompts: usize,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// Tokens of all exact answers.
    pub tokens: usize,
    /// Codec by codec.
    pub codecs: Vec<CodecReport>,
}

/// How far one codec's answers are the exact ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodecReport {
    /// Its name.
    pub codec: String,
    /// Whether by a profile calibrated for this cut.
    pub calibrated: bool,
    /// Answers that are the same to their end.
    pub same: usize,
    /// Tokens before the first that differs, or all of an answer that is the same.
    pub tokens_until_difference: Summary,
    /// These tokens by prompt.
    pub by_prompt: Vec<usize>,
}

/// Generates and compares on this thread.
///
/// # Errors
/// When model or prompts cannot be read, a prompt is longer than the context, or the model fails.
pub fn generations(args: &GenerationsArgs) -> Result<Report> {
    let tokenizer = Tokenizer::load(&args.model.model)?;
    let template = ChatTemplate::load(&args.model.model)?;
    let prompts = prompts::read(&args.prompts, args.count.get())?;
    let max_tokens = args.max_tokens.get();
    let ids = prompts
        .iter()
        .map(|prompt| {
            let messages = [ChatMessage::new("user", prompt)];
            let text = template.render(&messages, &RenderOptions::default())?;
            Ok(tokenizer.encode(&text, false)?)
        })
        .collect::<Result<Vec<_>>>()?;
    let longest = ids.iter().map(Vec::len).max().unwrap_or(0);

    let _computing = ComputeThread::begin(args.model.threads());
    let sides = Sides::open(&args.model, &args.precision)?;
    let profile = sides.profile(args.split);
    let at = (args.split, longest + max_tokens);
    let mut cut = Cut::load(&sides, Reference::Exact, at)?;
    let mut crossings = args
        .codec
        .iter()
        .map(|&codec| cut.crossing(codec, profile.as_ref(), Framing::Prefill))
        .collect::<Result<Vec<_>>>()?;
    let mut agreed = vec![Vec::new(); crossings.len()];
    let (mut tokens, mut same) = (0, vec![0; crossings.len()]);
    let mut progress = Progress::new("prompt", ids.len(), ids.len());
    for (number, prompt) in ids.iter().enumerate() {
        let end = tokenizer.eos_token_ids();
        let answer = answer(&mut cut, &mut crossings, (number, prompt), max_tokens, end)?;
        tokens += answer.length;
        for (crossing, &found) in answer.agreed.iter().enumerate() {
            agreed[crossing].push(found.unwrap_or(answer.length));
            same[crossing] += usize::from(found.is_none());
        }
        progress.advance(&format!("{} tokens", answer.length));
    }
    let codecs = crossings.iter().zip(agreed).zip(same);
    Ok(Report {
        split: args.split,
        precision: sides.report(),
        prompts: ids.len(),
        max_tokens,
        tokens,
        codecs: codecs
            .map(|((crossing, by_prompt), same)| CodecReport {
                codec: crossing.codec().to_string(),
                calibrated: crossing.is_calibrated(),
                same,
                tokens_until_difference: Summary::of(
                    &by_prompt.iter().map(|&n| n as f64).collect::<Vec<_>>(),
                ),
                by_prompt,
            })
            .collect(),
    })
}

/// One exact answer, and how many of its tokens each way agrees on; `None` for all.
struct Answer {
    length: usize,
    agreed: Vec<Option<usize>>,
}

fn answer(
    cut: &mut Cut,
    crossings: &mut [Crossing],
    (number, prompt): (usize, &[u32]),
    max_tokens: usize,
    end: &[u32],
) -> Result<Answer> {
    cut.restart(crossings)?;
    let mut answer = Answer {
        length: 0,
        agreed: vec![None; crossings.len()],
    };
    let mut rows = cut.append(prompt)?;
    loop {
        let exact = cut.exact_logits(&rows, 1)?;
        let token = likeliest(&exact);
        if !exact[token].is_finite() {
            return Err(EvalError::NotFinite {
                chunk: number,
                position: prompt.len() + answer.length - 1,
            });
        }
        let agreeing = crossings.iter_mut().zip(&mut answer.agreed);
        for (crossing, agreed) in agreeing.filter(|(_, agreed)| agreed.is_none()) {
            if likeliest(&cut.logits(crossing, &rows, 1)?) != token {
                *agreed = Some(answer.length);
            }
        }
        answer.length += 1;
        let token = token as u32;
        if answer.length == max_tokens || end.contains(&token) {
            return Ok(answer);
        }
        rows = cut.append(&[token])?;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} answers of at most {} tokens, {} in all, cut after layer {}, {}\n",
            self.prompts, self.max_tokens, self.tokens, self.split, self.precision
        )?;
        writeln!(
            f,
            "| codec | the same to the end | tokens until the first difference, median | least | mean |"
        )?;
        write!(f, "| --- | --- | --- | --- | --- |")?;
        for codec in &self.codecs {
            let note = if codec.calibrated {
                ""
            } else {
                ", not calibrated"
            };
            let tokens = codec.tokens_until_difference;
            let mean = codec.by_prompt.iter().sum::<usize>() as f64 / self.prompts.max(1) as f64;
            write!(
                f,
                "\n| {}{note} | {} of {} | {} | {} | {mean:.1} |",
                codec.codec, codec.same, self.prompts, tokens.median, tokens.min
            )?;
        }
        Ok(())
    }
}
