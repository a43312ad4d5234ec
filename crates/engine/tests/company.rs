//! A session's tokens and log-probabilities have the same bits whatever runs beside it: other sessions, cut
//! at other layers, in any batches and parts, through truncations. And they are the same when it begins with pages
//! that another one has filled, and whatever drafts it sends.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is unwrapped is under test"
)]

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use std::path::Path;
use std::sync::Arc;
use tandem_codec::Codec;
use tandem_engine::sampler::SamplingParameters;
use tandem_engine::{
    Back, BackOpen, BackOutput, BackSession, BackStep, Compute, FrameCodec, Front, FrontOpen,
    FrontSession, FrontStep, Half as _, KeptPage, KvBudget, ModelFiles, NamedPage, Outcome,
    PageKey, RowsInput, RowsStep, RunRequest, RunToken, Turn, Want,
};
use tandem_model::{KvPage, PAGE_POSITIONS};

const CONTEXT: usize = 160;
const LAYERS: usize = 3;

/// The halves of a model for every cut.
struct Halves {
    /// By split, from 1 on.
    fronts: Vec<Front>,
    back: Back,
}

impl Halves {
    fn load(model: &str, [front, back]: [&str; 2], kv: &str) -> Self {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models");
        let files = ModelFiles::open(&models.join(model)).unwrap();
        assert_eq!(files.config.layers, LAYERS);
        let [in_front, behind] = [front, back]
            .map(|weights| Compute::configured(["plain", "cpu"], weights, kv).unwrap());
        let front = |split| files.front(split, &in_front, |_| {}).unwrap();
        Self {
            fronts: (1..=LAYERS).map(front).collect(),
            back: files.back(0, &behind, |_| {}).unwrap(),
        }
    }

    /// Pages that the sessions hold, and those that are kept.
    fn pages_in_use(&self) -> usize {
        let memory = |front: &Front| front.kv_memory().pages_in_use();
        let back = self.back.kv_memory().pages_in_use();
        back + self.fronts.iter().map(memory).sum::<usize>()
    }

    /// Rows as the back of a split takes them, and the pages that the front has filled.
    fn input(
        &mut self,
        plan: &Plan,
        front: &mut Option<FrontSession>,
        ids: &[u32],
    ) -> (RowsInput, Vec<KvPage>) {
        let Some(session) = front else {
            return (RowsInput::Tokens(ids.to_vec()), Vec::new());
        };
        let step = FrontStep::Tokens {
            tokens: ids.to_vec(),
            codec: FrameCodec::uncalibrated(Codec::F32),
            frame_bytes: 4096,
        };
        let front = &mut self.fronts[plan.split - 1];
        let output = front.step(session, step).unwrap();
        let frames = output.frames.into_iter().map(|frame| frame.bytes);
        (
            RowsInput::Frames(frames.collect::<Vec<Bytes>>()),
            output.pages,
        )
    }
}

/// What a session does: an answer to a prompt, and behind a truncation another one.
#[derive(Debug, Clone)]
struct Plan {
    split: usize,
    prompt: Vec<u32>,
    /// Rows of a message.
    message: usize,
    /// Tokens of each answer.
    tokens: usize,
    /// Positions kept between the answers.
    kept: usize,
    seed: u64,
}

fn plan() -> impl Strategy<Value = Plan> {
    let prompt = prop::collection::vec(0u32..300, 2..100);
    (0..=LAYERS, prompt, 1usize..30, 1usize..8, any::<u64>()).prop_flat_map(
        |(split, prompt, message, tokens, seed)| {
            (0..prompt.len()).prop_map(move |kept| Plan {
                split,
                prompt: prompt.clone(),
                message,
                tokens,
                kept,
                seed,
            })
        },
    )
}

/// A token and its log-probabilities, to the bit.
type Token = (u32, String);

/// A session that follows its plan.
struct Client {
    plan: Plan,
    front: Option<FrontSession>,
    back: BackSession,
    /// Steps that are to run, in order.
    waiting: Vec<BackStep>,
    epoch: u32,
    /// The tokens whose rows it has sent, guessed ones among them.
    rows: Vec<u32>,
    /// Tokens that are known or guessed, behind the prompt.
    guesses: Guesses,
    answers: usize,
    /// Every token and its log-probabilities, to the bit.
    seen: Vec<Token>,
    /// What it has filled until its first token.
    filled: Pages,
}

/// What tokens are to come, as far as a client knows and says.
#[derive(Default)]
struct Guesses {
    /// All of them; none where it sends no drafts.
    tokens: Vec<u32>,
    choices: Option<ChaCha8Rng>,
}

impl Guesses {
    /// Some tokens behind the first `seen`, the last of them a wrong one or not.
    fn behind(&mut self, seen: usize) -> Vec<u32> {
        let Some(choices) = &mut self.choices else {
            return Vec::new();
        };
        let choice = choices.next_u32();
        let rest = self.tokens.get(seen..).unwrap_or_default();
        let mut guessed = rest[..rest.len().min(choice as usize % 6)].to_vec();
        if choice % 7 < 3
            && let Some(last) = guessed.last_mut()
        {
            *last = (*last + 1) % 300;
        }
        guessed
    }
}

