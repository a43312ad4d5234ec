//! Answers that keep a schema, a regular expression or a grammar: what an edge asks for, made ready for the engine.

use crate::metrics::{CONSTRAINED_ANSWERS, CONSTRAINT_COMPILE};
use std::sync::{Arc, LazyLock};
use std::time::Instant;
use tandem_constraint::{Compiler, Form, FormError, Vocabulary};
use tandem_engine::{Constraint, OwnerNumber};
use tandem_proto::v1;
use tandem_shape::Reason;
use tandem_status::{bad_request, failure};
use tandem_text::{TokenText, Tokenizer};
use tokio::sync::Semaphore;
use tonic::{Code, Status};

/// How many are made ready at once.
const AT_ONCE: usize = 2;

/// Peers share so many turns, by their numbers: who sends many waits behind others, and not they behind all of these.
const TURNS: usize = 64;

/// Made when the first answer has to keep something: it takes a second and tens of megabytes for a large vocabulary.
type MadeOnce =
    LazyLock<Result<Compiler, FormError>, Box<dyn FnOnce() -> Result<Compiler, FormError> + Send>>;

/// Makes answers keep what they are asked to.
#[derive(Debug)]
pub struct Constraints {
    /// `None` where none are served.
    compiler: Option<Arc<MadeOnce>>,
    /// The longest constraint, in bytes.
    longest: usize,
    at_once: Semaphore,
    turns: Vec<Semaphore>,
}

impl Constraints {
    /// For a model of `vocabulary` logits. Constraints have at most `longest` bytes; 0 for none at all.
    pub fn new(tokenizer: &Tokenizer, vocabulary: usize, longest: usize) -> Self {
        let tokens = (longest > 0)
            .then(|| tokens(tokenizer, vocabulary))
            .flatten();
        let made = |tokens| MadeOnce::new(Box::new(move || Compiler::new(&tokens)));
        Self {
            compiler: tokens.map(|tokens| Arc::new(made(tokens))),
            longest,
            at_once: Semaphore::new(AT_ONCE),
            turns: (0..TURNS).map(|_| Semaphore::new(1)).collect(),
        }
    }

    /// Whether answers may have any.
    pub fn are_served(&self) -> bool {
        self.compiler.is_some()
    }

    /// What the answer of a `Run` has to keep, where it has to keep anything.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn begin(
        &self,
        owner: OwnerNumber,
        run: &mut v1::Run,
    ) -> Result<Option<Box<dyn Constraint>>, Status> {
        let answered = std::mem::take(&mut run.answered_token_ids);
        let Some(constraint) = run.constraint.take() else {
            return Ok(None);
        };
        let Some(compiler) = self.compiler.clone() else {
            return Err(refused("comes without FEATURE_CONSTRAINTS"));
        };
        let (form, kind) = match constraint.form {
            Some(v1::constraint::Form::JsonSchema(text)) => (Form::JsonSchema(text), "json_schema"),
            Some(v1::constraint::Form::Regex(text)) => (Form::Regex(text), "regex"),
            Some(v1::constraint::Form::Grammar(text)) => (Form::Grammar(text), "grammar"),
            None => return Err(refused("is of no known form")),
        };
        let (bytes, longest) = (form.text().len(), self.longest);
        if bytes > longest {
            return Err(refused(format!("has {bytes} bytes, may have {longest}")));
        }
        if run.sampling.as_ref().is_some_and(|s| s.ignore_eos) || run.eos_token_ids.is_empty() {
            return Err(refused("needs a token that ends the answer"));
        }
        if answered.len() != run.answered as usize {
            let problem = format!(
                "has {} ids, the answer has {}",
                answered.len(),
                run.answered
            );
            let field = "run.answered_token_ids";
            return Err(bad_request(Reason::Run, [(field, problem)]));
        }
        let eos = run.eos_token_ids.clone();
        let turn = self.turns.get((owner.0 % TURNS as u64) as usize);
        let _turn = match turn {
            Some(turn) => turn.acquire().await.ok(),
            None => None,
        };
        let _one = self.at_once.acquire().await;
        let began = Instant::now();
        let begin = move || match &**compiler {
            Ok(compiler) => compiler.begin(&form, &eos, &answered),
            Err(error) => Err(error.clone()),
        };
        let begun = tokio::task::spawn_blocking(begin).await;
        let begun = begun.map_err(|_| {
            let message = "a constraint could not be made ready";
            failure(Code::Internal, Reason::StepFailed, message)
        })?;
        CONSTRAINT_COMPILE.histogram(&[]).record(began.elapsed());
        let begun = begun.map_err(|error| refused(error.to_string()))?;
        CONSTRAINED_ANSWERS.counter(&[kind]).increment(1);
        Ok(Some(begun))
    }
}

fn refused(problem: impl Into<String>) -> Status {
    bad_request(Reason::Constraint, [("constraint", problem.into())])
}

/// Those of a tokenizer whose tokens have bytes of their own.
fn tokens(tokenizer: &Tokenizer, vocabulary: usize) -> Option<Vocabulary> {
    let Some(texts) = tokenizer.token_texts() else {
        tracing::info!(
            "answers cannot keep a schema: the tokenizer's tokens have no bytes of their own"
        );
        return None;
    };
    let mut tokens = Vocabulary::new(vocabulary);
    for (id, text) in texts {
        match text {
            TokenText::Bytes(bytes) => tokens.add(id, bytes),
            TokenText::Special(name) => tokens.add_special(id, &name),
        }
    }
    Some(tokens)
}
