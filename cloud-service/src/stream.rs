//! One session: reads the edge's messages in order, keeps the ledger, gives rows to the engine and sends what comes
//! back.
//!
//! The task of its first stream owns the session: whichever way it ends, by Close, by an error, by the edge going away,
//! its memory is freed at once. Where the stream's connection broke, a session with a lease waits for another stream that
//! takes it up.

use crate::admission::{Place, SessionKey, gives_way};
use crate::answer_trace::AnswerTrace;
use crate::cloud::Cloud;
use crate::intake::CheckedRows;
use crate::leases::{Lease, Takeover};
use crate::metrics::{SESSIONS_EVICTED, SESSIONS_LEFT, SESSIONS_OPENED};
use crate::open::Opening;
use crate::prefixes::SessionPrefix;
use crate::session_memory::SessionMemory;
use crate::session_metrics::{DECODE, SessionMetrics, phase};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tandem_codec::Codec;
use tandem_engine::{
    Back, BackOutput, BackStep, Completed, EngineError, EngineSession, KeptPage, Ledger, NamedPage,
    OwnerNumber, Priority, Reservation, Room, RowsVerdict, RunRequest, RunToken, Want,
};
use tandem_model::PAGE_POSITIONS;
use tandem_proto::{
    encoded_len,
    v1::{self, infer_request, infer_response},
};
use tandem_shape::Reason;
use tandem_status::{bad_request, failure, unavailable};
use tandem_transport::auth::Peer;
use tandem_wire::{MAX_PING_PADDING, PROTOCOL_VERSION, engine_status, ledger_status};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

/// Steps of a session that may wait for the engine. Beyond it nothing more is read, and HTTP/2's
/// windows make the edge wait.
const PENDING_STEPS: usize = 64;

/// The same for the frames of these steps: as many bytes as so many of the largest have.
const PENDING_FRAMES: usize = 4;

/// Bytes of a message that may wait to go down behind others. Of larger ones, such as what measures a link, one at a time
/// does.
const SMALL_MESSAGE: usize = 4 << 10;

/// How long a stream's status may wait for its edge to read.
const STATUS_TAKES: Duration = Duration::from_secs(10);

/// How long it may take to read what a broken stream had left, and how it broke.
const REST_TAKES: Duration = Duration::from_secs(1);

/// The most ids that end an answer.
const MAX_EOS_IDS: usize = 64;

/// What a stream sends.
pub type Outbound = mpsc::Sender<Result<v1::InferResponse, Status>>;

type StepResult = (StepKind, Result<Completed<BackOutput>, EngineError>);

#[derive(Debug, Clone, Copy)]
enum StepKind {
    Control,
    /// It gives back so much memory.
    Truncate {
        freed: u64,
    },
    Rows {
        epoch: u32,
        rows: usize,
        bytes: usize,
        want: Want,
        /// No others of the session were pending.
        alone: bool,
    },
}

/// Serves a stream to its end. An error is sent to the edge.
pub async fn serve(
    cloud: Arc<Cloud>,
    peer: Peer,
    inbound: Streaming<v1::InferRequest>,
    mut out: Outbound,
) {
    let ended = run(&cloud, &peer, inbound, &mut out).await;
    if let Err(status) = ended {
        SessionMetrics::failure(&status);
        tracing::debug!(%peer, code = ?status.code(), message = status.message(), "stream ended");
        // A peer that does not read may not hold this task.
        let _ = tokio::time::timeout(STATUS_TAKES, out.send(Err(status))).await;
    }
}

