//! A tiny model, and what it says in one piece.

use std::path::{Path, PathBuf};
use tandem_engine::{
    Back, BackOpen, BackSession, BackStep, Compute, Half as _, ModelFiles, RowsInput, RowsStep,
    RunRequest, RunToken, Want,
};
use tandem_proto::v1;

/// Which one of `tests/fixtures/models`: three layers of 48 values, 320 tokens, 256 positions.
pub const MODEL: &str = "llama-mha-untied-bias";

/// Where it lies.
pub fn model_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/models")
        .join(MODEL)
}

/// How everything in this process computes: the same bits wherever a row runs.
pub(crate) fn compute() -> Compute {
    Compute::configured(["plain", "cpu"], "f32", "auto").expect("these can be")
}

/// What asks most of a cloud: tokens depend on draws, on what was said before and on how often, and come without an end.
pub fn demanding() -> v1::SamplingParameters {
    v1::SamplingParameters {
        temperature: Some(0.9),
        top_k: Some(100),
        top_p: Some(0.95),
        min_p: Some(0.01),
        seed: Some(11),
        repetition_penalty: Some(1.1),
        presence_penalty: Some(0.4),
        frequency_penalty: Some(0.3),
        ignore_eos: true,
        ..v1::SamplingParameters::default()
    }
}

/// The model in one piece, asked without a cloud.
#[derive(Debug)]
pub struct WholeModel(Back);

impl WholeModel {
    /// Loads it.
    pub fn load() -> Self {
        let files = ModelFiles::open(&model_directory()).expect("the fixture is there");
        Self(files.back(0, &compute(), |_| {}).expect("it can be loaded"))
    }

    /// The first `count` tokens behind a prompt, by [`demanding`].
    pub fn answer(&mut self, prompt: &[u32], count: usize) -> Vec<u32> {
        self.answer_by(&demanding(), prompt, count)
    }

    /// The same, chosen otherwise.
    pub fn answer_by(
        &mut self,
        sampling: &v1::SamplingParameters,
        prompt: &[u32],
        count: usize,
    ) -> Vec<u32> {
        let vocabulary = self.0.config().vocabulary;
        let parameters = tandem_wire::parameters(Some(sampling), vocabulary);
        let context = self.0.config().max_context();
        let open = BackOpen {
            context,
            ..BackOpen::default()
        };
        let mut session = self.0.session(open).expect("there is room");
        let run = RunRequest {
            parameters: parameters.expect("they can be met"),
            ..RunRequest::default()
        };
        let begun = self.0.step(&mut session, BackStep::Run(Box::new(run)));
        begun.expect("it begins");
        let mut token = self.token_behind(&mut session, 0, prompt);
        let mut tokens = vec![token.id];
        while tokens.len() < count {
            token = self.token_behind(&mut session, token.position, &[token.id]);
            tokens.push(token.id);
        }
        tokens
    }

    fn token_behind(&mut self, session: &mut BackSession, start: usize, ids: &[u32]) -> RunToken {
        let rows = RowsStep {
            epoch: 0,
            start,
            count: ids.len(),
            skip: 0,
            input: RowsInput::Tokens(ids.to_vec()),
            token_ids: Vec::new(),
            want: Want::Token,
            room: None,
        };
        let output = self.0.step(session, BackStep::Rows(rows));
        let token = output.expect("it runs").tokens.pop();
        token.expect("it was wanted")
    }
}
