//! Ids become the same text one by one as all at once, and stop strings are found however the text is cut.
//!
//! The input's first byte chooses the tokenizer; two pieces with their lengths before them are stop strings; what follows
//! is a text, and once more token ids of two bytes each.

use super::fixture;
use crate::input::Input;
use std::fs;
use std::sync::LazyLock;
use tandem_text::{Detokenizer, StopOutcome, StopStrings, Tokenizer};

struct Fixture {
    tokenizer: Tokenizer,
    /// Whether its decoder makes characters of tokens that are bytes, a run of them as a whole.
    has_byte_tokens: bool,
}

static FIXTURES: LazyLock<Vec<Fixture>> = LazyLock::new(|| {
    ["llama-gqa-llama3-tied", "mistral-headdim", "qwen2-bias"]
        .map(|name| {
            let file = fs::read_to_string(fixture(name).join("tokenizer.json"));
            Fixture {
                tokenizer: Tokenizer::load(&fixture(name)).expect("a fixture"),
                has_byte_tokens: file.expect("a fixture").contains("\"ByteFallback\""),
            }
        })
        .into()
});

/// Runs it.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let fixture = &FIXTURES[usize::from(input.byte()) % FIXTURES.len()];
    let stops = [input.piece(), input.piece()].map(|s| String::from_utf8_lossy(s).into_owned());
    let rest = input.rest();
    let text = String::from_utf8_lossy(rest);
    let Fixture { tokenizer, .. } = fixture;

    let ids = tokenizer.encode(&text, false).expect("any text has ids");
    assert!(tokenizer.least_tokens(&text) <= ids.len());
    assert!(text.len() <= ids.len() * tokenizer.longest_token_bytes());
    let pieces = pieces_are_the_whole(fixture, &ids);
    stops_are_found(stops, &pieces);

    let vocabulary = tokenizer.vocabulary_size() as u32;
    let any = rest
        .chunks_exact(2)
        .map(|b| u32::from(u16::from_le_bytes([b[0], b[1]])));
    let any: Vec<u32> = any.map(|id| id % (vocabulary + 2)).collect();
    pieces_are_the_whole(fixture, &any);
}

/// The text of ids, piece by piece.
fn pieces_are_the_whole(fixture: &Fixture, ids: &[u32]) -> Vec<String> {
    let whole = fixture
        .tokenizer
        .decode(ids, true)
        .expect("any ids are text");
    let mut detokenizer = Detokenizer::new(&fixture.tokenizer);
    let pushed = ids.iter().map(|&id| detokenizer.push(id).expect("any id"));
    let mut pieces: Vec<String> = pushed.collect();
    pieces.push(detokenizer.finish());
    let is_spoilt = fixture.has_byte_tokens && whole.contains(char::REPLACEMENT_CHARACTER);
    assert!(
        is_spoilt || pieces.concat() == whole,
        "{ids:?}: {pieces:?} is not {whole:?}"
    );
    pieces
}

/// The matcher says of pieces what a search of the whole text says.
fn stops_are_found(stops: [String; 2], pieces: &[String]) {
    let stops: Vec<String> = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
    let Ok(patterns) = StopStrings::new(stops.clone()) else {
        return;
    };
    let whole = pieces.concat();
    let ends = (1..=whole.len()).filter(|&end| whole.is_char_boundary(end));
    let mut found = ends.filter_map(|end| {
        let stops = stops.iter().filter(|stop| whole[..end].ends_with(*stop));
        let longest = stops.map(String::len).max()?;
        Some(&whole[..end - longest])
    });
    let expected = found.next();
    let mut matcher = patterns.matcher();
    let (mut sent, mut stopped) = (String::new(), false);
    for piece in pieces {
        match matcher.push(piece) {
            StopOutcome::Continue(text) => sent.push_str(&text),
            StopOutcome::Stopped { text, .. } => {
                sent.push_str(&text);
                stopped = true;
            }
        }
    }
    if !stopped {
        sent.push_str(&matcher.finish());
    }
    assert_eq!(stopped, expected.is_some());
    assert_eq!(sent, expected.unwrap_or(&whole));
}
