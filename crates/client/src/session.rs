//! One session of the pair: the front's half here, the back's at the other end of a stream, and
//! which tokens both hold.

use crate::client::{OpenAs, Opening, SplitClient};
use crate::clouds::Numerics;
use crate::error::{CloudError, SessionError};
use crate::link::{Answering, Link};
use crate::metrics::{BITS_PER_VALUE, ENCODE, FRONT_STEP, LINK, OUTLIERS, ROWS};
use crate::prefixes::{self, Remembered, SessionBeginnings};
use crate::prompt_trace::PromptTrace;
use crate::session_codecs::{SessionCodecs, WrittenRows};
use crate::stream::{SentBytes, SplitStream};
use crate::usage::Usage;
use std::time::{Duration, Instant};
use tandem_codec::Codec;
use tandem_engine::{
    Completed, EngineError, EngineSession, Frame, FrameCodec, Front, FrontOutput, FrontStep,
    MERGED_ROWS, PageName, Pending, Priority,
};
use tandem_model::{KvPage, PAGE_POSITIONS};
use tandem_proto::v1::{self, infer_request, infer_response};

mod resuming;

/// Token ids a message carries at split 0: as many rows as the cloud runs at once, so that another
/// session's decode row waits for no more.
const IDS_A_MESSAGE: usize = MERGED_ROWS;

/// An open session.
#[derive(Debug)]
pub struct Session {
    client: SplitClient,
    /// To the cloud that has its back.
    link: Link,
    /// How that computes.
    numerics: Numerics,
    /// What it is taken up with.
    again_as: v1::Open,
    /// How long the cloud keeps it when its stream broke.
    lease: Duration,
    /// Positions whose rows have arrived there for sure.
    arrived: usize,
    /// Counts its answer there.
    answering: Option<Answering>,
    /// `None` with split 0.
    front: Option<EngineSession<Front>>,
    stream: SplitStream,
    /// Tokens whose rows were sent, by position.
    tokens: Vec<u32>,
    /// Positions from 0 on whose ids the cloud knows.
    ids_known: usize,
    epoch: u32,
    context: usize,
    codecs: SessionCodecs,
    /// Rows computed so far.
    computed: usize,
    /// How they were written.
    written: WrittenRows,
    /// How rows are to be written that were written before.
    again: WrittenRows,
    /// About how large a frame may get.
    frame_bytes: usize,
    /// Whether ids go up beside the rows of the running answer.
    send_ids: bool,
    draining: bool,
    /// What it leaves to later sessions, where the cloud names its pages.
    beginnings: Option<SessionBeginnings>,
    /// The pages that the front has filled.
    front_pages: Vec<KvPage>,
    /// The pages that it begins with, until the cloud has said whether it has them.
    believed: Vec<Remembered>,
    /// How many of them the cloud has, where that is not all.
    begins_short: Option<usize>,
    /// Rows sent, and the bytes of their frames and ids.
    sent_rows: (u64, u64),
    /// What opening has cost: part of the first answer's usage.
    opening: SentBytes,
    usage: Usage,
    last_sent: Instant,
    /// The decode row whose token is waited for.
    row: Option<SentRow>,
    /// Of the running answer, until its first token.
    trace: PromptTrace,
}

/// A decode row on its way.
#[derive(Debug, Clone, Copy)]
struct SentRow {
    codec: Codec,
    frame: usize,
    /// Nothing of a prompt was on the way with it.
    alone: bool,
    /// Front layers and encoding, waiting for them included.
    computed: Duration,
}

/// A row being computed.
#[derive(Debug)]
pub struct PendingRow {
    id: u32,
    front: Option<Computing>,
}

/// Rows being computed and written.
#[derive(Debug)]
struct Computing {
    codec: Codec,
    output: Pending<FrontOutput>,
}