async fn run(
    cloud: &Arc<Cloud>,
    peer: &Peer,
    mut inbound: Streaming<v1::InferRequest>,
    out: &mut Outbound,
) -> Result<(), Status> {
    let owner = peer.owner();
    let waiting = cloud.admission.opening(&owner)?;
    let first = tokio::select! {
        first = tokio::time::timeout(cloud.open_timeout, inbound.message()) => first,
        () = out.closed() => return Ok(()),
        () = cloud.drain.draining() => return Err(draining()),
    };
    let first = first.map_err(|_| {
        failure(
            Code::DeadlineExceeded,
            Reason::OpenTimeout,
            "no session was opened in time",
        )
    })?;
    let Some(request) = first? else {
        return Ok(());
    };
    SessionMetrics::received(&request);
    let Some(infer_request::Message::Open(open)) = request.message else {
        return Err(bad_request(
            Reason::NotOpen,
            [("open", "must be the first message")],
        ));
    };
    let opening = Opening::check(&open, peer, cloud)?;
    let number = cloud.owner_number(&owner);
    let key = SessionKey {
        owner,
        id: opening.id,
    };
    if let Some(resume) = opening.resume {
        let takeover = Takeover {
            inbound,
            out: out.clone(),
            resume,
        };
        let handed = cloud.leases.hand_over(&key, takeover);
        return handed.map_err(|_| session_gone());
    }
    let place = cloud.admission.enter(key.clone(), opening.moves)?;
    let names_pages = opening.names_pages;
    let mut prefix =
        names_pages.then(|| cloud.prefixes.of_session(&place.key().owner, opening.split));
    let pages = prefix.as_mut();
    let pages = pages.map_or(Vec::new(), |prefix| prefix.find(&opening.page_names));
    if !pages.is_empty() {
        place.begins_with_pages();
    }
    let begun = pages.len() * PAGE_POSITIONS;
    let believed = opening.page_names.len() * PAGE_POSITIONS;
    let memory = SessionMemory::new(
        cloud.loaded.kv_sizes,
        opening.split,
        begun,
        (opening.context, opening.moves.can_move),
    );
    let begins = (pages, prefix.as_ref());
    let engine = tokio::select! {
        engine = open_engine(cloud, number, &opening, begins, (&place, &memory)) => engine?,
        () = out.closed() => return Ok(()),
    };
    drop(waiting);
    let lease = opening.can_resume.then(|| cloud.leases.lease(key));
    let mut session = Session {
        cloud,
        out,
        lease,
        left: None,
        split: opening.split,
        context: opening.context,
        codec: opening.codec,
        tells_load: opening.moves.can_move,
        drafts: opening.drafts,
        constraints: opening.constraints,
        ledger: match Ledger::beginning(opening.context, begun, believed) {
            ledger if opening.drafts => ledger.with_drafts(),
            ledger => ledger,
        },
        pending: FuturesOrdered::new(),
        pending_bytes: 0,
        pending_rows: 0,
        memory,
        prefix,
        metrics: SessionMetrics::default(),
        trace: AnswerTrace::default(),
        running: false,
        deadline: None,
        engine,
        place,
    };
    SESSIONS_OPENED.counter(&[]).increment(1);
    tracing::info!(%peer, split = opening.split, context = opening.context, "session opened");
    let ended = match session.grant().await {
        Ok(()) => session.serve(inbound).await,
        Err(status) => Err(status),
    };
    let ended = ended.inspect_err(|status| session.trace.fail(status));
    session.close().await;
    ended
}

/// Reserves the memory that the session has from the beginning, and opens it on the engine.
async fn open_engine(
    cloud: &Cloud,
    owner: OwnerNumber,
    opening: &Opening,
    (pages, prefix): (Vec<Arc<KeptPage>>, Option<&SessionPrefix>),
    (place, memory): (&Place, &SessionMemory),
) -> Result<EngineSession<Back>, Status> {
    let reserved = place.reserve(memory.reserved()).await?;
    let room = if opening.moves.can_move {
        Room::Growing(reserved)
    } else {
        Room::Whole(reserved)
    };
    let open = opening.back(room, pages, prefix.map(SessionPrefix::key));
    let opened = cloud
        .engine
        .open_for(owner, opening.moves.moved, open)
        .await;
    opened.map_err(|error| engine_status(&error))
}

