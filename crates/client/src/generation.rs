//! An answer's tokens, through as many sessions as it takes.
//!
//! When a session is lost, another one runs the prompt and the tokens so far, and samples the token that the lost one
//! would have: rows have the same bits wherever they run, each is written in the codec that it was written in, and draws
//! are keyed by position.

use crate::client::{Opening, SplitClient};
use crate::clouds::{Numerics, Wish};
use crate::drafts::{Drafter, Gain};
use crate::error::{CloudError, Retry, SessionError};
use crate::link::{Cloud, Link};
use crate::metrics::{INEXACT_ANSWERS, REPLAY, REPLAYS, RESUMES};
use crate::pool::Asker;
use crate::prompt_trace::PromptTrace;
use crate::session::{PendingRows, Session};
use crate::session_codecs::WrittenRows;
use crate::usage::Usage;
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use std::time::{Duration, Instant};
use tandem_proto::v1;
use tandem_telemetry::traces::Span;

/// The first pause before another session is tried, and the longest; each is about twice as long as the one before.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// How long a cloud may take to say that it is back, where another one is ready.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Why an answer leaves a cloud before it has to.
const DRAINING: &str = "draining";

/// For how long an answer whose session was lost tries to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayTerms {
    /// How long; zero for not at all. A client's deadline counts instead, where there is one.
    pub within: Duration,
    /// The most attempts in that time, without a deadline.
    pub attempts: u32,
    /// Whether it goes on only where the rest is known to be what it would have been.
    pub only_exact: bool,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// By whom: those who ask share the front, and nobody begins with what others have asked.
    pub asker: Asker,
    /// The token ids to go on from, at least one.
    pub prompt: Vec<u32>,
    /// How the answer is made. Its epoch, time and trace, and how much of it there is, are filled in for each session.
    pub run: v1::Run,
    /// Whether sampling needs the ids of prompt and answer.
    pub needs_token_ids: bool,
    /// When nobody waits for it any more.
    pub deadline: Option<Instant>,
}

/// A kept session, and how many tokens of the prompt it may begin with.
#[derive(Debug)]
pub struct Kept {
    /// The session.
    pub session: Session,
    /// How many tokens it has in common with the prompt.
    pub shared: usize,
}

/// A session whose stream broke, until the cloud keeps it no more.
#[derive(Debug)]
struct Left {
    session: Session,
    until: Instant,
}

/// An answer being made.
#[derive(Debug)]
pub struct Generation {
    client: SplitClient,
    asked: Asked,
    context: usize,
    /// Whether the cloud that it began with lets it go on in another session.
    can_replay: bool,
    /// How that cloud computes.
    numerics: Numerics,
    /// Whether all of it is what one session would have made of it.
    exact: bool,
    /// To the cloud of the session, or of the one that was tried last.
    link: Link,
    /// Whether it has stayed with a cloud that will stop, for no other one would have it.
    stays: bool,
    /// `None` while a lost one is replaced.
    session: Option<Session>,
    /// A lost one that the cloud keeps for a while.
    left: Option<Left>,
    /// Positions of the prompt that the first session had: a kept one, or those that it began with.
    reused: usize,
    tokens: Vec<u32>,
    /// What guesses the next ones.
    drafter: Option<Drafter>,
    /// What sessions have cost that were lost.
    lost: Usage,
    /// How their rows were written.
    written: WrittenRows,
    replays: u32,
}

/// The row of the last token, being computed, and those of drafts; or the error for which none is being computed.
#[derive(Debug)]
pub struct NextRows(Result<PendingRows, SessionError>);