impl Session {
    /// A session with a cloud that has described itself. Does not wait for it.
    pub(crate) fn open(
        client: SplitClient,
        front: Option<EngineSession<Front>>,
        opening: Opening<'_>,
        (codecs, answering): (SessionCodecs, Answering),
        (beginnings, begun): (Option<SessionBeginnings>, Vec<Remembered>),
    ) -> Self {
        let names = begun.iter().map(|page| page.name.0.to_vec()).collect();
        let id = rand::random();
        let open_as = OpenAs { id, resume: None };
        let open = client.open_message(opening, &codecs, names, open_as);
        let link = opening.cloud.link.clone();
        let (stream, opening_bytes) = SplitStream::open(&link, open.clone());
        let frame_bytes = client.limits().frame_bytes;
        let mut written = WrittenRows::default();
        for (number, page) in begun.iter().enumerate() {
            written.note(number * PAGE_POSITIONS, PAGE_POSITIONS, page.codec);
        }
        let has = begun.len() * PAGE_POSITIONS;
        Self {
            front,
            stream,
            tokens: opening.tokens[..has].to_vec(),
            // Where ids go up instead of rows, they are known with the pages.
            ids_known: if client.front().engine.is_none() {
                has
            } else {
                0
            },
            epoch: 0,
            context: opening.context,
            codecs,
            computed: has,
            written,
            again: WrittenRows::default(),
            beginnings,
            front_pages: begun.iter().filter_map(|page| page.front.clone()).collect(),
            believed: begun,
            begins_short: None,
            sent_rows: (0, 0),
            frame_bytes: frame_bytes.min(opening.cloud.described.max_frame_bytes as usize),
            send_ids: false,
            draining: false,
            opening: opening_bytes,
            usage: Usage::default(),
            last_sent: Instant::now(),
            row: None,
            trace: PromptTrace::default(),
            numerics: Numerics::of(&opening.cloud.described),
            again_as: v1::Open {
                page_names: Vec::new(),
                profile_fingerprint: Vec::new(),
                profile: Vec::new(),
                ..open.clone()
            },
            lease: Duration::ZERO,
            arrived: has,
            answering: Some(answering),
            link,
            client,
        }
    }

    /// Tokens both halves hold, by position.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The most positions.
    pub fn context(&self) -> usize {
        self.context
    }

    /// What the running answer has cost.
    pub fn usage(&self) -> Usage {
        Usage {
            down: self.stream.down_bytes() - self.usage.down,
            ..self.usage
        }
    }

    /// Whether the session can serve another answer: its stream lives and the cloud stays.
    pub fn is_reusable(&mut self) -> bool {
        while !self.draining {
            match self.stream.receive_now() {
                Ok(None) => return true,
                Ok(Some(message)) if self.note(&message).is_ok() => {}
                Ok(Some(_)) | Err(_) => return false,
            }
        }
        false
    }

    /// The link to the cloud that has its back.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// How its cloud computes.
    pub(crate) fn numerics(&self) -> &Numerics {
        &self.numerics
    }

    /// Whether the cloud will stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether rows can be written as they were written in another session.
    pub(crate) fn can_write(&self, written: &WrittenRows) -> bool {
        self.front.is_none() || written.codecs().all(|codec| self.codecs.can_write(codec))
    }

    /// Writes rows as they were written in another session, as far as that went.
    pub(crate) fn write_as(&mut self, written: WrittenRows) {
        self.again = written;
    }

    /// How its rows were written, or are to be.
    pub(crate) fn written(&self) -> &WrittenRows {
        if self.written.len() < self.again.len() {
            &self.again
        } else {
            &self.written
        }
    }