/// The pages of a prompt, in both halves.
#[derive(Default)]
struct Pages {
    front: Vec<KvPage>,
    back: Vec<NamedPage>,
}

impl Client {
    /// A client whose session begins with some of these pages of its prompt.
    fn new(halves: &mut Halves, plan: Plan, pages: &Pages, count: usize) -> Self {
        let unlimited = KvBudget::new(u64::MAX);
        let kept = pages.back.iter().take(count).map(|page| {
            let nothing = unlimited.reserve(0).unwrap();
            Arc::new(KeptPage::new(page.clone(), nothing))
        });
        let open = BackOpen {
            split: plan.split,
            context: CONTEXT,
            pages: kept.collect(),
            page_key: Some(PageKey::derive(&[7; 32], b"these tests")),
            ..BackOpen::default()
        };
        let begun = open.pages.len() * PAGE_POSITIONS;
        let front = plan.split.checked_sub(1).map(|at| {
            let open = FrontOpen {
                context: CONTEXT,
                pages: pages.front[..open.pages.len()].to_vec(),
                gives_pages: true,
            };
            halves.fronts[at].open(open).unwrap()
        });
        let mut client = Self {
            front,
            back: halves.back.session(open).unwrap(),
            filled: Pages::default(),
            waiting: Vec::new(),
            epoch: 0,
            rows: plan.prompt[..begun].to_vec(),
            guesses: Guesses::default(),
            answers: 0,
            seen: Vec::new(),
            plan,
        };
        client.begin(halves, begun);
        client
    }

    /// Begins an answer that keeps some positions.
    fn begin(&mut self, halves: &mut Halves, kept: usize) {
        self.epoch += 1;
        self.waiting.push(BackStep::Truncate {
            epoch: self.epoch,
            position: kept,
        });
        self.goes_on_from(halves, kept);
        let parameters = SamplingParameters {
            temperature: 0.8,
            repetition_penalty: 1.1,
            seed: self.plan.seed,
            logprobs: Some(3),
            ..SamplingParameters::default()
        };
        self.waiting.push(BackStep::Run(Box::new(RunRequest {
            parameters,
            max_tokens: Some(self.plan.tokens),
            history: self.plan.prompt[..kept].to_vec(),
            ..RunRequest::default()
        })));
        let prompt = self.plan.prompt[kept..].to_vec();
        let messages = prompt.chunks(self.plan.message).count();
        for (number, ids) in prompt.chunks(self.plan.message).enumerate() {
            self.send(halves, ids, Want::last(number + 1 == messages));
        }
    }

    /// Rows from a position on are sent anew.
    fn goes_on_from(&mut self, halves: &mut Halves, position: usize) {
        self.rows.truncate(position);
        if let Some(session) = &mut self.front {
            let step = FrontStep::Truncate { position };
            let front = &mut halves.fronts[self.plan.split - 1];
            front.step(session, step).unwrap();
        }
    }

    /// Sends the row of the last token, where it was not sent as a guess, and the rows of more guesses in one message or
    /// in two.
    fn send_token(&mut self, halves: &mut Halves, token: &RunToken) {
        let mut first = Vec::new();
        if self.rows.len() == token.position {
            first.push(token.id);
        }
        let ahead = self.rows.len().saturating_sub(token.position + 1);
        first.extend(self.guesses.behind(self.seen.len() + ahead));
        let behind = first.split_off(first.len().min(2));
        for ids in [first, behind] {
            match self.guesses.choices {
                _ if ids.is_empty() => {}
                Some(_) => self.send(halves, &ids, Want::EachToken),
                None => self.send(halves, &ids, Want::Token),
            }
        }
    }

    fn send(&mut self, halves: &mut Halves, ids: &[u32], want: Want) {
        let (input, pages) = halves.input(&self.plan, &mut self.front, ids);
        if self.seen.is_empty() {
            self.filled.front.extend(pages);
        }
        self.waiting.push(BackStep::Rows(RowsStep {
            epoch: self.epoch,
            start: self.rows.len(),
            count: ids.len(),
            skip: 0,
            input,
            token_ids: ids.to_vec(),
            want,
            room: None,
        }));
        self.rows.extend(ids);
    }

    /// Makes so many of the steps that wait one, as far as they can be.
    fn merge(&mut self, steps: u32) {
        for _ in 0..steps {
            if self.waiting.len() < 2 {
                return;
            }
            let next = self.waiting.remove(1);
            if let Some(next) = Back::merge(&mut self.waiting[0], next) {
                self.waiting.insert(1, next);
                return;
            }
        }
    }

