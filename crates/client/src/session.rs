//! One session of the pair: the front's half here, the back's at the other end of a stream, and
//! which tokens both hold.

use crate::client::{OpenAs, Opening, SplitClient};
use crate::clouds::Numerics;
use crate::edge_ledger::{EdgeLedger, Took};
use crate::error::{CloudError, SessionError};
use crate::link::{Answering, Link};
use crate::metrics::{BITS_PER_VALUE, ENCODE, FRONT_STEP, LINK, OUTLIERS, ROUND_TRIP_TOKENS, ROWS};
use crate::prefixes::{self, Remembered, SessionBeginnings};
use crate::prompt_trace::PromptTrace;
use crate::session_codecs::{SessionCodecs, WrittenRows};
use crate::stream::{SentBytes, SplitStream};
use crate::usage::Usage;
use std::collections::VecDeque;
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
    /// Counts its answer there.
    answering: Option<Answering>,
    /// `None` with split 0.
    front: Option<EngineSession<Front>>,
    stream: SplitStream,
    ledger: EdgeLedger,
    /// Positions from 0 on whose ids the cloud knows.
    ids_known: usize,
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
    /// Whether rows may be of drafts.
    can_draft: bool,
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
    /// The messages of an answer whose tokens are waited for.
    sent: VecDeque<SentRows>,
    /// Of the running answer, until its first token.
    trace: PromptTrace,
}