    /// Begins an answer that keeps the first `kept` tokens of what the session holds, and says in
    /// `trace` what happens until its first token.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub async fn begin(
        &mut self,
        kept: usize,
        run: v1::Run,
        send_ids: bool,
        trace: PromptTrace,
    ) -> Result<(), SessionError> {
        self.trace = trace;
        self.usage = Usage {
            down: self.stream.down_bytes(),
            ..Usage::default()
        };
        let opening = std::mem::take(&mut self.opening);
        self.count(opening);
        self.send_ids = send_ids;
        self.row = None;
        if kept < self.tokens.len() {
            self.epoch += 1;
            let truncate = v1::Truncate {
                epoch: self.epoch,
                position: position(kept),
            };
            self.send(infer_request::Message::Truncate(truncate))
                .await?;
        }
        self.run_from(kept, run).await
    }

    /// Begins the answer once more, with what the cloud has of the pages that the session was to begin with. The cloud
    /// has dropped everything behind [`Session::begin`].
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) async fn begin_short(&mut self, run: v1::Run) -> Result<(), SessionError> {
        self.stream.forget_sent();
        self.epoch = 1;
        if self.front.is_some() {
            self.ids_known = 0;
        }
        self.row = None;
        let held = self.begins_short.take().unwrap_or_default();
        self.run_from(held * PAGE_POSITIONS, run).await
    }

    /// Whether the cloud has fewer pages than the session was to begin with; then it drops what is sent until
    /// [`Session::begin_short`].
    ///
    /// # Errors
    /// Why the stream has ended.
    fn has_begun_short(&mut self) -> Result<bool, SessionError> {
        while !self.believed.is_empty()
            && let Some(message) = self.stream.receive_now()?
        {
            self.note(&message)?;
        }
        Ok(self.begins_short.is_some())
    }

    /// Sends what an answer runs by, behind the first `kept` tokens.
    async fn run_from(&mut self, kept: usize, mut run: v1::Run) -> Result<(), SessionError> {
        self.tokens.truncate(kept);
        self.arrived = self.arrived.min(kept);
        self.ids_known = self.ids_known.min(kept);
        self.computed = kept;
        self.written.truncate(kept);
        self.front_pages.truncate(kept / PAGE_POSITIONS);
        if let Some(beginnings) = &mut self.beginnings {
            beginnings.truncate(kept);
        }
        // The front may be a token ahead of what was sent: an answer that a stop string ended.
        if let Some(front) = &self.front {
            let step = FrontStep::Truncate { position: kept };
            front.run(Priority::Decode, step).await?;
        }
        run.epoch = self.epoch;
        if self.send_ids && self.ids_known < kept {
            run.history_token_ids = self.tokens.clone();
            self.ids_known = kept;
        }
        self.answering.get_or_insert_with(|| self.link.answering());
        self.send(infer_request::Message::Run(run)).await
    }

    /// Sends the rows of `prompt` behind what the session holds, wanting a token after the last.
    /// Chunks are computed while earlier ones are on their way.
    ///
    /// # Errors
    /// When a step fails, or why the stream has ended.
    pub async fn prompt(&mut self, prompt: &[u32]) -> Result<(), SessionError> {
        if self.front.is_none() {
            return self.prompt_ids(prompt).await;
        }
        let mut behind = prompt;
        let mut computing = self.compute_chunk(&mut behind).await?;
        while let Some((chunk, pending)) = computing.take() {
            let codec = pending.codec;
            let output = self.computed(pending, chunk.len()).await?.output;
            let last = behind.is_empty();
            if self.has_begun_short()? {
                return Ok(());
            }
            computing = self.compute_chunk(&mut behind).await?;
            let mut rest = chunk;
            let mut frames = output.frames.into_iter().peekable();
            while let Some(frame) = frames.next() {
                let (tokens, behind) = rest.split_at(frame.rows);
                rest = behind;
                let want = last && frames.peek().is_none();
                let paced = prompt.len() > 1;
                self.send_frame(frame, codec, tokens, want, paced).await?;
                if self.begins_short.is_some() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Begins to compute the next tokens of a prompt, where there are any: as many as one codec is for.
    async fn compute_chunk<'p>(
        &mut self,
        prompt: &mut &'p [u32],
    ) -> Result<Option<(&'p [u32], Computing)>, SessionError> {
        let mut rows = self.client.limits().chunk_rows.min(prompt.len());
        if let Some((_, end)) = self.again.at(self.computed) {
            rows = rows.min(end - self.computed);
        }
        let (chunk, behind) = prompt.split_at(rows);
        *prompt = behind;
        if chunk.is_empty() {
            return Ok(None);
        }
        Ok(Some((chunk, self.compute(chunk).await?)))
    }

    async fn prompt_ids(&mut self, prompt: &[u32]) -> Result<(), SessionError> {
        let messages = prompt.chunks(IDS_A_MESSAGE).count();
        for (number, chunk) in prompt.chunks(IDS_A_MESSAGE).enumerate() {
            let rows = v1::Rows {
                epoch: self.epoch,
                start: position(self.tokens.len()),
                count: position(chunk.len()),
                token_ids: chunk.to_vec(),
                want: want(number + 1 == messages),
                ..v1::Rows::default()
            };
            // They are written in none; all are alike.
            let (start, codec) = (self.tokens.len(), FrameCodec::default());
            self.written.note(start, chunk.len(), codec);
            self.sent(chunk);
            self.send(infer_request::Message::Rows(rows)).await?;
        }
        Ok(())
    }

    /// Begins to compute the row of a sampled token.
    ///
    /// # Errors
    /// When the engine is gone.
    pub async fn begin_row(&mut self, id: u32) -> Result<PendingRow, SessionError> {
        let front = match &self.front {
            Some(_) => {
                // The link is idle until the row is computed.
                if self.link.uplink().load().0 == 0
                    && let Some(ping) = self.link.choice().ping()
                {
                    let bytes = self.stream.send(infer_request::Message::Ping(ping)).await?;
                    self.count(bytes);
                }
                Some(self.compute(&[id]).await?)
            }
            None => None,
        };
        Ok(PendingRow { id, front })
    }

    /// Sends that row, wanting the next token.
    ///
    /// # Errors
    /// When the step fails, or why the stream has ended.
    pub async fn send_row(&mut self, row: PendingRow) -> Result<(), SessionError> {
        let Some(pending) = row.front else {
            return self.prompt_ids(&[row.id]).await;
        };
        let codec = pending.codec;
        let completed = self.computed(pending, 1).await?;
        let computed = completed.queue + completed.compute;
        for frame in completed.output.frames {
            self.row = Some(SentRow {
                codec,
                frame: frame.bytes.len(),
                alone: self.link.uplink().load().0 == 0,
                computed,
            });
            self.send_frame(frame, codec, &[row.id], true, false)
                .await?;
        }
        Ok(())
    }

    /// Ends an answer that the cloud does not know to have ended: a stop string's. What both
    /// halves hold stays; only the run is over.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub async fn end_early(&mut self) -> Result<(), SessionError> {
        self.answering = None;
        self.epoch += 1;
        let truncate = v1::Truncate {
            epoch: self.epoch,
            position: position(self.tokens.len()),
        };
        self.send(infer_request::Message::Truncate(truncate)).await
    }

    /// Waits for the next token.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub async fn token(&mut self) -> Result<v1::Tokens, SessionError> {
        // Behind its first token a session does not begin again.
        let token = self.first_token().await?;
        token.ok_or_else(|| CloudError::Gone.into())
    }

    /// Waits for the token behind a prompt. `None` where the session has to [begin again](Session::begin_short).
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) async fn first_token(&mut self) -> Result<Option<v1::Tokens>, SessionError> {
        loop {
            if self.begins_short.is_some() {
                return Ok(None);
            }
            match self.stream.receive().await? {
                infer_response::Message::Tokens(tokens) if tokens.epoch == self.epoch => {
                    self.check_asked(&tokens)?;
                    let (queue, compute) = durations(&tokens);
                    self.usage.cloud_queue += queue;
                    self.usage.cloud_compute += compute;
                    self.arrived = tokens.position as usize;
                    if tokens.finish_reason != i32::from(v1::FinishReason::Unspecified) {
                        self.answering = None;
                    }
                    self.link.note_load(|load| {
                        load.token(queue + compute);
                        tokens.load.iter().for_each(|now| load.said(now, 0));
                    });
                    let link = self.last_sent.elapsed().saturating_sub(queue + compute);
                    LINK.histogram(&[]).record(link);
                    self.usage.link += link;
                    self.trace.token(link, &self.usage);
                    if let Some(row) = self.row.take().filter(|row| row.alone) {
                        let computed = row.computed + queue + compute;
                        self.link
                            .choice()
                            .row_answered(row.codec, row.frame, link, computed);
                    }
                    return Ok(Some(tokens));
                }
                other => self.note(&other)?,
            }
        }
    }

    /// One token comes behind each row that wants one.
    fn check_asked(&self, tokens: &v1::Tokens) -> Result<(), CloudError> {
        let (asked, vocabulary) = (self.tokens.len(), self.client.front().config.vocabulary);
        let problem = match tokens.ids[..] {
            _ if tokens.position as usize != asked => {
                format!("a token of position {}, not {asked}", tokens.position)
            }
            [id] if id as usize >= vocabulary => {
                format!("token {id}, where there are {vocabulary}")
            }
            [_] if tokens.logprobs.len() <= 1 => return Ok(()),
            _ => format!("{} tokens behind one row", tokens.ids.len()),
        };
        Err(CloudError::Unasked { problem })
    }

    async fn compute(&mut self, tokens: &[u32]) -> Result<Computing, SessionError> {
        let start = self.computed;
        let allowed = self.link.choice().step();
        let frame_codec = self.codecs.of_row(&self.again, start, allowed);
        self.written.note(start, tokens.len(), frame_codec);
        self.computed += tokens.len();
        let Some(front) = &self.front else {
            return Err(EngineError::SessionGone.into());
        };
        let priority = match tokens.len() {
            1 => Priority::Decode,
            _ => Priority::Prefill,
        };
        let step = FrontStep::Tokens {
            tokens: tokens.to_vec(),
            codec: frame_codec,
            frame_bytes: self.frame_bytes,
        };
        let output = front.submit(priority, step).await?;
        Ok(Computing {
            codec: frame_codec.codec,
            output,
        })
    }

    async fn computed(
        &mut self,
        pending: Computing,
        rows: usize,
    ) -> Result<Completed<FrontOutput>, SessionError> {
        let stream = &mut self.stream;
        let result = tokio::select! {
            result = pending.output => result.unwrap_or(Err(EngineError::SessionGone)),
            error = stream.failed() => return Err(error.into()),
        };
        let mut completed = result?;
        self.front_pages.append(&mut completed.output.pages);
        self.usage.edge_compute += completed.compute;
        self.usage.encode += completed.output.encode;
        self.trace.chunk(rows, &completed);
        FRONT_STEP
            .histogram(&[phase(rows)])
            .record(completed.compute);
        ENCODE
            .histogram(&[phase(rows)])
            .record(completed.output.encode);
        Ok(completed)
    }

    /// Sends a frame of the rows of `tokens`. A paced one waits for its turn on the link.
    async fn send_frame(
        &mut self,
        frame: Frame,
        codec: Codec,
        tokens: &[u32],
        wanted: bool,
        paced: bool,
    ) -> Result<(), SessionError> {
        let values = frame.rows * self.client.front().config.hidden;
        BITS_PER_VALUE
            .histogram(&[])
            .record(8.0 * frame.bytes.len() as f64 / values as f64);
        OUTLIERS
            .histogram(&[])
            .record(frame.outliers as f64 / values as f64);
        ROWS.histogram(&[phase(frame.rows)])
            .record(frame.rows as f64);
        let rows = v1::Rows {
            epoch: self.epoch,
            start: position(frame.start),
            // 0 means 1, and costs nothing.
            count: match frame.rows {
                1 => 0,
                rows => position(rows),
            },
            token_ids: if self.send_ids {
                tokens.to_vec()
            } else {
                Vec::new()
            },
            want: want(wanted),
            crc32c: crc32c::crc32c(&frame.bytes),
            frame: frame.bytes,
        };
        self.usage.add_rows(codec, frame.rows, rows.frame.len());
        self.sent(tokens);
        if !paced {
            return self.send(infer_request::Message::Rows(rows)).await;
        }
        let uplink = self.link.uplink().clone();
        let acquired = uplink.acquire(rows.frame.len());
        tokio::pin!(acquired);
        let permit = loop {
            // A cloud that drops what is sent acknowledges nothing, so its word is heard while there is no permit.
            let message = if self.believed.is_empty() {
                tokio::select! {
                    permit = &mut acquired => break permit,
                    error = self.stream.failed() => return Err(error.into()),
                }
            } else {
                tokio::select! {
                    permit = &mut acquired => break permit,
                    message = self.stream.receive() => message?,
                }
            };
            self.note(&message)?;
            if self.begins_short.is_some() {
                return Ok(());
            }
        };
        let permit = permit.ok_or(EngineError::Stopped)?;
        self.last_sent = Instant::now();
        let bytes = self.stream.send_paced(rows, permit).await?;
        self.count(bytes);
        Ok(())
    }

    /// Takes note of tokens whose rows go up, in the order of their positions.
    fn sent(&mut self, tokens: &[u32]) {
        self.trace.sent();
        self.sent_rows.0 += tokens.len() as u64;
        let ids_go_up = self.send_ids || self.front.is_none();
        if ids_go_up && self.ids_known == self.tokens.len() {
            self.ids_known += tokens.len();
        }
        self.tokens.extend_from_slice(tokens);
    }

    async fn send(&mut self, message: infer_request::Message) -> Result<(), SessionError> {
        self.last_sent = Instant::now();
        let bytes = self.stream.send(message).await?;
        self.count(bytes);
        Ok(())
    }

    fn count(&mut self, bytes: SentBytes) {
        self.usage.up += bytes.total;
        self.usage.frame += bytes.frame;
        self.usage.token_ids += bytes.token_ids;
        self.sent_rows.1 += bytes.frame + bytes.token_ids;
    }

    fn note(&mut self, message: &infer_response::Message) -> Result<(), SessionError> {
        match message {
            infer_response::Message::Draining(_) => {
                self.draining = true;
                self.link.forget();
            }
            infer_response::Message::Granted(granted) => {
                self.frame_bytes = granted_frame(granted, self.context, self.frame_bytes)?;
                self.lease = Duration::from_millis(granted.lease_millis);
                if let Some(load) = &granted.load {
                    self.link.note_load(|known| known.said(load, 1));
                }
                let believed = std::mem::take(&mut self.believed);
                let held = believed.len().min(granted.pages as usize);
                prefixes::count(&believed, held);
                if held < believed.len() {
                    self.arrived = held * PAGE_POSITIONS;
                    self.begins_short = Some(held);
                    if let Some(beginnings) = &mut self.beginnings {
                        beginnings.forget(held);
                    }
                }
            }
            infer_response::Message::Pages(pages) if pages.epoch == self.epoch => {
                self.note_pages(pages);
            }
            _ => {}
        }
        Ok(())
    }

    /// Remembers the names of pages for later sessions.
    fn note_pages(&mut self, pages: &v1::Pages) {
        let Some(beginnings) = &mut self.beginnings else {
            return;
        };
        let name = |bytes: &Vec<u8>| <[u8; 16]>::try_from(bytes.as_slice()).map(PageName);
        let Ok(names) = pages.names.iter().map(name).collect::<Result<Vec<_>, _>>() else {
            tracing::warn!("the cloud names pages as no cloud does");
            return;
        };
        let (rows, bytes) = self.sent_rows;
        let page_row_bytes = bytes * PAGE_POSITIONS as u64 / rows.max(1);
        beginnings.keep(
            (&self.tokens, &self.written),
            pages.first as usize,
            &names,
            (&self.front_pages, page_row_bytes),
            self.client.front().page_bytes.unwrap_or_default(),
        );
    }
}