impl Generation {
    /// Runs a prompt, in a kept session where there is one, and returns its first token. A kept session may have been
    /// given up by the cloud meanwhile: then it is another one.
    ///
    /// # Errors
    /// Why there is no session, or why it failed.
    pub async fn begin(
        client: &SplitClient,
        asked: Asked,
        kept: Option<Kept>,
        cloud: Cloud,
        span: &Span,
    ) -> Result<(Self, v1::Tokens), SessionError> {
        let mut generation = Self {
            can_replay: client.can_replay(&cloud),
            numerics: Numerics::of(&cloud.described),
            exact: true,
            link: cloud.link.clone(),
            stays: false,
            left: None,
            context: client.context(&cloud),
            client: client.clone(),
            drafter: client.drafter(&asked, client.context(&cloud)),
            asked,
            session: None,
            reused: 0,
            tokens: Vec::new(),
            lost: Usage::default(),
            written: WrittenRows::default(),
            replays: 0,
        };
        let keeps = generation.asked.run.constraint.is_some();
        let kept = kept.filter(|kept| !keeps || kept.session.can_constrain());
        if let Some(Kept { session, shared }) = kept {
            // The last token's row must run again: its logits are not kept.
            let reused = shared.min(generation.asked.prompt.len() - 1);
            generation.goes_on_with(session.link());
            generation.numerics = session.numerics().clone();
            match generation.run(session, reused, span).await {
                Ok(first) => return Ok((generation, first)),
                Err(error) if error.retry() != Retry::Never || error.may_go_on_elsewhere() => {
                    tracing::debug!(%error, "a kept session was given up");
                    generation.session = None;
                    generation.written = WrittenRows::default();
                }
                Err(error) => return Err(error),
            }
        }
        let first = match generation.open(&cloud, span).await {
            Err(error) if error.retry() == Retry::AtOnce => {
                tracing::debug!(%error, "beginning on a new connection");
                generation.open(&cloud, span).await
            }
            begun => begun,
        };
        let first = match first {
            Err(error) if !error.is_loss() => generation.begin_elsewhere(error, span).await,
            first => first,
        };
        let first = match first {
            Err(error) if error.is_loss() => generation.replay(error, span).await,
            first => first,
        };
        let first = first.inspect_err(|error| {
            if error.cloud_may_have_changed() {
                generation.link.forget();
            }
        })?;
        Ok((generation, first))
    }

    /// Begins with each of the other clouds that are known to answer, until one has it: where one is full or away, another
    /// may not be. Where none is known to, those that were away are asked once. A session that was open and is lost ends
    /// it: that is for [`Generation::replay`].
    async fn begin_elsewhere(
        &mut self,
        mut error: SessionError,
        span: &Span,
    ) -> Result<v1::Tokens, SessionError> {
        let mut tried = Vec::new();
        let mut has_asked = false;
        while !error.is_loss() && error.may_go_on_elsewhere() {
            tried.push(self.link.number());
            if error.cloud_may_have_changed() {
                self.link.forget();
            }
            let wish = Wish {
                positions: self.context,
                like: None,
                only_like: false,
                but_for: &tried,
                holds: &|_| 0,
            };
            let clouds = self.client.clouds();
            let cloud = match clouds.ready(&wish) {
                Some(cloud) => cloud,
                None if error.is_broken_stream() && !has_asked => {
                    has_asked = true;
                    match clouds.ask(&wish).await {
                        Ok(cloud) => cloud,
                        Err(_) => break,
                    }
                }
                None => break,
            };
            tracing::info!(%error, "an answer is begun again");
            self.lose_session();
            match self.open(&cloud, span).await {
                Ok(first) => return Ok(first),
                Err(next) => error = next,
            }
        }
        Err(error)
    }

    /// Positions of the prompt that were held when it began.
    pub fn reused(&self) -> usize {
        self.reused
    }

    /// How many sessions it has lost.
    pub fn replays(&self) -> u32 {
        self.replays
    }

    /// Whether all of it is what one session would have made of it.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// The link that it goes over now.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What it has cost.
    pub fn usage(&self) -> Usage {
        let mut usage = self.lost;
        if let Some(session) = &self.session {
            usage.add(&session.usage());
        }
        usage
    }

    /// Keeps the answer, so that it can be drafted where a later one to the same asker says it again.
    pub fn remember(&self) {
        self.client.remember(&self.asked.asker, &self.tokens);
    }