/// A message of an answer on its way: the row of a token, and those of drafts.
#[derive(Debug, Clone, Copy)]
struct SentRows {
    rows: usize,
    sent: Instant,
    /// Where a front runs here.
    frame: Option<SentFrame>,
    /// When its first row began to be computed, where no other message of the answer was on its way then.
    began: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct SentFrame {
    codec: Codec,
    bytes: usize,
    /// Nothing of a prompt was on the way with it.
    alone: bool,
    /// Front layers and encoding, waiting for them included.
    computed: Duration,
}

/// Rows of an answer being computed.
#[derive(Debug)]
pub struct PendingRows {
    /// The last token, where its row is not on its way yet, and drafts.
    ids: Vec<u32>,
    drafts: usize,
    began: Instant,
    front: Option<Computing>,
}

/// Rows being computed and written.
#[derive(Debug)]
struct Computing {
    codec: Codec,
    phase: &'static str,
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
            ledger: EdgeLedger::beginning(opening.tokens[..has].to_vec()),
            // Where ids go up instead of rows, they are known with the pages.
            ids_known: if client.front().engine.is_none() {
                has
            } else {
                0
            },
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
            can_draft: client.can_draft(opening.cloud),
            draining: false,
            opening: opening_bytes,
            usage: Usage::default(),
            last_sent: Instant::now(),
            sent: VecDeque::new(),
            trace: PromptTrace::default(),
            numerics: Numerics::of(&opening.cloud.described),
            again_as: v1::Open {
                page_names: Vec::new(),
                profile_fingerprint: Vec::new(),
                profile: Vec::new(),
                ..open.clone()
            },
            lease: Duration::ZERO,
            answering: Some(answering),
            link,
            client,
        }
    }

    /// Tokens both halves hold, by position.
    pub fn tokens(&self) -> &[u32] {
        self.ledger.tokens()
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

    /// Whether its answers may have to keep something.
    pub(crate) fn can_constrain(&self) -> bool {
        let constraints = v1::Feature::Constraints.into();
        self.again_as.features.contains(&constraints)
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
        self.sent.clear();
        if kept < self.tokens().len() {
            self.truncate(kept).await?;
        }
        self.run_from(kept, run).await
    }

    /// Has the cloud keep the first `kept` tokens, and ends the answer there.
    async fn truncate(&mut self, kept: usize) -> Result<(), SessionError> {
        let cut = self.ledger.truncate(kept);
        let truncate = v1::Truncate {
            epoch: cut.epoch,
            position: position(cut.position),
        };
        self.send(infer_request::Message::Truncate(truncate)).await
    }

    /// Begins the answer once more, with what the cloud has of the pages that the session was to begin with. The cloud
    /// has dropped everything behind [`Session::begin`].
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) async fn begin_short(&mut self, run: v1::Run) -> Result<(), SessionError> {
        self.stream.forget_sent();
        if self.front.is_some() {
            self.ids_known = 0;
        }
        self.sent.clear();
        let held = self.begins_short.take().unwrap_or_default();
        self.run_from(held * PAGE_POSITIONS, run).await
    }

    /// Whether the cloud has fewer pages than the session was to begin with; then it drops what is sent until
    /// [`Session::begin_short`].
    ///
    /// # Errors
    /// Why the stream has ended.
    fn has_begun_short(&mut self) -> Result<bool, SessionError> {
        while self.ledger.believes()
            && let Some(message) = self.stream.receive_now()?
        {
            self.note(&message)?;
        }
        Ok(self.begins_short.is_some())
    }

    /// Sends what an answer runs by, behind the first `kept` tokens.
    async fn run_from(&mut self, kept: usize, mut run: v1::Run) -> Result<(), SessionError> {
        self.forget_from(kept).await?;
        run.epoch = self.ledger.epoch();
        if self.send_ids && self.ids_known < kept {
            run.history_token_ids = self.tokens().to_vec();
            self.ids_known = kept;
        }
        self.answering.get_or_insert_with(|| self.link.answering());
        self.send(infer_request::Message::Run(run)).await
    }

    /// Forgets what was computed and written of positions from one on.
    async fn forget_from(&mut self, position: usize) -> Result<(), SessionError> {
        self.ids_known = self.ids_known.min(position);
        self.computed = position;
        self.written.truncate(position);
        self.front_pages.truncate(position / PAGE_POSITIONS);
        if let Some(beginnings) = &mut self.beginnings {
            beginnings.truncate(position);
        }
        // The front may be ahead of what was sent: an answer that a stop string ended.
        if let Some(front) = &self.front {
            let step = FrontStep::Truncate { position };
            front.run(Priority::Decode, step).await?;
        }
        Ok(())
    }

    /// Sends the rows of `prompt` behind what the session holds, wanting a token after the last.
    /// Chunks are computed while earlier ones are on their way.
    ///
    /// # Errors
    /// When a step fails, or why the stream has ended.
    pub async fn prompt(&mut self, prompt: &[u32]) -> Result<(), SessionError> {
        if self.front.is_none() {
            return self.send_ids(prompt, v1::Want::Token).await;
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
                let want = match frames.peek() {
                    None if last => v1::Want::Token,
                    _ => v1::Want::Unspecified,
                };
                let paced = prompt.len() > 1;
                self.send_frame(frame, codec, tokens, (want, paced)).await?;
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
        let priority = match chunk.len() {
            1 => Priority::Decode,
            _ => Priority::Prefill,
        };
        Ok(Some((chunk, self.compute(chunk, priority).await?)))
    }

    /// Sends token ids instead of hidden rows, for a cloud that runs all layers. The last message asks for `want`.
    async fn send_ids(&mut self, ids: &[u32], want: v1::Want) -> Result<(), SessionError> {
        let messages = ids.chunks(IDS_A_MESSAGE).count();
        for (number, chunk) in ids.chunks(IDS_A_MESSAGE).enumerate() {
            let want = if number + 1 == messages {
                want
            } else {
                v1::Want::Unspecified
            };
            let start = self.tokens().len();
            let rows = v1::Rows {
                epoch: self.ledger.epoch(),
                start: position(start),
                count: position(chunk.len()),
                token_ids: chunk.to_vec(),
                want: want.into(),
                ..v1::Rows::default()
            };
            // They are written in none; all are alike.
            self.written.note(start, chunk.len(), FrameCodec::default());
            self.sent(chunk);
            if want == v1::Want::Token {
                self.ledger.wants_token();
            }
            self.send(infer_request::Message::Rows(rows)).await?;
        }
        Ok(())
    }

    /// Whether rows may be of drafts.
    pub(crate) fn can_draft(&self) -> bool {
        self.can_draft
    }

    /// Begins to compute the row of the last token, where it is not on its way as a draft, and those of drafts behind it.
    ///
    /// # Errors
    /// When the engine is gone.
    pub async fn begin_rows(
        &mut self,
        last: u32,
        drafts: &[u32],
    ) -> Result<PendingRows, SessionError> {
        let began = Instant::now();
        let mut ids = Vec::with_capacity(1 + drafts.len());
        if self.ledger.lacks_row() {
            ids.push(last);
        }
        ids.extend(drafts);
        let front = match &self.front {
            Some(_) if !ids.is_empty() => {
                // The link is idle until the row is computed.
                if self.link.uplink().load().0 == 0
                    && let Some(ping) = self.link.choice().ping()
                {
                    let bytes = self.stream.send(infer_request::Message::Ping(ping)).await?;
                    self.count(bytes);
                }
                Some(self.compute(&ids, Priority::Decode).await?)
            }
            _ => None,
        };
        let drafts = drafts.len();
        Ok(PendingRows {
            ids,
            drafts,
            began,
            front,
        })
    }

    /// Drafts on their way.
    pub(crate) fn drafts_on_their_way(&self) -> usize {
        self.ledger.drafts()
    }

    /// Whether tokens have arrived, or the stream's end.
    pub(crate) fn has_heard(&mut self) -> bool {
        self.stream.has_tokens()
    }

    /// Waits until tokens have arrived, or the stream's end.
    pub(crate) async fn heard(&mut self) {
        self.stream.tokens().await;
    }

    /// Sends these rows, wanting the next token, and those behind drafts that are right.
    ///
    /// # Errors
    /// When the step fails, or why the stream has ended.
    pub async fn send_rows(&mut self, rows: PendingRows) -> Result<(), SessionError> {
        let PendingRows {
            ids,
            drafts,
            began,
            front,
        } = rows;
        if ids.is_empty() {
            return Ok(());
        }
        let want = match drafts {
            0 => v1::Want::Token,
            _ => v1::Want::EachToken,
        };
        let mut began = self.sent.is_empty().then_some(began);
        let completed = match front {
            Some(pending) => {
                let codec = pending.codec;
                Some((codec, self.computed(pending, ids.len()).await?))
            }
            None => None,
        };
        self.usage.drafted += drafts as u64;
        let Some((codec, completed)) = completed else {
            self.sent.push_back(SentRows {
                rows: ids.len(),
                sent: Instant::now(),
                frame: None,
                began,
            });
            return self.send_ids(&ids, want).await;
        };
        let computed = completed.queue + completed.compute;
        let mut rest = &ids[..];
        for frame in completed.output.frames {
            let alone = began.is_some() && self.link.uplink().load().0 == 0;
            self.sent.push_back(SentRows {
                rows: frame.rows,
                sent: Instant::now(),
                frame: Some(SentFrame {
                    codec,
                    bytes: frame.bytes.len(),
                    alone,
                    computed,
                }),
                began: began.take(),
            });
            let (own, behind) = rest.split_at(frame.rows);
            rest = behind;
            self.send_frame(frame, codec, own, (want, false)).await?;
        }
        Ok(())
    }

    /// Ends an answer that the cloud does not know to have ended: a stop string's. Of what both halves hold the first `most`
    /// tokens stay.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub async fn end_early(&mut self, most: usize) -> Result<(), SessionError> {
        self.answering = None;
        let known = self.tokens().len() - self.ledger.drafts();
        self.truncate(known.min(most)).await
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
                infer_response::Message::Tokens(tokens) if tokens.epoch == self.ledger.epoch() => {
                    let sent = self.answered_messages(tokens.ids.len());
                    if self.took(&tokens)?.cuts {
                        self.sent.clear();
                        self.forget_from(self.tokens().len()).await?;
                    }
                    let (queue, compute) = durations(&tokens);
                    let count = u32::try_from(tokens.ids.len()).unwrap_or(1);
                    self.usage.cloud_queue += queue;
                    self.usage.cloud_compute += compute;
                    self.link.note_load(|load| {
                        load.token((queue + compute) / count);
                        tokens.load.iter().for_each(|now| load.said(now, 0));
                    });
                    let since = sent.map_or(self.last_sent, |sent| sent.sent);
                    let link = since.elapsed().saturating_sub(queue + compute);
                    LINK.histogram(&[]).record(link);
                    self.usage.link += link;
                    self.trace.token(link, &self.usage);
                    if let Some(sent) = sent {
                        ROUND_TRIP_TOKENS
                            .histogram(&[])
                            .record(tokens.ids.len() as f64);
                        self.answered(sent, link, queue + compute);
                    }
                    return Ok(Some(tokens));
                }
                other => self.note(&other)?,
            }
        }
    }

    /// The first of the messages that so many tokens answer.
    fn answered_messages(&mut self, tokens: usize) -> Option<SentRows> {
        let first = self.sent.pop_front();
        let mut rows = first.map_or(0, |sent| sent.rows);
        while rows < tokens
            && let Some(sent) = self.sent.pop_front()
        {
            rows += sent.rows;
        }
        first
    }

    /// Learns from how long rows took that were answered, `link` of it without what edge and cloud computed.
    fn answered(&self, sent: SentRows, link: Duration, of_cloud: Duration) {
        if let Some(began) = sent.began {
            let taken = began.elapsed();
            self.link.round_times().note(sent.rows, taken);
        }
        let choice = self.link.choice();
        match sent.frame.filter(|frame| frame.alone) {
            Some(frame) if sent.rows == 1 => {
                let computed = frame.computed + of_cloud;
                choice.row_answered(frame.codec, frame.bytes, link, computed);
            }
            Some(frame) => choice.rows_answered(frame.bytes, link),
            None => {}
        }
    }

    /// Takes note of tokens that were asked for.
    fn took(&mut self, tokens: &v1::Tokens) -> Result<Took, CloudError> {
        let unasked = |problem: String| CloudError::Unasked { problem };
        let vocabulary = self.client.front().config.vocabulary;
        if let Some(id) = tokens.ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(unasked(format!("token {id}, where there are {vocabulary}")));
        }
        let (ids, logprobs) = (tokens.ids.len(), tokens.logprobs.len());
        if logprobs != 0 && logprobs != ids {
            let problem = format!("log probabilities of {logprobs} tokens beside {ids}");
            return Err(unasked(problem));
        }
        let ends = tokens.finish_reason != i32::from(v1::FinishReason::Unspecified);
        let first = tokens.position as usize;
        let took = self.ledger.took(first, &tokens.ids, ends);
        let took = took.map_err(|error| unasked(error.to_string()))?;
        let accepted = took.accepted as u64;
        self.usage.accepted += accepted;
        if ends {
            self.answering = None;
        }
        Ok(took)
    }

    async fn compute(
        &mut self,
        tokens: &[u32],
        priority: Priority,
    ) -> Result<Computing, SessionError> {
        let start = self.computed;
        let allowed = self.link.choice().step();
        let frame_codec = self.codecs.of_row(&self.again, start, allowed);
        self.written.note(start, tokens.len(), frame_codec);
        self.computed += tokens.len();
        let Some(front) = &self.front else {
            return Err(EngineError::SessionGone.into());
        };
        let step = FrontStep::Tokens {
            tokens: tokens.to_vec(),
            codec: frame_codec,
            frame_bytes: self.frame_bytes,
        };
        let output = front.submit(priority, step).await?;
        Ok(Computing {
            codec: frame_codec.codec,
            phase: phase(priority),
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
            .histogram(&[pending.phase])
            .record(completed.compute);
        ENCODE
            .histogram(&[pending.phase])
            .record(completed.output.encode);
        Ok(completed)
    }

    /// Sends a frame of the rows of `tokens`, and asks for `want`. A paced frame waits for its turn on the link.
    async fn send_frame(
        &mut self,
        frame: Frame,
        codec: Codec,
        tokens: &[u32],
        (want, paced): (v1::Want, bool),
    ) -> Result<(), SessionError> {
        let values = frame.rows * self.client.front().config.hidden;
        BITS_PER_VALUE
            .histogram(&[])
            .record(8.0 * frame.bytes.len() as f64 / values as f64);
        OUTLIERS
            .histogram(&[])
            .record(frame.outliers as f64 / values as f64);
        let phase = if frame.rows == 1 || want == v1::Want::EachToken {
            phase(Priority::Decode)
        } else {
            phase(Priority::Prefill)
        };
        ROWS.histogram(&[phase]).record(frame.rows as f64);
        let rows = v1::Rows {
            epoch: self.ledger.epoch(),
            start: position(frame.start),
            // 0 means 1, and costs nothing.
            count: match frame.rows {
                1 => 0,
                rows => position(rows),
            },
            token_ids: if self.send_ids || want == v1::Want::EachToken {
                tokens.to_vec()
            } else {
                Vec::new()
            },
            want: want.into(),
            crc32c: crc32c::crc32c(&frame.bytes),
            frame: frame.bytes,
        };
        self.usage.add_rows(codec, frame.rows, rows.frame.len());
        self.sent(tokens);
        if want == v1::Want::Token {
            self.ledger.wants_token();
        }
        if !paced {
            return self.send(infer_request::Message::Rows(rows)).await;
        }
        let uplink = self.link.uplink().clone();
        let acquired = uplink.acquire(rows.frame.len());
        tokio::pin!(acquired);
        let permit = loop {
            // A cloud that drops what is sent acknowledges nothing, so its word is heard while there is no permit.
            let message = if !self.ledger.believes() {
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
        if ids_go_up && self.ids_known == self.tokens().len() {
            self.ids_known += tokens.len();
        }
        self.ledger.send(tokens);
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
                let short = self.ledger.granted(held * PAGE_POSITIONS);
                if short.is_some() {
                    self.begins_short = Some(held);
                    if let Some(beginnings) = &mut self.beginnings {
                        beginnings.forget(held);
                    }
                }
            }
            infer_response::Message::Pages(pages) if pages.epoch == self.ledger.epoch() => {
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
            (self.ledger.tokens(), &self.written),
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

fn phase(priority: Priority) -> &'static str {
    match priority {
        Priority::Decode => "decode",
        Priority::Prefill => "prefill",
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
