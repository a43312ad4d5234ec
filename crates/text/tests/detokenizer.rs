//! The text that comes out piece by piece is the text of the whole, and no piece
//! holds part of a character.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of tests fail as tests do"
)]

mod support;

use std::sync::LazyLock;

use proptest::prelude::*;
use support::{byte_fallback_tokenizer, fixture_models};
use tandem_text::{Detokenizer, Tokenizer};

/// Byte-level tokenizers: each of the 256 bytes is a token, so that random ids are
/// mostly broken characters.
static BYTE_LEVEL: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
    let models = fixture_models();
    models
        .iter()
        .map(|model| Tokenizer::load(model).unwrap())
        .collect()
});

/// Every piece, `finish`'s last.
fn pieces(detokenizer: &mut Detokenizer, ids: &[u32]) -> Vec<String> {
    let mut pieces: Vec<String> = ids
        .iter()
        .map(|&id| detokenizer.push(id).unwrap())
        .collect();
    pieces.push(detokenizer.finish());
    pieces
}

fn joined(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    pieces(&mut Detokenizer::new(tokenizer), ids).concat()
}

/// The token of one byte, as byte-level vocabularies spell it.
fn byte(tokenizer: &Tokenizer, byte: u8) -> u32 {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..);
    let spelled = if printable(&byte) {
        char::from(byte)
    } else {
        let rank = (0..byte).filter(|byte| !printable(byte)).count() as u32;
        char::from_u32(256 + rank).unwrap()
    };
    tokenizer.token_to_id(&spelled.to_string()).unwrap()
}

#[test]
fn a_character_of_several_tokens_comes_out_whole() {
    let tokenizer = &BYTE_LEVEL[0];
    let ids: Vec<u32> = "a🦀é".bytes().map(|b| byte(tokenizer, b)).collect();
    let found = pieces(&mut Detokenizer::new(tokenizer), &ids);
    assert_eq!(found, ["a", "", "", "", "🦀", "", "é", ""]);
}

#[test]
fn a_character_that_never_ends_is_shown_as_a_replacement() {
    let tokenizer = &BYTE_LEVEL[0];
    let ids = [
        byte(tokenizer, b'a'),
        byte(tokenizer, 0xF0),
        byte(tokenizer, 0x9F),
    ];
    let mut detokenizer = Detokenizer::new(tokenizer);
    assert_eq!(pieces(&mut detokenizer, &ids), ["a", "", "", "\u{FFFD}"]);
    // And the next answer begins afresh.
    assert_eq!(pieces(&mut detokenizer, &ids[..1]), ["a", ""]);
}

#[test]
fn bytes_that_are_no_character_do_not_stall_the_stream() {
    let tokenizer = &BYTE_LEVEL[0];
    let mut detokenizer = Detokenizer::new(tokenizer);
    let bad = byte(tokenizer, 0xFF);
    let mut sent = 0;
    for pushed in 1..=1000 {
        sent += detokenizer.push(bad).unwrap().chars().count();
        assert!(pushed - sent <= 4, "{} of {pushed} held", pushed - sent);
    }
    // Nor does text that really contains U+FFFD.
    let mut detokenizer = Detokenizer::new(tokenizer);
    let ids: Vec<u32> = "\u{FFFD}"
        .repeat(100)
        .bytes()
        .map(|b| byte(tokenizer, b))
        .collect();
    let sent: String = ids
        .iter()
        .map(|&id| detokenizer.push(id).unwrap())
        .collect();
    assert!(sent.chars().count() >= 98, "{sent}");
}

#[test]
fn special_tokens_are_silent_unless_asked_for() {
    let tokenizer = &BYTE_LEVEL[0];
    let end = tokenizer.token_to_id("<|im_end|>").unwrap();
    let ids = [
        byte(tokenizer, 0xC3),
        end,
        byte(tokenizer, 0xA9),
        end,
        u32::MAX,
    ];
    assert_eq!(
        pieces(&mut Detokenizer::new(tokenizer), &ids),
        ["", "", "é", "", "", ""]
    );
    let mut all = Detokenizer::new(tokenizer).with_special_tokens();
    assert_eq!(pieces(&mut all, &ids[2..]).concat(), "\u{FFFD}<|im_end|>");
}

