//! Any text is a schema, a regular expression or a grammar that an answer keeps, or is refused: in bounded time. What may
//! come next is the same for an answer that was there all the time and for one that goes on.
//!
//! The first byte says which of the three it is, and which of the tokens that may come are taken.

use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tandem_constraint::{Compiler, Form, Vocabulary};

/// How long making it ready or one mask may take, with other work on the machine.
const TAKES: Duration = Duration::from_secs(5);

/// Tokens that are taken.
const TOKENS: u32 = 24;

/// Ends an answer.
const END: u32 = 256;

/// For a model whose tokens are bytes.
static COMPILER: LazyLock<Compiler> = LazyLock::new(|| {
    let mut vocabulary = Vocabulary::new(257);
    for byte in 0..=u8::MAX {
        vocabulary.add(byte.into(), vec![byte]);
    }
    vocabulary.add_special(END, "<end>");
    Compiler::new(&vocabulary).expect("the tokens are there")
});

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    let Some((&first, text)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text).into_owned();
    let form = match first % 3 {
        0 => Form::JsonSchema(text),
        1 => Form::Regex(text),
        _ => Form::Grammar(text),
    };
    let began = Instant::now();
    let begun = COMPILER.begin(&form, &[END], &[]);
    assert!(began.elapsed() < TAKES, "it took {:?}", began.elapsed());
    let mut answer = match begun {
        Ok(answer) => answer,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let mut taken = Vec::new();
    for number in 0..TOKENS {
        let began = Instant::now();
        let Ok(mask) = answer.mask() else { break };
        assert!(began.elapsed() < TAKES, "it took {:?}", began.elapsed());
        let may_come: Vec<u32> = (0..=END).filter(|&id| mask.has(id)).collect();
        assert!(!may_come.is_empty(), "nothing may come");
        if number % 8 == 7 {
            let resumed = COMPILER.begin(&form, &[END], &taken);
            let mut resumed = resumed.expect("its own tokens keep it");
            assert_eq!(resumed.mask().expect("as here"), mask);
        }
        let at = (number * 31 + u32::from(first)) as usize % may_come.len();
        let next = may_come[at];
        if answer.accept(next).is_err() || next == END {
            break;
        }
        taken.push(next);
    }
}