/// How large frames may get in a session that was opened for `context` positions and frames of
/// `frame_bytes`. Frames that were too large are refused by the cloud itself; later ones need not
/// be.
fn granted_frame(
    granted: &v1::Granted,
    context: usize,
    frame_bytes: usize,
) -> Result<usize, CloudError> {
    if (granted.context as usize) < context {
        return Err(CloudError::GrantedLess {
            granted: granted.context as usize,
            context,
        });
    }
    Ok(frame_bytes.min(granted.max_frame_bytes as usize))
}

fn durations(tokens: &v1::Tokens) -> (Duration, Duration) {
    (
        Duration::from_micros(u64::from(tokens.queue_micros)),
        Duration::from_micros(u64::from(tokens.compute_micros)),
    )
}

fn position(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn want(token: bool) -> i32 {
    if token {
        v1::Want::Token.into()
    } else {
        v1::Want::Unspecified.into()
    }
}

fn phase(rows: usize) -> &'static str {
    match rows {
        1 => "decode",
        _ => "prefill",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_was_described_is_noticed() {
        let granted = v1::Granted {
            context: 100,
            max_frame_bytes: 1 << 14,
            ..v1::Granted::default()
        };
        assert_eq!(granted_frame(&granted, 100, 1 << 18).unwrap(), 1 << 14);
        assert_eq!(granted_frame(&granted, 50, 1 << 12).unwrap(), 1 << 12);
        let error = granted_frame(&granted, 101, 1 << 14).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the cloud grants 100 positions; it described itself with 101 or more"
        );
    }
}