#[test]
fn the_space_between_tokens_survives_a_decoder_that_strips_the_first() {
    let (tokenizer, _dir) = byte_fallback_tokenizer();
    let id = |token: &str| tokenizer.token_to_id(token).unwrap();
    let ids = [
        id("▁Hello"),
        id("▁world"),
        id("<0xF0>"),
        id("<0x9F>"),
        id("<0xA6>"),
        id("<0x80>"),
        id("▁"),
        id("▁"),
        id("▁the"),
    ];
    let found = pieces(&mut Detokenizer::new(&tokenizer), &ids);
    assert_eq!(
        found,
        ["Hello", " world", "", "", "", "🦀", " ", " ", " the", ""]
    );
    assert_eq!(found.concat(), tokenizer.decode(&ids, true).unwrap());

    // After a prompt, the first space is between two words too.
    let prompt = [id("<s>"), id("▁Hello")];
    let mut after = Detokenizer::after_prompt(&tokenizer, &prompt).unwrap();
    assert_eq!(after.push(id("▁world")).unwrap(), " world");
    assert_eq!(
        Detokenizer::new(&tokenizer).push(id("▁world")).unwrap(),
        "world"
    );
    let mut long = Detokenizer::after_prompt(&tokenizer, &[id("a"); 1000]).unwrap();
    assert_eq!(long.push(id("b")).unwrap(), "b");
    // A first piece that is only the stripped space gives no text, and loses none.
    assert_eq!(joined(&tokenizer, &[id("▁"), id("▁the")]), " the");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_ids_give_the_text_of_the_whole(
        which in any::<proptest::sample::Index>(),
        ids in proptest::collection::vec(0u32..330, 0..60),
    ) {
        let tokenizer = which.get(&BYTE_LEVEL);
        prop_assert_eq!(joined(tokenizer, &ids), tokenizer.decode(&ids, true).unwrap());
        let mut all = Detokenizer::new(tokenizer).with_special_tokens();
        prop_assert_eq!(pieces(&mut all, &ids).concat(), tokenizer.decode(&ids, false).unwrap());
    }

    #[test]
    fn random_bytes_give_the_text_of_the_whole(
        // Lead and continuation bytes, so that characters nearly come about.
        bytes in proptest::collection::vec(
            prop_oneof![Just(b'a'), 0x80u8..=0xBF, 0xC0u8..=0xFF, Just(0xE2), Just(0xF0), Just(0x9F)],
            0..40,
        ),
    ) {
        let tokenizer = &BYTE_LEVEL[0];
        let ids: Vec<u32> = bytes.iter().map(|&b| byte(tokenizer, b)).collect();
        prop_assert_eq!(joined(tokenizer, &ids), String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_texts_come_out_as_they_went_in(
        which in any::<proptest::sample::Index>(),
        text in "(\\PC|[ \n\t]|[a-z ]{1,9}|[é日本🙂👩‍🚀🇨🇭]){0,30}",
    ) {
        let tokenizer = which.get(&BYTE_LEVEL);
        let ids = tokenizer.encode(&text, false).unwrap();
        let found = pieces(&mut Detokenizer::new(tokenizer).with_special_tokens(), &ids);
        let replacements = found.concat().matches(char::REPLACEMENT_CHARACTER).count();
        prop_assert_eq!(replacements, text.matches(char::REPLACEMENT_CHARACTER).count());
        prop_assert_eq!(found.concat(), text);
    }

    #[test]
    fn random_texts_survive_byte_fallback(text in "(\\PC|[ab ]){0,30}") {
        let (tokenizer, _dir) = &*BYTE_FALLBACK;
        // Spelled in bytes, this character is taken for broken ones (see Detokenizer).
        let text = text.replace(char::REPLACEMENT_CHARACTER, "");
        let ids = tokenizer.encode(&text, false).unwrap();
        let whole = tokenizer.decode(&ids, true).unwrap();
        prop_assert_eq!(joined(tokenizer, &ids), whole);
    }

    #[test]
    fn random_ids_never_fail_with_byte_fallback(ids in proptest::collection::vec(0u32..270, 0..60)) {
        let (tokenizer, _dir) = &*BYTE_FALLBACK;
        joined(tokenizer, &ids);
    }
}

static BYTE_FALLBACK: LazyLock<(Tokenizer, tempfile::TempDir)> =
    LazyLock::new(byte_fallback_tokenizer);