    /// The session, to be kept for the next turn.
    pub fn into_session(self) -> Option<Session> {
        self.session
    }

    /// Begins to compute the row of the last token, where another one is to follow, and those of drafts behind it.
    pub async fn begin_rows(&mut self) -> NextRows {
        let last = self.tokens.last().copied().unwrap_or_default();
        let drafts = self.drafts();
        NextRows(match &mut self.session {
            Some(session) => session.begin_rows(last, &drafts).await,
            None => Err(CloudError::Gone.into()),
        })
    }

    /// The drafts of the next message, as far as they are worth their rows.
    fn drafts(&mut self) -> Vec<u32> {
        let Some(drafter) = &mut self.drafter else {
            return Vec::new();
        };
        // Behind what was lost on its way, or is not sent yet, nothing can be said.
        let can_draft = self.session.as_ref().is_some_and(|session| {
            session.can_draft() && session.drafts_on_their_way() == drafter.on_their_way()
        });
        // No draft is sent for a position behind the answer's last token, or behind the end of the context.
        let left = match self.asked.run.max_tokens as usize {
            0 => usize::MAX,
            most => most.saturating_sub(self.tokens.len() + 1),
        };
        let positions = self.asked.prompt.len() + self.tokens.len() + 1;
        let left = left.min(self.context.saturating_sub(positions));
        if can_draft {
            let limits = self.client.limits();
            drafter.draft(Gain {
                times: self.link.round_times(),
                answers: f64::from(self.link.answers()),
                most: limits.drafts.min(left),
                message: limits.drafts_a_message,
            })
        } else {
            Vec::new()
        }
    }

    /// The next token, and those behind it that were drafted.
    ///
    /// # Errors
    /// Why the answer cannot go on.
    pub async fn next(&mut self, rows: NextRows, span: &Span) -> Result<v1::Tokens, SessionError> {
        if let Some(next) = self.next_elsewhere(span).await {
            return Ok(next);
        }
        match self.next_here(rows).await {
            Err(error) => self.replay(error, span).await,
            next => next,
        }
    }

    /// Ends the answer before the cloud knows of it, as at a stop string, without the last `unused` tokens. A session that
    /// is lost thereby is lost for the next turn only.
    pub async fn end_early(&mut self, unused: usize) {
        let used = self.tokens.len().saturating_sub(unused);
        self.tokens.truncate(used);
        // The last token's row is not needed.
        let positions = (self.asked.prompt.len() + used).saturating_sub(1);
        if let Some(session) = &mut self.session
            && let Err(error) = session.end_early(positions).await
        {
            tracing::debug!(%error, "the session is lost behind its answer");
            self.lose_session();
        }
    }

    async fn next_here(&mut self, NextRows(rows): NextRows) -> Result<v1::Tokens, SessionError> {
        let rows = rows?;
        let session = self.session.as_mut().ok_or(CloudError::Gone)?;
        session.send_rows(rows).await?;
        // More drafts may follow until there is an answer.
        while let Some(session) = &mut self.session
            && !session.has_heard()
        {
            let drafts = self.drafts();
            let session = self.session.as_mut().ok_or(CloudError::Gone)?;
            if !drafts.is_empty() {
                let last = self.tokens.last().copied().unwrap_or_default();
                let rows = session.begin_rows(last, &drafts).await?;
                session.send_rows(rows).await?;
                continue;
            }
            let Some(another) = self.drafter.as_ref().and_then(Drafter::another) else {
                break;
            };
            tokio::select! {
                () = session.heard() => break,
                () = another => {}
            }
        }
        let session = self.session.as_mut().ok_or(CloudError::Gone)?;
        let tokens = session.token().await?;
        self.took(&tokens)?;
        Ok(tokens)
    }

