//! Forms made ready, and answers that keep them.

use crate::error::FormError;
use crate::form::Form;
use crate::vocabulary::Vocabulary;
use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::{Matcher, ParserFactory};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tandem_engine::{Constraint, ConstraintError, TokenMask};
use toktrie::{InferenceCapabilities, TokEnv, TokTrie, TokenId, TokenizerEnv};

/// How many forms are kept for later answers.
const KEPT: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// The longest form that is kept, in bytes.
const KEPT_BYTES: usize = 64 << 10;

/// The stack of the thread that compiles. Only what is used of it takes memory.
const STACK: usize = 64 << 20;

/// What a form may take. llguidance's own bounds are for those who trust their forms: a mask may take 14 ms by them, and an
/// answer 500 MB.
fn limits() -> ParserLimits {
    ParserLimits {
        // About 2 kB each.
        max_lexer_states: 10_000,
        // About 4 ms.
        step_lexer_fuel: 50_000,
        // About 1 ms.
        step_max_items: 20_000,
        max_grammar_size: 100_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// Makes forms ready for answers of one model.
pub struct Compiler {
    factory: Arc<ParserFactory>,
    kept: Mutex<LruCache<Form, Arc<Mutex<Matcher>>>>,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

impl Compiler {
    /// For a model's tokens.
    ///
    /// # Errors
    /// There is nothing to choose from.
    pub fn new(vocabulary: &Vocabulary) -> Result<Self, FormError> {
        let environment: TokEnv = Arc::new(Tokens(vocabulary.trie()));
        let made = ParserFactory::new(
            &environment,
            InferenceCapabilities::default(),
            &SlicedBiasComputer::general_slices(),
        );
        let mut factory = made.map_err(|error| FormError::of(&error.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Self {
            factory: Arc::new(factory),
            kept: Mutex::new(LruCache::new(KEPT)),
        })
    }

    /// Begins an answer of a form that ends with one of `eos`, and has the tokens `answered` already. Takes a while the first
    /// time: call it where waiting costs nobody else anything.
    ///
    /// # Errors
    /// Why the form cannot be kept.
    pub fn begin(
        &self,
        form: &Form,
        eos: &[u32],
        answered: &[u32],
    ) -> Result<Box<dyn Constraint>, FormError> {
        let compiled = self.compiled(form)?;
        let mut matcher = {
            let compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
            // Not what others have found out on their way: what an answer costs is its own.
            compiled.deep_clone()
        };
        matcher
            .consume_tokens(answered)
            .map_err(|_| FormError::Answered)?;
        Ok(Box::new(Answer {
            matcher,
            eos: eos.to_vec(),
            mask: TokenMask::new(self.factory.tok_env().tok_trie().vocab_size()),
        }))
    }

    fn compiled(&self, form: &Form) -> Result<Arc<Mutex<Matcher>>, FormError> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = kept().get(form) {
            return Ok(Arc::clone(compiled));
        }
        let compiled = Arc::new(Mutex::new(self.compile(form)?));
        if form.text().len() <= KEPT_BYTES {
            kept().put(form.clone(), Arc::clone(&compiled));
        }
        Ok(compiled)
    }

    fn compile(&self, form: &Form) -> Result<Matcher, FormError> {
        let factory = &self.factory;
        let grammar = form.grammar()?;
        let compile = || {
            let matcher = Matcher::new(factory.create_parser(grammar));
            match matcher.get_error() {
                None => Ok(matcher),
                Some(error) => Err(FormError::of(&error)),
            }
        };
        let too_much = || FormError::of("panic");
        thread::scope(|scope| {
            let compiling = thread::Builder::new()
                .name("compile-form".to_owned())
                .stack_size(STACK)
                .spawn_scoped(scope, compile);
            compiling
                .map_err(|_| too_much())?
                .join()
                .map_err(|_| too_much())?
        })
    }
}

/// The tokens, for llguidance. Which of several ways to spell a text is taken is the model's choice.
struct Tokens(TokTrie);

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.0
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.0.greedy_tokenize(text)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

/// An answer that keeps a form.
struct Answer {
    matcher: Matcher,
    eos: Vec<u32>,
    mask: TokenMask,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Constraint for Answer {
    fn mask(&mut self) -> Result<&TokenMask, ConstraintError> {
        self.mask.clear();
        // One that can go on with nothing else has stopped.
        let may_end = if self.matcher.is_stopped() && !self.matcher.is_error() {
            true
        } else {
            let allowed = self.matcher.compute_mask().map_err(|_| ConstraintError)?;
            self.mask.copy(allowed.as_slice());
            self.matcher.is_accepting().map_err(|_| ConstraintError)?
        };
        for &id in &self.eos {
            self.mask.set(id, may_end);
        }
        Ok(&self.mask)
    }

    fn accept(&mut self, id: u32) -> Result<(), ConstraintError> {
        if self.eos.contains(&id) {
            return Ok(());
        }
        self.matcher.consume_token(id).map_err(|_| ConstraintError)
    }
}
