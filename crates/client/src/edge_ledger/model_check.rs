//! Every order in which an edge, the links and a cloud may do what they do, for short answers: the edge's ledger and the
//! cloud's are the real ones, and so is what decides which rows run. No token is lost, repeated or another one than the
//! model's, and every run ends.

use super::EdgeLedger;
use stateright::{Checker, Model, Property};
use std::hash::{Hash, Hasher};
use tandem_engine::{FinishReason, Ledger, LedgerError, RowsVerdict, RunToken, Standing};

/// Tokens of the model's vocabulary.
const VOCABULARY: u32 = 3;
/// Positions of a session.
const CONTEXT: usize = 8;

/// The token behind some others.
fn token_behind(tokens: &[u32]) -> u32 {
    let sum: u32 = tokens
        .iter()
        .enumerate()
        .map(|(p, t)| (p as u32 + 1) * (t + 1))
        .sum();
    sum % VOCABULARY
}

/// What may happen, and how often.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Answers, each behind what its prompt has in common with that before.
    turns: usize,
    /// The most tokens of an answer.
    answer: usize,
    /// The most rows of drafts on their way.
    drafts: usize,
    /// Broken streams.
    cuts: usize,
    /// Sessions that have to give way, and clouds that end.
    losses: usize,
    /// Positions that a session is believed to begin with, and how many of them the cloud has.
    pages: (usize, usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Up {
    Open,
    Resume {
        epoch: u32,
        position: usize,
    },
    Truncate {
        epoch: u32,
        position: usize,
    },
    Run {
        epoch: u32,
        answered: usize,
    },
    Rows {
        epoch: u32,
        start: usize,
        ids: Vec<u32>,
        want: Want,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Want {
    Nothing,
    Token,
    Each,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Down {
    Granted {
        positions: usize,
    },
    Progress {
        epoch: u32,
        received: usize,
    },
    Tokens {
        epoch: u32,
        position: usize,
        ids: Vec<u32>,
        ends: bool,
    },
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// So many rows of prompt and answer so far are still to be sent.
    Prompt,
    /// The next token is waited for, or asked for.
    Answer,
    /// The stream broke.
    Broken,
    /// The session is lost.
    Lost,
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Edge {
    ledger: EdgeLedger,
    phase: Phase,
    turn: usize,
    answer: Vec<u32>,
    begins_short: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    Truncate {
        epoch: u32,
        position: usize,
    },
    Run {
        answered: usize,
    },
    Rows {
        epoch: u32,
        start: usize,
        ids: Vec<u32>,
        want: Want,
    },
}

#[derive(Debug, Clone, PartialEq)]
struct Cloud {
    ledger: Ledger,
    /// Steps that wait for the engine.
    steps: Vec<Step>,
    /// What it has done, and the session not heard yet.
    done: Vec<(u32, Vec<RunToken>)>,
    /// Tokens whose keys and values the engine has.
    rows: Vec<u32>,
    standing: Standing,
    answered: usize,
}

impl Eq for Cloud {}

impl Hash for Cloud {
    fn hash<H: Hasher>(&self, state: &mut H) {
        format!("{self:?}").hash(state);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    edge: Edge,
    up: Vec<Up>,
    /// Of the stream before, of which the cloud has not noticed that it broke.
    late: Vec<Up>,
    down: Vec<Down>,
    /// Whether the edge's stream is the one that the cloud answers in.
    is_heard: bool,
    cloud: Option<Cloud>,
    cuts: usize,
    losses: usize,
    /// What should not have been.
    wrong: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// The edge sends the next row of its prompt.
    SendPrompt,
    /// The row of the last token, where it was not sent, and so many drafts, the last of them a wrong one or not.
    SendDrafts {
        drafts: usize,
        wrong: bool,
    },
    /// The edge ends its answer, as at a stop string.
    Stop,
    Receive,
    /// It takes its session up again.
    Resume,
    /// It goes on in another session.
    Replay,
    /// The cloud takes the next message.
    Deliver,
    /// The same, of the stream that broke.
    DeliverLate,
    RunStep,
    Notice,
    Cut,
    Lose,
}

impl Bounds {
    fn prompt(&self, turn: usize) -> Vec<u32> {
        vec![0, turn as u32 + 1]
    }

    /// What an edge sends at the beginning of a session.
    fn open(&self, edge: &mut Edge) -> Vec<Up> {
        let all = [&self.prompt(edge.turn)[..], &edge.answer].concat();
        let believed = all[..self.pages.0].to_vec();
        edge.ledger = EdgeLedger::beginning(believed);
        edge.phase = Phase::Prompt;
        let answered = edge.answer.len();
        vec![Up::Open, Up::Run { epoch: 0, answered }]
    }

    /// The next turn, in the session of the one before.
    fn next_turn(&self, edge: &mut Edge) -> Vec<Up> {
        let mut up = Vec::new();
        edge.turn += 1;
        edge.answer.clear();
        edge.phase = Phase::Prompt;
        if edge.ledger.tokens().len() > 1 {
            let cut = edge.ledger.truncate(1);
            let (epoch, position) = (cut.epoch, cut.position);
            up.push(Up::Truncate { epoch, position });
        }
        let epoch = edge.ledger.epoch();
        up.push(Up::Run { epoch, answered: 0 });
        up
    }
}

impl Cloud {
    /// Takes a message, and says what it is answered with.
    fn takes(&mut self, message: Up) -> Result<Option<Down>, String> {
        let words = |error: LedgerError| error.to_string();
        match message {
            Up::Open => {}
            Up::Resume { epoch, position } => {
                self.ledger.resume(epoch, position).map_err(words)?;
                self.steps.push(Step::Truncate { epoch, position });
                return Ok(Some(Down::Granted { positions: 0 }));
            }
            Up::Truncate { epoch, position } => {
                self.ledger.truncate(epoch, position).map_err(words)?;
                self.steps.push(Step::Truncate { epoch, position });
            }
            Up::Run { epoch, answered } => {
                if self.ledger.is_current(epoch).map_err(words)? {
                    self.steps.push(Step::Run { answered });
                }
            }
            Up::Rows {
                epoch,
                start,
                ids,
                want,
            } => {
                let (count, wants) = (ids.len(), want == Want::Token);
                let verdict = match want {
                    Want::Each => self.ledger.drafts(epoch, start, &ids),
                    _ => self.ledger.rows(epoch, start, count, wants),
                };
                match verdict.map_err(words)? {
                    RowsVerdict::Stale => {}
                    RowsVerdict::Run { .. } => {
                        self.steps.push(Step::Rows {
                            epoch,
                            start,
                            ids,
                            want,
                        });
                        let received = self.ledger.received();
                        return Ok(Some(Down::Progress { epoch, received }));
                    }
                    other => return Err(format!("rows are {other:?}")),
                }
            }
        }
        Ok(None)
    }
}

impl World {
    fn say(&mut self, message: Down) {
        if self.is_heard {
            self.down.push(message);
        }
    }

    fn edge_receives(&mut self, bounds: &Bounds) {
        let message = self.down.remove(0);
        let edge = &mut self.edge;
        match message {
            Down::Granted { positions } => {
                edge.begins_short = edge.ledger.granted(positions);
                if edge.begins_short.take().is_some() {
                    edge.phase = Phase::Prompt;
                    let (epoch, answered) = (edge.ledger.epoch(), edge.answer.len());
                    self.up.push(Up::Run { epoch, answered });
                }
            }
            Down::Progress { epoch, received } => edge.ledger.progress(epoch, received),
            Down::Tokens {
                epoch,
                position,
                ids,
                ends,
            } if epoch == edge.ledger.epoch() => {
                if let Err(unasked) = edge.ledger.took(position, &ids, ends) {
                    self.wrong = Some(unasked.to_string());
                    return;
                }
                edge.answer.extend(ids);
                let all = [&bounds.prompt(edge.turn)[..], &edge.answer].concat();
                let answer = bounds.prompt(edge.turn).len()..all.len();
                if answer.clone().any(|at| all[at] != token_behind(&all[..at])) {
                    self.wrong = Some(format!("the answer {:?}", edge.answer));
                }
                if ends != (edge.answer.len() == bounds.answer) {
                    self.wrong = Some(format!("an end behind {} tokens", edge.answer.len()));
                }
                if ends && edge.turn + 1 < bounds.turns {
                    let next = bounds.next_turn(edge);
                    self.up.extend(next);
                } else if ends {
                    edge.phase = Phase::Ended;
                }
            }
            Down::Tokens { .. } => {}
            Down::Lost => edge.phase = Phase::Lost,
        }
    }

    fn cloud_takes(&mut self, message: Up, bounds: &Bounds) {
        if matches!(message, Up::Open | Up::Resume { .. }) {
            self.is_heard = true;
            self.late.clear();
        }
        if message == Up::Open {
            let (believed, held) = bounds.pages;
            let all = [&bounds.prompt(self.edge.turn)[..], &self.edge.answer].concat();
            self.cloud = Some(Cloud {
                ledger: Ledger::beginning(CONTEXT, held, believed).with_drafts(),
                steps: Vec::new(),
                done: Vec::new(),
                rows: all[..held].to_vec(),
                standing: Standing::default(),
                answered: 0,
            });
            self.say(Down::Granted { positions: held });
            return;
        }
        let Some(cloud) = &mut self.cloud else {
            if matches!(message, Up::Resume { .. }) {
                self.say(Down::Lost);
            }
            return;
        };
        match cloud.takes(message) {
            Ok(Some(said)) => self.say(said),
            Ok(None) => {}
            Err(wrong) => self.wrong = Some(wrong),
        }
    }

    /// The engine runs a step.
    fn engine_runs(&mut self, bounds: &Bounds) {
        let Some(cloud) = &mut self.cloud else { return };
        match cloud.steps.remove(0) {
            Step::Truncate { epoch, position } => {
                cloud.rows.truncate(position);
                cloud.standing.truncate(epoch, position);
            }
            Step::Run { answered } => cloud.answered = answered,
            Step::Rows {
                epoch,
                start,
                ids,
                want,
            } => {
                let first = ids.first().copied().filter(|_| want == Want::Each);
                if !cloud.standing.runs(epoch, start, first) {
                    cloud.standing.drops(epoch);
                    return;
                }
                if start != cloud.rows.len() {
                    self.wrong = Some(format!("rows at {start} behind {}", cloud.rows.len()));
                    return;
                }
                let mut tokens: Vec<RunToken> = Vec::new();
                for (at, &id) in ids.iter().enumerate() {
                    if tokens.last().is_some_and(|token| !token.goes_on_with(id)) {
                        cloud.standing.drops(epoch);
                        break;
                    }
                    cloud.rows.push(id);
                    let is_last = at + 1 == ids.len();
                    if want == Want::Each || (want == Want::Token && is_last) {
                        cloud.answered += 1;
                        let ends = cloud.answered == bounds.answer;
                        let token = RunToken {
                            position: cloud.rows.len(),
                            id: token_behind(&cloud.rows),
                            logprobs: None,
                            finish: ends.then_some(FinishReason::Length),
                        };
                        cloud.standing.sampled(&token);
                        tokens.push(token);
                    }
                }
                if !tokens.is_empty() {
                    cloud.done.push((epoch, tokens));
                }
            }
        }
    }

    /// The session hears of a step that has run.
    fn cloud_notices(&mut self) {
        let Some(cloud) = &mut self.cloud else { return };
        let (epoch, tokens) = cloud.done.remove(0);
        let Some(position) = tokens.first().map(|token| token.position) else {
            return;
        };
        let ids = tokens.iter().map(|token| token.id).collect();
        let ends = tokens.iter().any(|token| token.finish.is_some());
        for token in tokens {
            cloud.ledger.sampled(epoch, token);
        }
        self.say(Down::Tokens {
            epoch,
            position,
            ids,
            ends,
        });
    }

    fn send_prompt(&mut self, bounds: &Bounds) {
        let edge = &mut self.edge;
        let all = [&bounds.prompt(edge.turn)[..], &edge.answer].concat();
        let start = edge.ledger.tokens().len();
        let ids = vec![all[start]];
        edge.ledger.send(&ids);
        let is_last = start + 1 == all.len();
        let want = if is_last { Want::Token } else { Want::Nothing };
        if is_last {
            edge.ledger.wants_token();
            edge.phase = Phase::Answer;
        }
        let epoch = edge.ledger.epoch();
        self.up.push(Up::Rows {
            epoch,
            start,
            ids,
            want,
        });
    }

    fn send_drafts(&mut self, drafts: usize, wrong: bool) {
        let edge = &mut self.edge;
        let start = edge.ledger.tokens().len();
        let mut ids = Vec::new();
        if edge.ledger.lacks_row() {
            ids.extend(edge.answer.last());
        }
        for number in 0..drafts {
            let before = [edge.ledger.tokens(), &ids].concat();
            let right = token_behind(&before);
            let is_wrong = wrong && number + 1 == drafts;
            ids.push((right + u32::from(is_wrong)) % VOCABULARY);
        }
        edge.ledger.send(&ids);
        let epoch = edge.ledger.epoch();
        self.up.push(Up::Rows {
            epoch,
            start,
            ids,
            want: Want::Each,
        });
    }
}

impl Model for Bounds {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut edge = Edge {
            ledger: EdgeLedger::beginning(Vec::new()),
            phase: Phase::Prompt,
            turn: 0,
            answer: Vec::new(),
            begins_short: None,
        };
        let up = self.open(&mut edge);
        vec![World {
            edge,
            up,
            late: Vec::new(),
            down: Vec::new(),
            is_heard: true,
            cloud: None,
            cuts: self.cuts,
            losses: self.losses,
            wrong: None,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let edge = &world.edge;
        if world.wrong.is_some() {
            return;
        }
        match edge.phase {
            Phase::Prompt => actions.push(Action::SendPrompt),
            Phase::Answer => {
                let most = self.drafts.saturating_sub(edge.ledger.drafts());
                let room = CONTEXT - edge.ledger.tokens().len();
                let lacks = usize::from(edge.ledger.lacks_row());
                for drafts in 1 - lacks..=most.min(room - lacks) {
                    let wrong = false;
                    actions.push(Action::SendDrafts { drafts, wrong });
                    if drafts > 0 {
                        let wrong = true;
                        actions.push(Action::SendDrafts { drafts, wrong });
                    }
                }
                if edge.turn + 1 < self.turns && !edge.answer.is_empty() {
                    actions.push(Action::Stop);
                }
            }
            Phase::Broken => actions.extend([Action::Resume, Action::Replay]),
            Phase::Lost => actions.push(Action::Replay),
            Phase::Ended => {}
        }
        if !matches!(edge.phase, Phase::Broken | Phase::Lost) {
            if !world.down.is_empty() {
                actions.push(Action::Receive);
            }
            if world.cuts > 0 && edge.phase != Phase::Ended {
                actions.push(Action::Cut);
            }
        }
        if !world.up.is_empty() {
            actions.push(Action::Deliver);
        }
        if world.cloud.is_some() && !world.late.is_empty() {
            actions.push(Action::DeliverLate);
        }
        if let Some(cloud) = &world.cloud {
            if !cloud.steps.is_empty() {
                actions.push(Action::RunStep);
            }
            if !cloud.done.is_empty() {
                actions.push(Action::Notice);
            }
            if world.losses > 0 && edge.phase != Phase::Ended {
                actions.push(Action::Lose);
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        match action {
            Action::SendPrompt => world.send_prompt(self),
            Action::SendDrafts { drafts, wrong } => world.send_drafts(drafts, wrong),
            Action::Stop => {
                let known = world.edge.ledger.tokens().len() - world.edge.ledger.drafts();
                let cut = world.edge.ledger.truncate(known);
                let (epoch, position) = (cut.epoch, cut.position);
                world.up.push(Up::Truncate { epoch, position });
                let next = self.next_turn(&mut world.edge);
                world.up.extend(next);
            }
            Action::Receive => world.edge_receives(self),
            Action::Resume => {
                let edge = &mut world.edge;
                let rows = self.prompt(edge.turn).len() + edge.answer.len();
                let cut = edge.ledger.resume(rows - 1);
                let (epoch, position) = (cut.epoch, cut.position);
                let answered = edge.answer.len();
                world.up = vec![Up::Resume { epoch, position }, Up::Run { epoch, answered }];
                edge.phase = Phase::Prompt;
            }
            Action::Replay => {
                world.cloud = None;
                world.late.clear();
                world.down.clear();
                world.up = self.open(&mut world.edge);
            }
            Action::Deliver => {
                let message = world.up.remove(0);
                world.cloud_takes(message, self);
            }
            Action::DeliverLate => {
                let message = world.late.remove(0);
                world.cloud_takes(message, self);
            }
            Action::RunStep => world.engine_runs(self),
            Action::Notice => world.cloud_notices(),
            Action::Cut => {
                world.cuts -= 1;
                world.late = std::mem::take(&mut world.up);
                world.down.clear();
                world.is_heard = false;
                // Before it was granted, a session has no lease.
                let believes = world.edge.ledger.believes() || world.cloud.is_none();
                world.edge.phase = if believes { Phase::Lost } else { Phase::Broken };
            }
            Action::Lose => {
                world.losses -= 1;
                world.cloud = None;
                if world.is_heard {
                    world.up.clear();
                    world.down = vec![Down::Lost];
                }
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is wrong", |_, world: &World| world.wrong.is_none()),
            Property::eventually("it ends", |bounds: &Self, world: &World| {
                world.edge.phase == Phase::Ended && world.edge.answer.len() == bounds.answer
            }),
        ]
    }
}

/// Tries everything, and returns in how many states that ends up.
fn check(bounds: Bounds) -> usize {
    let checker = bounds.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

const PLAIN: Bounds = Bounds {
    turns: 2,
    answer: 2,
    drafts: 0,
    cuts: 0,
    losses: 0,
    pages: (0, 0),
};

#[test]
fn whatever_happens_to_streams_and_sessions() {
    let states = check(Bounds {
        cuts: 1,
        losses: 1,
        ..PLAIN
    });
    assert!(states > 5_000, "{states} states");
}

#[test]
fn whatever_happens_to_drafts() {
    let in_order = Bounds {
        answer: 3,
        drafts: 2,
        ..PLAIN
    };
    let states = check(in_order);
    assert!(states > 10_000, "{states} states");
    let broken = Bounds {
        turns: 1,
        cuts: 1,
        ..in_order
    };
    let states = check(broken);
    assert!(states > 10_000, "{states} states");
}

#[test]
fn whatever_a_session_begins_with() {
    for pages in [(1, 1), (1, 0)] {
        let states = check(Bounds {
            turns: 1,
            drafts: 1,
            cuts: 1,
            losses: 1,
            pages,
            ..PLAIN
        });
        assert!(states > 1_000, "{states} states");
    }
}

/// The same with more of everything: minutes, and some gigabytes.
#[test]
#[ignore = "takes minutes"]
fn whatever_happens_at_length() {
    for (drafts, cuts, losses) in [(0, 2, 1), (2, 1, 0), (1, 1, 1)] {
        let states = check(Bounds {
            answer: 3,
            drafts,
            cuts,
            losses,
            ..PLAIN
        });
        println!("drafts {drafts}, cuts {cuts}, losses {losses}: {states} states");
    }
}