struct Session<'a> {
    cloud: &'a Arc<Cloud>,
    out: &'a mut Outbound,
    /// What it waits with for another stream, where it may be taken up.
    lease: Option<Lease>,
    /// Until when it waits for one, while it has none.
    left: Option<Instant>,
    split: usize,
    context: usize,
    /// The codec preferred.
    codec: Codec,
    /// Whether the edge goes on elsewhere, and so may have use for how busy this cloud is.
    tells_load: bool,
    /// Whether rows may be of drafts.
    drafts: bool,
    /// Whether answers may have to keep something.
    constraints: bool,
    ledger: Ledger,
    pending: FuturesOrdered<Pin<Box<dyn Future<Output = StepResult> + Send>>>,
    /// Of the frames of pending steps.
    pending_bytes: usize,
    pending_rows: usize,
    memory: SessionMemory,
    /// What it leaves to others, where its pages have names.
    prefix: Option<SessionPrefix>,
    metrics: SessionMetrics,
    /// Of the running answer.
    trace: AnswerTrace,
    /// An answer has been asked for, and has not ended.
    running: bool,
    /// When nobody waits for it any more.
    deadline: Option<Instant>,
    // In this order: the memory is free before the place is.
    engine: EngineSession<Back>,
    place: Place,
}

impl Session<'_> {
    async fn grant(&mut self) -> Result<(), Status> {
        let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        self.send(infer_response::Message::Granted(v1::Granted {
            version: PROTOCOL_VERSION,
            codec: self.codec.name().to_owned(),
            context: number(self.context),
            max_frame_bytes: number(self.cloud.max_frame),
            idle_ttl_millis: u64::try_from(self.cloud.idle_ttl.as_millis()).unwrap_or(u64::MAX),
            lease_millis: match &self.lease {
                Some(_) => u64::try_from(self.cloud.lease.as_millis()).unwrap_or(u64::MAX),
                None => 0,
            },
            pages: number(self.ledger.received() / PAGE_POSITIONS),
            load: self.tells_load.then(|| self.cloud.load()),
        }))
        .await
    }

    async fn serve(&mut self, inbound: Streaming<v1::InferRequest>) -> Result<(), Status> {
        let mut told_of_drain = false;
        let deadline = self.cloud.drain_deadline.as_millis();
        let deadline_millis = u64::try_from(deadline).unwrap_or(u64::MAX);
        let mut inbound = Some(inbound);
        loop {
            let idle = self.pending.is_empty();
            // Whoever lost its stream goes on elsewhere.
            if told_of_drain && (self.left.is_some() || (idle && !self.running)) {
                return Err(draining());
            }
            let has_room = self.has_room();
            tokio::select! {
                Some((kind, result)) = self.pending.next(), if !idle => {
                    self.finished(kind, result).await?;
                }
                message = next_of(&mut inbound), if has_room => {
                    match message {
                        Ok(Some(request)) => {
                            SessionMetrics::received(&request);
                            match request.message {
                                Some(infer_request::Message::Close(_)) => return Ok(()),
                                Some(message) => self.accept(message).await?,
                                None => return Err(bad_request(Reason::Message, [("message", "is of no known kind")])),
                            }
                        }
                        Ok(None) => return Ok(()),
                        Err(status) if self.lease.is_some() && has_broken(&status) => {
                            inbound = None;
                            self.is_left();
                        }
                        Err(status) => return Err(edge_gone(status)),
                    }
                }
                takeover = takeover(&mut self.lease) => {
                    inbound = Some(self.taken_up(takeover).await?);
                }
                () = passed(self.left) => {
                    SESSIONS_LEFT.counter(&["lease_ended"]).increment(1);
                    return Ok(());
                }
                () = tokio::time::sleep(self.cloud.idle_ttl), if idle => {
                    return Err(is_idle("nothing was heard for idle_ttl"));
                }
                () = passed(self.deadline) => {
                    return Err(too_late());
                }
                () = self.place.evicted() => {
                    return Err(gives_way());
                }
                () = self.cloud.drain.draining(), if !told_of_drain => {
                    told_of_drain = true;
                    self.send(infer_response::Message::Draining(v1::Draining { deadline_millis })).await?;
                }
                () = self.out.closed(), if self.left.is_none() => {
                    // What is on its way in says why.
                    let rest = inbound.take().filter(|_| self.lease.is_some());
                    let broken = match rest {
                        Some(rest) => rest_says_broken(rest).await,
                        None => false,
                    };
                    if !broken {
                        return Ok(());
                    }
                    self.is_left();
                }
            }
        }
    }

    /// Its stream broke: it waits for another one.
    fn is_left(&mut self) {
        self.left = Instant::now().checked_add(self.cloud.lease);
        self.place.left();
        SESSIONS_LEFT.counter(&["left"]).increment(1);
    }

    /// Another stream takes it up, and goes on from a position in an epoch of its own.
    async fn taken_up(
        &mut self,
        Takeover {
            inbound,
            out,
            resume,
        }: Takeover,
    ) -> Result<Streaming<v1::InferRequest>, Status> {
        *self.out = out;
        self.left = None;
        self.place.taken_up();
        SESSIONS_LEFT.counter(&["taken_up"]).increment(1);
        let position = resume.position as usize;
        self.ledger
            .resume(resume.epoch, position)
            .map_err(|e| ledger_status(&e))?;
        self.forget_from(resume.epoch, position).await?;
        self.grant().await?;
        Ok(inbound)
    }

    /// Frees the memory, and then the place.
    async fn close(self) {
        let Self {
            engine,
            place,
            pending,
            ..
        } = self;
        engine.close().await;
        // Steps that have ended may hold pages.
        drop(pending);
        drop(place);
    }

    /// Whether another message may be read: always where no step is pending.
    fn has_room(&self) -> bool {
        self.pending.is_empty()
            || (self.pending.len() < PENDING_STEPS
                && self.pending_bytes < PENDING_FRAMES * self.cloud.max_frame
                && self.place.may_queue())
    }

    /// Reserves what positions below `end` take and is not reserved yet.
    async fn make_room(&mut self, end: usize) -> Result<Option<Reservation>, Status> {
        let lacks = self.memory.lacks(end);
        if lacks == 0 {
            return Ok(None);
        }
        // Its own memory that is on its way back comes before that of others.
        let budget = &self.cloud.budget;
        while self.memory.is_freeing()
            && budget.used().saturating_add(lacks) > budget.budget()
            && let Some((kind, result)) = self.pending.next().await
        {
            self.finished(kind, result).await?;
        }
        let more = tokio::select! {
            more = self.place.reserve(lacks) => more?,
            () = self.out.closed(), if self.lease.is_none() => {
                return Err(Status::cancelled("the edge went away"));
            }
            () = passed(self.deadline) => return Err(too_late()),
        };
        self.memory.took(lacks);
        Ok(Some(more))
    }

    async fn accept(&mut self, message: infer_request::Message) -> Result<(), Status> {
        match message {
            infer_request::Message::Open(_) => Err(bad_request(
                Reason::OpenTwice,
                [("open", "the session is open")],
            )),
            infer_request::Message::Run(run) => self.begin_run(run).await,
            infer_request::Message::Rows(rows) => self.rows(rows).await,
            infer_request::Message::Truncate(truncate) => self.truncate(truncate).await,
            infer_request::Message::Ping(ping) if ping.padding.len() > MAX_PING_PADDING => Err(
                bad_request(Reason::Ping, [("ping.padding", "is longer than 64 KiB")]),
            ),
            infer_request::Message::Ping(ping) if ping.reply_bytes as usize > MAX_PING_PADDING => {
                Err(bad_request(
                    Reason::Ping,
                    [("ping.reply_bytes", "is more than 64 KiB")],
                ))
            }
            infer_request::Message::Ping(ping) => {
                let pong = v1::Pong {
                    nonce: ping.nonce,
                    padding: vec![0; ping.reply_bytes as usize],
                };
                self.send(infer_response::Message::Pong(pong)).await
            }
            // Handled before: it ends the loop.
            infer_request::Message::Close(_) => Ok(()),
        }
    }

    async fn begin_run(&mut self, mut run: v1::Run) -> Result<(), Status> {
        if !self
            .ledger
            .is_current(run.epoch)
            .map_err(|e| ledger_status(&e))?
        {
            return Ok(());
        }
        let vocabulary = self.cloud.config.vocabulary;
        let parameters = tandem_wire::parameters(run.sampling.as_ref(), vocabulary)
            .map_err(|errors| tandem_wire::parameter_status(&errors))?;
        let (history, eos) = (run.history_token_ids.len(), run.eos_token_ids.len());
        if history > self.ledger.received() {
            let received = self.ledger.received();
            let problem = format!("has {history} ids, of positions only {received} have arrived");
            return Err(bad_request(
                Reason::Run,
                [("run.history_token_ids", problem)],
            ));
        }
        if eos > MAX_EOS_IDS {
            let problem = format!("has {eos} ids, may have {MAX_EOS_IDS}");
            return Err(bad_request(Reason::Run, [("run.eos_token_ids", problem)]));
        }
        let answered = run.answered as usize;
        if answered >= self.context || (run.max_tokens > 0 && run.answered >= run.max_tokens) {
            let problem = format!("is {answered}, which leaves no token of the answer");
            return Err(bad_request(Reason::Run, [("run.answered", problem)]));
        }
        if run.constraint.is_some() && !self.constraints {
            let problem = [("constraint", "comes without FEATURE_CONSTRAINTS")];
            return Err(bad_request(Reason::Constraint, problem));
        }
        let ids = run.history_token_ids.iter().chain(&run.eos_token_ids);
        let ids = ids.chain(&run.answered_token_ids);
        if let Some(id) = ids.into_iter().find(|&&id| id as usize >= vocabulary) {
            let problem = format!("token {id} is outside the vocabulary of {vocabulary}");
            return Err(bad_request(Reason::Run, [("run", problem)]));
        }
        let owner = self.cloud.owner_number(&self.place.key().owner);
        let constraint = self.cloud.constraints.begin(owner, &mut run).await?;
        self.running = true;
        let timeout = Duration::from_millis(run.timeout_millis);
        self.deadline = Some(timeout)
            .filter(|timeout| !timeout.is_zero())
            .and_then(|timeout| Instant::now().checked_add(timeout));
        self.metrics.begin_run();
        self.trace = AnswerTrace::begin(&run, self.split);
        let request = RunRequest {
            parameters,
            max_tokens: (run.max_tokens > 0).then_some(run.max_tokens as usize),
            eos: run.eos_token_ids,
            history: run.history_token_ids,
            answered,
            constraint,
        };
        self.submit(
            StepKind::Control,
            Priority::Decode,
            BackStep::Run(Box::new(request)),
        )
        .await
    }

    async fn rows(&mut self, rows: v1::Rows) -> Result<(), Status> {
        let may_be = (self.context, self.drafts);
        let rows = CheckedRows::check(rows, self.split, may_be, self.cloud)?;
        self.metrics.rows(&rows);
        let (start, count, want) = (rows.step.start, rows.step.count, rows.step.want);
        if self.running {
            self.place.answers()
        } else {
            self.place.heard()
        }
        let verdict = match want {
            Want::EachToken => self.ledger.drafts(rows.epoch, start, rows.step.ids()),
            _ => {
                let is_wanted = want == Want::Token;
                self.ledger.rows(rows.epoch, start, count, is_wanted)
            }
        };
        match verdict.map_err(|e| ledger_status(&e))? {
            RowsVerdict::Stale => return Ok(()),
            RowsVerdict::Known => {}
            RowsVerdict::Recorded(token) => self.send_tokens(rows.epoch, vec![token]).await?,
            RowsVerdict::Run { start, skip } => {
                let mut step = rows.step;
                (step.start, step.skip, step.count) = (start, skip, count - skip);
                step.room = self.make_room(start + step.count).await?;
                let priority = match phase(count, want) {
                    DECODE => Priority::Decode,
                    _ => Priority::Prefill,
                };
                let kind = StepKind::Rows {
                    epoch: rows.epoch,
                    rows: count,
                    bytes: rows.frame_bytes,
                    want,
                    alone: self.pending_rows == 0,
                };
                self.pending_bytes += rows.frame_bytes;
                self.pending_rows += count;
                self.submit(kind, priority, BackStep::Rows(step)).await?;
            }
        }
        // A token says it as well.
        if want == Want::EachToken || (want == Want::Token && count == 1) {
            return Ok(());
        }
        let (queue_micros, compute_micros) = self.metrics.take_durations();
        self.send(infer_response::Message::Progress(v1::Progress {
            epoch: rows.epoch,
            received: u32::try_from(self.ledger.received()).unwrap_or(u32::MAX),
            queue_micros,
            compute_micros,
        }))
        .await
    }

    async fn truncate(&mut self, truncate: v1::Truncate) -> Result<(), Status> {
        let position = truncate.position as usize;
        self.ledger
            .truncate(truncate.epoch, position)
            .map_err(|e| ledger_status(&e))?;
        self.forget_from(truncate.epoch, position).await
    }

    /// Has the engine forget all positions from one on, where an epoch begins, and ends the answer.
    async fn forget_from(&mut self, epoch: u32, position: usize) -> Result<(), Status> {
        self.answer_ended();
        let freed = self.memory.truncate(position);
        self.submit(
            StepKind::Truncate { freed },
            Priority::Decode,
            BackStep::Truncate { epoch, position },
        )
        .await
    }

    async fn submit(
        &mut self,
        kind: StepKind,
        priority: Priority,
        step: BackStep,
    ) -> Result<(), Status> {
        let wait = self
            .engine
            .submit(priority, step)
            .await
            .map_err(|e| engine_status(&e))?;
        self.pending.push_back(Box::pin(async move {
            let result = wait.await.unwrap_or(Err(EngineError::SessionGone));
            (kind, result)
        }));
        self.place.waits_for(self.pending.len(), self.pending_rows);
        Ok(())
    }

    async fn finished(
        &mut self,
        kind: StepKind,
        result: Result<Completed<BackOutput>, EngineError>,
    ) -> Result<(), Status> {
        match kind {
            StepKind::Control => {}
            StepKind::Rows { rows, bytes, .. } => {
                self.pending_bytes -= bytes;
                self.pending_rows -= rows;
            }
            StepKind::Truncate { freed } => {
                self.memory.freed(freed);
                self.place.frees(freed);
            }
        }
        self.place.waits_for(self.pending.len(), self.pending_rows);
        let completed = result.map_err(|e| engine_status(&e))?;
        let StepKind::Rows {
            epoch,
            rows,
            want,
            alone,
            ..
        } = kind
        else {
            return Ok(());
        };
        let is_dropped = want == Want::EachToken && completed.output.tokens.is_empty();
        if is_dropped {
            return Ok(());
        }
        self.keep_pages(epoch, &completed.output.pages).await?;
        let frames = completed.output.frames;
        let phase = phase(rows, want);
        // Rows wait for those before them, which is no sign of others.
        if phase == DECODE && alone {
            self.cloud.waits.note(completed.queue);
        }
        self.metrics
            .step(phase, completed.queue, completed.compute, frames);
        if epoch == self.ledger.epoch() {
            self.trace.step(rows, &completed);
        }
        let tokens = completed.output.tokens;
        if tokens.is_empty() {
            return Ok(());
        }
        for token in &tokens {
            let current = self.ledger.sampled(epoch, token.clone());
            self.metrics.token(token);
            if current {
                self.trace.token(token);
            }
            if current && token.finish.is_some() {
                self.answer_ended();
            }
        }
        self.send_tokens(epoch, tokens).await
    }

    /// Leaves pages that rows of an epoch have filled to later sessions, and tells the edge their names.
    async fn keep_pages(&mut self, epoch: u32, pages: &[NamedPage]) -> Result<(), Status> {
        let (Some(prefix), Some(first)) = (&mut self.prefix, pages.first()) else {
            return Ok(());
        };
        let kept = prefix.keep(pages);
        if kept == 0 {
            return Ok(());
        }
        let names = pages[..kept].iter().map(|page| page.name.0.to_vec());
        self.send(infer_response::Message::Pages(v1::Pages {
            epoch,
            first: u32::try_from(first.number).unwrap_or(u32::MAX),
            names: names.collect(),
        }))
        .await
    }

    /// Sends tokens, one behind the other.
    async fn send_tokens(&mut self, epoch: u32, tokens: Vec<RunToken>) -> Result<(), Status> {
        let (queue_micros, compute_micros) = self.metrics.take_durations();
        let position = tokens.first().map_or(0, |token| token.position);
        let finish = tokens.last().and_then(|token| token.finish);
        let ids = tokens.iter().map(|token| token.id).collect();
        let logprobs = tokens.into_iter().filter_map(|token| token.logprobs);
        let load = (finish.is_some() && self.tells_load).then(|| self.cloud.load());
        self.send(infer_response::Message::Tokens(v1::Tokens {
            epoch,
            position: u32::try_from(position).unwrap_or(u32::MAX),
            ids,
            logprobs: logprobs.map(tandem_wire::token_logprobs).collect(),
            finish_reason: tandem_wire::finish_reason(finish).into(),
            queue_micros,
            compute_micros,
            load,
        }))
        .await
    }

    fn answer_ended(&mut self) {
        self.running = false;
        self.deadline = None;
        self.place.kept();
        self.trace = AnswerTrace::default();
    }

    async fn send(&mut self, message: infer_response::Message) -> Result<(), Status> {
        if self.left.is_some() {
            return Ok(());
        }
        let response = v1::InferResponse {
            message: Some(message),
        };
        SessionMetrics::sent(&response);
        let room = match encoded_len(&response) {
            ..=SMALL_MESSAGE => 1,
            _ => self.out.max_capacity(),
        };
        // A peer that does not read must not keep what others need.
        tokio::select! {
            permits = self.out.reserve_many(room) => match permits.map(|mut permits| permits.next()) {
                Ok(permit) => {
                    if let Some(permit) = permit {
                        permit.send(Ok(response));
                    }
                    Ok(())
                }
                // It may be taken up: that the stream is closed is noticed where its rest is read.
                Err(_) if self.lease.is_some() => Ok(()),
                Err(_) => Err(Status::cancelled("the edge went away")),
            },
            () = tokio::time::sleep(self.cloud.idle_ttl) => Err(is_idle("nothing was read for idle_ttl")),
            () = self.place.evicted() => Err(gives_way()),
            () = passed(self.deadline) => Err(too_late()),
        }
    }
}