    /// A step has ended.
    fn ended(&mut self, halves: &mut Halves, output: BackOutput) {
        self.waiting.remove(0);
        if self.seen.is_empty() {
            self.filled.back.extend(output.pages);
        }
        for token in &output.tokens {
            self.seen.push((token.id, format!("{:?}", token.logprobs)));
        }
        let Some(last) = output.tokens.last() else {
            return;
        };
        let guessed = self.rows.get(last.position);
        if last.finish.is_some() {
            self.answers += 1;
            if self.answers == 1 {
                self.begin(halves, self.plan.kept);
            }
            return;
        }
        if guessed.is_some_and(|&id| id != last.id) {
            self.epoch += 1;
            self.goes_on_from(halves, last.position);
        }
        self.send_token(halves, last);
    }

    /// What it sees when nothing runs beside it.
    fn alone(halves: &mut Halves, plan: Plan) -> (Vec<Token>, Pages) {
        let mut client = Self::new(halves, plan, &Pages::default(), 0);
        while !client.waiting.is_empty() {
            let step = client.waiting.remove(0);
            let done = halves.back.step(&mut client.back, step).unwrap();
            client.waiting.insert(
                0,
                BackStep::Truncate {
                    epoch: 0,
                    position: 0,
                },
            );
            client.ended(halves, done);
        }
        (client.seen, client.filled)
    }
}

/// Runs all of them, each time some together, each with some rows, as `choices` have it; some begin with pages.
fn together(
    halves: &mut Halves,
    plans: &[Plan],
    (alone, pages): (&[Vec<Token>], &[Pages]),
    choices: u64,
) -> Vec<Vec<Token>> {
    let mut choices = ChaCha8Rng::seed_from_u64(choices);
    let mut clients: Vec<Client> = Vec::new();
    for (at, (plan, pages)) in plans.iter().zip(pages).enumerate() {
        let most = pages
            .back
            .len()
            .min((plan.prompt.len() - 1) / PAGE_POSITIONS);
        let count = choices.next_u32() as usize % (most + 1);
        let mut client = Client::new(halves, plan.clone(), pages, count);
        if choices.next_u32() % 3 > 0 {
            client.guesses = Guesses {
                tokens: alone[at].iter().map(|(id, _)| *id).collect(),
                choices: Some(ChaCha8Rng::seed_from_u64(choices.next_u64())),
            };
        }
        clients.push(client);
    }
    while clients.iter().any(|client| !client.waiting.is_empty()) {
        let mut chosen = Vec::new();
        for (at, client) in clients.iter_mut().enumerate() {
            let choice = choices.next_u32();
            client.merge(choice % 5);
            if !client.waiting.is_empty() && choice % 3 != 0 {
                chosen.push((at, 1 + choice as usize % 20, client));
            }
        }
        let mut turns: Vec<Turn<'_, Back>> = Vec::new();
        let mut order = Vec::new();
        for (at, rows, client) in chosen {
            order.push(at);
            turns.push(Turn::new(&mut client.back, &mut client.waiting[0], rows));
        }
        halves.back.run(&mut turns);
        let outcomes: Vec<_> = turns.into_iter().map(|turn| turn.outcome).collect();
        for (at, outcome) in order.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Done(done) => clients[at].ended(halves, done.unwrap()),
                Outcome::Unfinished => {}
                Outcome::NotRun => panic!("it was left out"),
            }
        }
    }
    clients.into_iter().map(|client| client.seen).collect()
}

fn holds_for(model: &str, weights: [&str; 2], kv: &str) {
    let mut halves = Halves::load(model, weights, kv);
    let plans = prop::collection::vec(plan(), 2..6);
    let mut runner = TestRunner::new(Config::with_cases(24));
    let mut run = |(plans, choices): (Vec<Plan>, u64)| {
        let alone: Vec<_> = plans
            .iter()
            .map(|plan| Client::alone(&mut halves, plan.clone()))
            .collect();
        let (alone, pages): (Vec<_>, Vec<_>) = alone.into_iter().unzip();
        for (plan, (alone, pages)) in plans.iter().zip(alone.iter().zip(&pages)) {
            assert_eq!(alone.len(), 2 * plan.tokens);
            assert_eq!(pages.back.len(), plan.prompt.len() / PAGE_POSITIONS);
        }
        let kept = halves.pages_in_use();
        let known = (&alone[..], &pages[..]);
        assert_eq!(together(&mut halves, &plans, known, choices), alone);
        // Again: whatever those did with the pages, they are as they were.
        assert_eq!(together(&mut halves, &plans, known, choices), alone);
        assert_eq!(halves.pages_in_use(), kept);
        drop(pages);
        assert_eq!(halves.pages_in_use(), 0);
    };
    // The runner's own closures cannot change what they borrow.
    for _ in 0..24 {
        let values = (&plans, any::<u64>())
            .new_tree(&mut runner)
            .unwrap()
            .current();
        run(values);
    }
}

#[test]
fn in_floats() {
    holds_for("llama-gqa-llama3-tied", ["f32"; 2], "f32");
}

#[test]
fn in_integers_of_several_types() {
    holds_for(
        "llama-gqa-llama3-tied",
        ["int8", "int8,0=int4:32,head=f32"],
        "int8",
    );
}

#[test]
fn with_norms_of_heads() {
    holds_for("qwen3-qknorm", ["int4:32"; 2], "int4");
}