    /// Takes note of tokens. The last one that was asked for ends the answer.
    fn took(&mut self, tokens: &v1::Tokens) -> Result<(), CloudError> {
        self.tokens.extend(&tokens.ids);
        if let Some(drafter) = &mut self.drafter {
            tokens.ids.iter().for_each(|&id| drafter.push(id));
        }
        let most = self.asked.run.max_tokens as usize;
        let goes_on = tokens.finish_reason == i32::from(v1::FinishReason::Unspecified);
        if goes_on && most > 0 && self.tokens.len() >= most {
            return Err(CloudError::Unasked {
                problem: format!("the answer goes on behind {most} tokens"),
            });
        }
        Ok(())
    }

    /// The next token of another cloud that computes alike, where this one will stop: it would take as long to get there
    /// later, and might have no time to.
    async fn next_elsewhere(&mut self, span: &Span) -> Option<v1::Tokens> {
        let drains = self.session.as_ref().is_some_and(Session::is_draining);
        if !drains || self.stays || !self.can_replay {
            return None;
        }
        let here = [self.link.number()];
        let cloud = self.client.clouds().ready(&Wish {
            but_for: &here,
            only_like: true,
            ..self.wish()
        })?;
        let draining = self.session.take()?;
        self.keep_written(&draining);
        self.replays += 1;
        let began = Instant::now();
        let mut child = span.child("replay", began);
        child.set("tandem.replay.cause", DRAINING);
        child.set("tandem.replay.tokens", self.tokens.len() as u64);
        let moved = self.open(&cloud, &child).await;
        match &moved {
            Ok(_) => {
                tracing::info!(
                    from = draining.link().address(),
                    to = cloud.link.address(),
                    tokens = self.tokens.len(),
                    "an answer left a cloud that will stop"
                );
                REPLAYS.counter(&[DRAINING]).increment(1);
                REPLAY.histogram(&[]).record(began.elapsed());
                self.lost.add(&draining.usage());
            }
            Err(error) => {
                tracing::info!(%error, "an answer stays with a cloud that will stop");
                child.fail(DRAINING, Some(&error.to_string()));
                self.lose_session();
                self.goes_on_with(draining.link());
                self.session = Some(draining);
                self.stays = true;
            }
        }
        child.end(Instant::now());
        moved.ok()
    }