/// The next message of a stream, while there is one.
async fn next_of(
    inbound: &mut Option<Streaming<v1::InferRequest>>,
) -> Result<Option<v1::InferRequest>, Status> {
    match inbound {
        Some(inbound) => inbound.message().await,
        None => std::future::pending().await,
    }
}

/// The next stream that takes a session up, where it may be taken up.
async fn takeover(lease: &mut Option<Lease>) -> Takeover {
    match lease {
        Some(lease) => lease.takeover().await,
        None => std::future::pending().await,
    }
}

/// Whether a stream broke that takes no more responses: an edge that has no more use for its session says so, or cancels.
async fn rest_says_broken(mut rest: Streaming<v1::InferRequest>) -> bool {
    let reading = async {
        loop {
            match rest.message().await {
                Ok(Some(request)) => {
                    if matches!(request.message, Some(infer_request::Message::Close(_))) {
                        return false;
                    }
                }
                Ok(None) => return false,
                Err(status) => return has_broken(&status),
            }
        }
    };
    let read = tokio::time::timeout(REST_TAKES, reading).await;
    read.unwrap_or(true)
}

/// Whether a stream's error is that of its connection: not of a message, and not an edge that cancelled it.
fn has_broken(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Unavailable)
}

fn session_gone() -> Status {
    let message = "the session is not here any more";
    failure(Code::Aborted, Reason::SessionGone, message)
}

fn too_late() -> Status {
    let message = "nobody waits for the answer any more";
    failure(Code::DeadlineExceeded, Reason::Deadline, message)
}

fn is_idle(message: &str) -> Status {
    SESSIONS_EVICTED.counter(&["idle_ttl"]).increment(1);
    failure(Code::Aborted, Reason::Idle, message)
}

/// Resolves when a deadline has passed, where there is one.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What a stream ends with when the server does.
pub fn draining() -> Status {
    unavailable(Reason::Draining, "the cloud is shutting down", None)
}

/// The edge's connection broke or it cancelled: its own business, told to nobody.
fn edge_gone(status: Status) -> Status {
    match status.code() {
        Code::Unknown | Code::Cancelled => Status::cancelled("the edge went away"),
        _ => status,
    }
}
