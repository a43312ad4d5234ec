//! A session's tokens and log-probabilities have the same bits whatever runs beside it: other sessions, cut
//! at other layers, in any batches and parts, through truncations.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is unwrapped is under test"
)]

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use std::path::Path;
use tandem_codec::Codec;
use tandem_engine::sampler::SamplingParameters;
use tandem_engine::{
    Back, BackOpen, BackSession, BackStep, Compute, FrameCodec, Front, FrontSession, FrontStep,
    Half as _, ModelFiles, Outcome, RowsInput, RowsStep, RunRequest, RunToken, Turn,
};

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

    /// Rows as the back of a split takes them.
    fn input(&mut self, plan: &Plan, front: &mut Option<FrontSession>, ids: &[u32]) -> RowsInput {
        let Some(session) = front else {
            return RowsInput::Tokens(ids.to_vec());
        };
        let step = FrontStep::Tokens {
            tokens: ids.to_vec(),
            codec: FrameCodec::uncalibrated(Codec::F32),
            frame_bytes: 4096,
        };
        let front = &mut self.fronts[plan.split - 1];
        let frames = front.step(session, step).unwrap().frames;
        RowsInput::Frames(frames.into_iter().map(|f| f.bytes).collect::<Vec<Bytes>>())
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
    let prompt = prop::collection::vec(0u32..300, 2..50);
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

/// A session that follows its plan.
struct Client {
    plan: Plan,
    front: Option<FrontSession>,
    back: BackSession,
    /// Steps that are to run, in order.
    waiting: Vec<BackStep>,
    position: usize,
    sampled: usize,
    answers: usize,
    /// Every token and its log-probabilities, to the bit.
    seen: Vec<String>,
}

impl Client {
    fn new(halves: &mut Halves, plan: Plan) -> Self {
        let open = BackOpen {
            split: plan.split,
            context: CONTEXT,
            ..BackOpen::default()
        };
        let front = plan.split.checked_sub(1);
        let mut client = Self {
            front: front.map(|at| halves.fronts[at].session(CONTEXT).unwrap()),
            back: halves.back.session(open).unwrap(),
            waiting: Vec::new(),
            position: 0,
            sampled: 0,
            answers: 0,
            seen: Vec::new(),
            plan,
        };
        client.begin(halves, 0);
        client
    }

    /// Begins an answer that keeps some positions.
    fn begin(&mut self, halves: &mut Halves, kept: usize) {
        self.position = kept;
        self.sampled = 0;
        self.waiting.push(BackStep::Truncate { position: kept });
        if let Some(session) = &mut self.front {
            let step = FrontStep::Truncate { position: kept };
            halves.fronts[self.plan.split - 1]
                .step(session, step)
                .unwrap();
        }
        let parameters = SamplingParameters {
            temperature: 0.8,
            repetition_penalty: 1.1,
            seed: self.plan.seed,
            logprobs: Some(3),
            ..SamplingParameters::default()
        };
        self.waiting.push(BackStep::Run(Box::new(RunRequest {
            parameters,
            ..RunRequest::default()
        })));
        let prompt = self.plan.prompt[kept..].to_vec();
        self.send(halves, &prompt);
    }

    fn send(&mut self, halves: &mut Halves, ids: &[u32]) {
        let messages = ids.chunks(self.plan.message).count();
        for (number, ids) in ids.chunks(self.plan.message).enumerate() {
            self.waiting.push(BackStep::Rows(RowsStep {
                start: self.position,
                count: ids.len(),
                skip: 0,
                input: halves.input(&self.plan, &mut self.front, ids),
                token_ids: ids.to_vec(),
                want: number + 1 == messages,
                room: None,
            }));
            self.position += ids.len();
        }
    }

    /// A step has ended.
    fn ended(&mut self, halves: &mut Halves, token: Option<RunToken>) {
        self.waiting.remove(0);
        let Some(token) = token else { return };
        self.seen.push(format!("{} {:?}", token.id, token.logprobs));
        self.sampled += 1;
        if self.sampled < self.plan.tokens {
            self.send(halves, &[token.id]);
        } else if self.answers == 0 {
            self.answers = 1;
            self.begin(halves, self.plan.kept);
        }
    }

    /// What it sees when nothing runs beside it.
    fn alone(halves: &mut Halves, plan: Plan) -> Vec<String> {
        let mut client = Self::new(halves, plan);
        while !client.waiting.is_empty() {
            let step = client.waiting.remove(0);
            let done = halves.back.step(&mut client.back, step).unwrap();
            client.waiting.insert(0, BackStep::Truncate { position: 0 });
            client.ended(halves, done.token);
        }
        client.seen
    }
}

/// Runs all of them, each time some together, each with some rows, as `choices` have it.
fn together(halves: &mut Halves, plans: &[Plan], choices: &[u8]) -> Vec<Vec<String>> {
    let mut clients: Vec<Client> = plans
        .iter()
        .map(|plan| Client::new(halves, plan.clone()))
        .collect();
    let mut choices = choices.iter().copied().cycle();
    while clients.iter().any(|client| !client.waiting.is_empty()) {
        let mut chosen = Vec::new();
        for (at, client) in clients.iter_mut().enumerate() {
            let choice = choices.next().unwrap_or(1);
            if !client.waiting.is_empty() && choice % 3 != 0 {
                chosen.push((at, 1 + usize::from(choice) % 20, client));
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
                Outcome::Done(done) => clients[at].ended(halves, done.unwrap().token),
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
    let choices = prop::collection::vec(any::<u8>(), 16..40);
    let mut runner = TestRunner::new(Config::with_cases(24));
    let mut run = |(plans, choices): (Vec<Plan>, Vec<u8>)| {
        let found = together(&mut halves, &plans, &choices);
        for (plan, found) in plans.into_iter().zip(found) {
            let tokens = 2 * plan.tokens;
            let alone = Client::alone(&mut halves, plan);
            assert_eq!(alone.len(), tokens);
            assert_eq!(found, alone);
        }
    };
    // The runner's own closures cannot change what they borrow.
    for _ in 0..24 {
        let values = (&plans, &choices).new_tree(&mut runner).unwrap().current();
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