    /// What the next session is to have.
    fn wish(&self) -> Wish<'_> {
        let has_begun = !self.tokens.is_empty();
        Wish {
            positions: self.context,
            like: has_begun.then_some(&self.numerics),
            only_like: has_begun && self.client.limits().replay.only_exact,
            but_for: &[],
            holds: &|_| 0,
        }
    }

    /// Another cloud that is known to answer.
    fn ready_elsewhere(&self) -> Option<Cloud> {
        let here = [self.link.number()];
        self.client.clouds().ready(&Wish {
            but_for: &here,
            ..self.wish()
        })
    }

    fn goes_on_with(&mut self, link: &Link) {
        self.link = link.clone();
        self.stays = false;
    }

    async fn open(&mut self, cloud: &Cloud, span: &Span) -> Result<v1::Tokens, SessionError> {
        self.goes_on_with(&cloud.link);
        if self.asked.run.constraint.is_some() && !cloud.serves(v1::Feature::Constraints) {
            return Err(CloudError::Unconstrained.into());
        }
        let numerics = Numerics::of(&cloud.described);
        let is_like = numerics.are_like(&self.numerics);
        if self.tokens.is_empty() {
            self.numerics = numerics;
        }
        let tokens = [&self.asked.prompt[..], &self.tokens].concat();
        let opening = Opening {
            context: self.context,
            cloud,
            replays: self.replays,
            asker: &self.asked.asker,
            tokens: &tokens,
            written: &self.written,
        };
        let session = self.client.open(opening).await?;
        let same = is_like && session.can_write(&self.written);
        let begun = session.tokens().len();
        let has_begun = !self.tokens.is_empty();
        let next = self.run(session, begun, span).await?;
        if has_begun && !same && std::mem::take(&mut self.exact) {
            INEXACT_ANSWERS.counter(&[]).increment(1);
            tracing::warn!(
                cloud = cloud.link.address(),
                "an answer goes on in a cloud that is not known to compute as the one that it began with: the rest may be \
                 another one than it would have been"
            );
        }
        Ok(next)
    }

    /// Runs the prompt and the tokens so far but for what the session has, and waits for the next token.
    async fn run(
        &mut self,
        session: Session,
        mut kept: usize,
        span: &Span,
    ) -> Result<v1::Tokens, SessionError> {
        let session = self.session.insert(session);
        let (traceparent, tracestate) = span.carried().unwrap_or_default();
        let is_first = self.tokens.is_empty() && self.replays == 0;
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        // Not 0, which is for as long as it takes.
        let millis = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        let run = || v1::Run {
            traceparent: traceparent.clone(),
            tracestate: tracestate.clone(),
            timeout_millis: self.asked.deadline.map_or(0, |at| millis(left(at))),
            answered: u32::try_from(self.tokens.len()).unwrap_or(u32::MAX),
            answered_token_ids: match &self.asked.run.constraint {
                Some(_) => self.tokens.clone(),
                None => Vec::new(),
            },
            ..self.asked.run.clone()
        };
        session.write_as(std::mem::take(&mut self.written));
        session
            .begin(
                kept,
                run(),
                self.asked.needs_token_ids,
                PromptTrace::begin(span),
            )
            .await?;
        let rows = [&self.asked.prompt[..], &self.tokens].concat();
        session.prompt(&rows[kept..]).await?;
        let tokens = match session.first_token().await? {
            Some(tokens) => tokens,
            None => {
                session.begin_short(run()).await?;
                let held = session.tokens().len();
                session.prompt(&rows[held..]).await?;
                kept = held;
                session.token().await?
            }
        };
        if is_first {
            self.reused = kept.min(self.asked.prompt.len());
        }
        self.took(&tokens)?;
        Ok(tokens)
    }

    /// Goes on in another session, and returns the next token.
    async fn replay(
        &mut self,
        error: SessionError,
        span: &Span,
    ) -> Result<v1::Tokens, SessionError> {
        let began = Instant::now();
        let mut child = span.child("replay", began);
        let cause = error.loss_label();
        let before = self.replays;
        let replayed = self.try_sessions(error, began, &child).await;
        child.set("tandem.replay.cause", cause);
        child.set("tandem.replay.tokens", self.tokens.len() as u64);
        if let Err(error) = &replayed {
            child.fail(cause, Some(&error.to_string()));
        } else {
            if self.replays > before {
                REPLAYS.counter(&[cause]).increment(1);
            }
            REPLAY.histogram(&[]).record(began.elapsed());
        }
        child.end(Instant::now());
        replayed
    }

    async fn try_sessions(
        &mut self,
        mut error: SessionError,
        began: Instant,
        span: &Span,
    ) -> Result<v1::Tokens, SessionError> {
        let terms = self.client.limits().replay;
        let mut give_up = match self.asked.deadline {
            _ if !self.can_replay => return Err(error),
            Some(deadline) => deadline,
            None => began + terms.within,
        };
        let mut pauses = pauses();
        let mut attempts = 0;
        loop {
            if error.is_broken_stream() {
                self.leave_session();
            } else {
                self.lose_session();
            }
            if !error.may_go_on_elsewhere() {
                return Err(error);
            }
            let pause = pauses.next().unwrap_or(PAUSES[1]);
            let pause = error.retry_after().unwrap_or_default().max(pause);
            attempts += 1;
            let is_spent = self.asked.deadline.is_none() && attempts > terms.attempts;
            if is_spent || Instant::now() + pause >= give_up {
                return Err(error);
            }
            tracing::info!(
                %error,
                tokens = self.tokens.len(),
                pause = pause.as_secs_f64(),
                "a session was lost in the middle of an answer; going on in another"
            );
            if error.cloud_may_have_changed() {
                self.link.forget();
            }
            // There is nothing to wait for where another one is ready.
            let at_once = self.left.is_some() || self.ready_elsewhere().is_some();
            if attempts > 1 || !at_once {
                tokio::time::sleep(pause).await;
            }
            match self.again(span).await {
                Ok(tokens) => return Ok(tokens),
                Err(next) => error = next,
            }
            // One was found, and is lost again: the search begins anew.
            if error.is_loss() && self.asked.deadline.is_none() {
                give_up = Instant::now() + terms.within;
            }
        }
    }

    /// Tries another session.
    async fn again(&mut self, span: &Span) -> Result<v1::Tokens, SessionError> {
        let left = self.left.take_if(|left| Instant::now() < left.until);
        if let Some(left) = left
            && self.is_worth_taking_up(&left).await
        {
            match self.take_up(left, span).await {
                Err(error) if error.is_session_gone() => {}
                taken_up => return taken_up,
            }
        }
        self.left = None;
        self.replays += 1;
        let cloud = match self.ready_elsewhere() {
            Some(cloud) => cloud,
            None => self.client.clouds().choose(&self.wish()).await?,
        };
        let granted = self.client.context(&cloud);
        if granted < self.context {
            let context = self.context;
            return Err(CloudError::GrantedLess { granted, context }.into());
        }
        if !self.client.can_replay(&cloud) {
            return Err(CloudError::Gone.into());
        }
        self.open(&cloud, span).await
    }

    /// Whether a session that was left is the way to go on: where another cloud is ready, its own must answer at once.
    async fn is_worth_taking_up(&self, left: &Left) -> bool {
        if self.ready_elsewhere().is_none() {
            return true;
        }
        let described = tokio::time::timeout(AT_ONCE, left.session.link().describe());
        matches!(described.await, Ok(Ok(_)))
    }

    /// Goes on with a session that was left. Where its cloud cannot be reached yet, it stays left.
    async fn take_up(&mut self, left: Left, span: &Span) -> Result<v1::Tokens, SessionError> {
        let Left { mut session, until } = left;
        session.resume(self.asked.prompt.len() + self.tokens.len() - 1);
        let kept = session.tokens().len();
        let taken_up = self.run(session, kept, span).await;
        match &taken_up {
            Ok(_) => RESUMES.counter(&[]).increment(1),
            Err(error) if error.is_broken_stream() => {
                self.leave_session();
                if let Some(left) = &mut self.left {
                    left.until = until;
                }
            }
            Err(_) => self.lose_session(),
        }
        taken_up
    }

    /// Keeps a session whose stream broke for as long as the cloud does, where it does.
    fn leave_session(&mut self) {
        let lease = self.session.as_ref().map_or(Duration::ZERO, Session::lease);
        let Some(session) = self.session.take_if(|_| !lease.is_zero()) else {
            self.lose_session();
            return;
        };
        self.keep_of(&session);
        let until = Instant::now() + lease;
        self.left = Some(Left { session, until });
    }

    /// Takes note of what a lost session has cost, and of how it wrote its rows.
    fn lose_session(&mut self) {
        if let Some(session) = self.session.take() {
            self.keep_of(&session);
        }
    }

    fn keep_of(&mut self, session: &Session) {
        self.lost.add(&session.usage());
        self.keep_written(session);
    }

    fn keep_written(&mut self, session: &Session) {
        if let Some(drafter) = &mut self.drafter {
            drafter.lost();
        }
        self.written = session.written().clone();
        // Not how drafts were.
        let known = self.asked.prompt.len() + self.tokens.len();
        self.written.truncate(known);
    }
}

/// Pauses with jitter, each about twice as long as the one before.
fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(PAUSES[0])
        .with_max_delay(PAUSES[1])
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_seconds_and_differ() {
        let firsts: Vec<Duration> = (0..20).filter_map(|_| pauses().next()).collect();
        assert!(
            firsts
                .iter()
                .all(|pause| (PAUSES[0]..3 * PAUSES[0]).contains(pause))
        );
        assert!(firsts.iter().any(|pause| *pause != firsts[0]));
        let later: Vec<Duration> = pauses().skip(20).take(20).collect();
        assert!(
            later
                .iter()
                .all(|pause| (PAUSES[1]..=3 * PAUSES[1]).contains(pause))
        );
    }
}
