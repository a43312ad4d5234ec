//! Requests that cannot be met are refused with the numbers, and leave the session as it was.

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::Pipeline;
use crate::rewritten::says;
use tandem_model::{ModelError, SessionRows};

#[test]
fn a_token_outside_the_vocabulary() {
    for fixture in Fixture::all() {
        let segment = fixture.segment(0, 1);
        let vocabulary = fixture.config.vocabulary as u32;
        assert!(segment.embed(&[0, vocabulary - 1]).is_ok());
        for id in [vocabulary, u32::MAX] {
            let error = segment.embed(&[0, id, 1]).unwrap_err();
            says(error, &[&id.to_string(), &vocabulary.to_string()]);
        }
    }
}

#[test]
fn rows_of_another_width() {
    let fixture = Fixture::open("mistral-headdim");
    let segment = fixture.segment(1, 2);
    let forward = |found: usize, rows: usize| {
        let mut cache = segment.kv_cache(segment.range(), 8).unwrap();
        let cache = &mut cache;
        segment.forward_all(vec![0.0; found], &mut [SessionRows { cache, rows }])
    };
    assert!(forward(96, 2).is_ok());
    for (found, rows) in [(95, 2), (97, 2), (96, 3), (0, 1), (48, 0), (48, usize::MAX)] {
        let error = forward(found, rows).unwrap_err();
        says(error, &[&found.to_string(), &rows.to_string(), "48"]);
    }
}

/// What a peer sends that counts wrongly must not stop the session.
#[test]
fn a_full_context_leaves_the_cache_as_it_was() {
    for fixture in Fixture::all() {
        let tokens = &fixture.reference.tokens;
        let segment = fixture.whole();
        let mut cache = segment.kv_cache(segment.range(), tokens.len()).unwrap();
        let run = |tokens: &[u32], cache: &mut _| -> Result<Vec<f32>, ModelError> {
            segment.forward(segment.embed(tokens)?, cache)
        };
        let mut found = run(&tokens[..60], &mut cache).unwrap();
        let error = run(tokens, &mut cache).unwrap_err();
        let (asked, room) = ((60 + tokens.len()).to_string(), tokens.len().to_string());
        says(error, &["position", &asked, &room]);
        assert_eq!((cache.len(), cache.capacity()), (60, tokens.len()));
        found.extend(run(&tokens[60..], &mut cache).unwrap());
        assert!(matches!(
            run(&tokens[..1], &mut cache),
            Err(ModelError::ContextFull { .. })
        ));
        assert_eq!(cache.len(), tokens.len());

        let mut alone = Pipeline::at_once(&fixture, &segment);
        alone.step(&tokens[..60]);
        alone.step(&tokens[60..]);
        assert!(alone.errors(&fixture.reference).worst() <= BOUND);
        assert!(alone.output() == found, "{}", fixture.name);
    }
}

#[test]
fn rows_of_another_width_leave_the_cache_as_it_was() {
    let fixture = Fixture::open("qwen3-qknorm");
    let segment = fixture.whole();
    let tokens = &fixture.reference.tokens;
    let mut cache = segment.kv_cache(segment.range(), tokens.len()).unwrap();
    let first = segment.embed(&tokens[..40]).unwrap();
    let _ = segment.forward(first, &mut cache).unwrap();
    let wide = vec![0.0; 98];
    let error = segment.forward(wide, &mut cache).unwrap_err();
    assert!(matches!(error, ModelError::RowShape { .. }), "{error}");
    says(error, &["98 values", "2 rows of 48"]);
    assert_eq!(cache.len(), 40);
    let unseen = segment.logits(&[0.0; 48], usize::MAX);
    assert!(matches!(unseen, Err(ModelError::RowShape { .. })));
    let second = segment.embed(&tokens[40..]).unwrap();
    let rows = segment.forward(second, &mut cache).unwrap();
    let logits = segment.logits(&rows, tokens.len() - 40).unwrap();
    let expected = &fixture.reference.logits[40 * fixture.config.vocabulary..];
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let difference = logits.iter().zip(expected).map(|(a, b)| (a - b).abs());
    assert!(difference.fold(0.0, f32::max) < 1e-4 * largest);
}

#[test]
fn logits_of_rows_that_are_not_there() {
    let fixture = Fixture::open("llama-bf16");
    let segment = fixture.segment(3, 3);
    let rows = [0.5; 96];
    assert!(segment.logits(&rows, 3).is_err());
    assert!(segment.logits(&rows, usize::MAX).is_err());
    assert!(segment.logits(&rows, 0).unwrap().is_empty());
}

#[test]
fn a_part_that_the_segment_does_not_have() {
    let fixture = Fixture::open("llama-bf16");
    let middle = fixture.segment(1, 2);
    says(middle.embed(&[1]).unwrap_err(), &["1..2", "no embedding"]);
    says(
        middle.logits(&[0.5; 48], 1).unwrap_err(),
        &["1..2", "no head"],
    );
}

#[test]
fn layers_that_the_segment_does_not_have() {
    let fixture = Fixture::open("llama-bf16");
    let segment = fixture.segment(1, 2);
    assert!(segment.kv_cache(fixture.range(1, 1), 8).is_ok());
    for (start, end) in [(0, 1), (0, 3), (1, 3), (2, 3), (0, 0), (3, 3)] {
        let error = segment.kv_cache(fixture.range(start, end), 8).unwrap_err();
        says(error, &[&format!("{start}..{end}")]);
    }
}

#[test]
fn a_context_past_the_models_positions() {
    let fixture = Fixture::open("llama-bf16");
    let segment = fixture.segment(0, 1);
    assert!(segment.kv_cache(segment.range(), 256).is_ok());
    let error = segment.kv_cache(segment.range(), 257).unwrap_err();
    says(error, &["257", "256", "max_position_embeddings"]);
    assert!(segment.kv_cache(segment.range(), usize::MAX).is_err());
}

#[test]
fn a_context_past_an_active_window_names_the_window() {
    let mut fixture = Fixture::open("mistral-headdim");
    fixture.config.sliding_window = Some(64);
    let segment = fixture.segment(0, 3);
    let error = segment.kv_cache(segment.range(), 65).unwrap_err();
    says(error, &["65", "64", "sliding window"]);
    // Within the window every position attends to all before it: the model is the fixture's.
    let mut cache = segment.kv_cache(segment.range(), 64).unwrap();
    let rows = segment.embed(&fixture.reference.tokens[..64]).unwrap();
    let rows = segment.forward(rows, &mut cache).unwrap();
    let expected = &fixture.reference.hidden[3][..64 * 48];
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let difference = rows.iter().zip(expected).map(|(a, b)| (a - b).abs());
    assert!(difference.fold(0.0, f32::max) < 1e-4 * largest);
}

/// A window longer than the model's positions is none: what limits is named as what it is.
#[test]
fn a_window_past_the_models_positions_is_not_blamed() {
    let mut fixture = Fixture::open("mistral-headdim");
    fixture.config.sliding_window = Some(4096);
    let segment = fixture.segment(0, 1);
    assert!(segment.kv_cache(segment.range(), 256).is_ok());
    let error = segment.kv_cache(segment.range(), 257).unwrap_err();
    says(error, &["257", "256", "max_position_embeddings"]);
}
