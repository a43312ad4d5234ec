//! One timed answer through the engine threads: a prompt in chunks, then tokens one by one.

use crate::error::{EvalError, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_codec::Profile;
use tandem_engine::sampler::SamplingParameters;
use tandem_engine::{
    Back, BackOpen, BackStep, Engine, EngineSession, FrameCodec, Front, FrontOpen, FrontStep,
    Priority, RowsInput, RowsStep, RunRequest, Want,
};

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// The prompt.
    pub prompt: &'a [u32],
    /// Rows of its chunks.
    pub chunk: usize,
    /// Tokens to decode.
    pub decode_tokens: usize,
}

/// A front to run before the back.
#[derive(Debug, Clone, Copy)]
pub struct FrontOf<'a> {
    /// Its engine.
    pub engine: &'a Engine<Front>,
    /// Its layers.
    pub split: usize,
    /// How its rows are encoded.
    pub codec: FrameCodec,
    /// The profile of calibrated frames.
    pub profile: Option<&'a Arc<Profile>>,
}

/// Time of a phase, and of its parts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phase {
    /// From the first step's submission to the last token.
    pub total: Duration,
    /// In the front's steps.
    pub front: Duration,
    /// In the back's steps.
    pub back: Duration,
}

/// One measured answer.
#[derive(Debug, Clone, Copy)]
pub struct Timed {
    /// The prompt, to the first token.
    pub prefill: Phase,
    /// All tokens behind the first.
    pub decode: Phase,
}

/// Runs one answer in sessions of its own.
///
/// # Errors
/// When a step fails.
pub async fn run(load: Load<'_>, back: &Engine<Back>, front: Option<FrontOf<'_>>) -> Result<Timed> {
    let context = load.prompt.len() + load.decode_tokens + 1;
    let split = front.map_or(0, |f| f.split);
    let open = BackOpen {
        split,
        context,
        profile: front.and_then(|f| f.profile.cloned()),
        ..BackOpen::default()
    };
    let mut sessions = Sessions {
        back: back.open(open).await?,
        front: match front {
            Some(front) => Some((
                front.engine.open(FrontOpen::new(context)).await?,
                front.codec,
            )),
            None => None,
        },
        position: 0,
    };
    let request = RunRequest {
        parameters: SamplingParameters::default(),
        ..RunRequest::default()
    };
    let begin = BackStep::Run(Box::new(request));
    sessions.back.run(Priority::Decode, begin).await?;

    let mut prefill = Phase::default();
    let mut token = None;
    let start = Instant::now();
    let chunks = load.prompt.chunks(load.chunk);
    let last = chunks.len() - 1;
    for (number, chunk) in chunks.enumerate() {
        let priority = Priority::Prefill;
        token = sessions
            .step(chunk, priority, number == last, &mut prefill)
            .await?;
    }
    prefill.total = start.elapsed();

    let mut decode = Phase::default();
    let start = Instant::now();
    for _ in 0..load.decode_tokens {
        let position = sessions.position;
        let id = token.ok_or(EvalError::NoToken { position })?;
        token = sessions
            .step(&[id], Priority::Decode, true, &mut decode)
            .await?;
    }
    decode.total = start.elapsed();
    Ok(Timed { prefill, decode })
}

struct Sessions {
    front: Option<(EngineSession<Front>, FrameCodec)>,
    back: EngineSession<Back>,
    position: usize,
}

impl Sessions {
    async fn step(
        &mut self,
        tokens: &[u32],
        priority: Priority,
        want: bool,
        phase: &mut Phase,
    ) -> Result<Option<u32>> {
        let input = match &self.front {
            None => RowsInput::Tokens(tokens.to_vec()),
            Some((front, codec)) => {
                let step = FrontStep::Tokens {
                    tokens: tokens.to_vec(),
                    codec: *codec,
                    frame_bytes: 256 << 10,
                };
                let done = front.run(priority, step).await?;
                phase.front += done.compute;
                RowsInput::Frames(done.output.frames.into_iter().map(|f| f.bytes).collect())
            }
        };
        let step = BackStep::Rows(RowsStep {
            epoch: 0,
            start: self.position,
            count: tokens.len(),
            skip: 0,
            input,
            token_ids: Vec::new(),
            want: Want::last(want),
            room: None,
        });
        let done = self.back.run(priority, step).await?;
        phase.back += done.compute;
        self.position += tokens.len();
        Ok(done.output.tokens.first().map(|token| token.id))
    }
}
