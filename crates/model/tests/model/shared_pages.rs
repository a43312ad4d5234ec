//! Caches that begin with pages of others are as if they had run the rows themselves.

use crate::fixture::Fixture;
use tandem_model::{KvCache, KvPage, PAGE_POSITIONS, Segment};
use tandem_shape::{BackendName, KvType, Precision, WeightType};

const BACKENDS: &[BackendName] = if cfg!(feature = "torch") {
    &[BackendName::Plain, BackendName::Torch]
} else {
    &[BackendName::Plain]
};

fn run(segment: &Segment, cache: &mut KvCache, tokens: &[u32]) -> Vec<f32> {
    segment
        .forward(segment.embed(tokens).unwrap(), cache)
        .unwrap()
}

fn cache(segment: &Segment, positions: usize) -> KvCache {
    segment.kv_cache(segment.range(), positions).unwrap()
}

fn pages(cache: &KvCache, count: usize) -> Vec<KvPage> {
    (0..count).map(|page| cache.page(page).unwrap()).collect()
}

/// Calls `test` with every fixture on every backend, with every type of keys and values.
fn each(test: impl Fn(&Segment, &[u32])) {
    for fixture in Fixture::all() {
        for kv in KvType::ALL {
            for backend in BACKENDS {
                let mut precision = Precision::from(WeightType::F32);
                precision.kv = Some(kv);
                let layers = fixture.config.layers;
                let segment = fixture.segment_by(*backend, &precision, 0, layers);
                test(&segment, &fixture.reference.tokens);
                assert_eq!(segment.kv_memory().pages_in_use(), 0, "{}", fixture.name);
            }
        }
    }
}

#[test]
fn a_cache_that_begins_with_pages_goes_on_as_the_one_that_wrote_them() {
    each(|segment, tokens| {
        let mut first = cache(segment, tokens.len());
        let all = run(segment, &mut first, tokens);
        for count in 1..=tokens.len() / PAGE_POSITIONS {
            let begun = count * PAGE_POSITIONS;
            let mut second = cache(segment, tokens.len());
            second.begin_with(pages(&first, count).iter()).unwrap();
            assert_eq!(second.len(), begun);
            let rest = run(segment, &mut second, &tokens[begun..]);
            let width = all.len() / tokens.len();
            let expected = &all[begun * width..];
            if segment_is_exact(&second) {
                assert!(rest == expected, "bits after {begun} positions");
            } else {
                let apart = rest.iter().zip(expected).map(|(a, b)| (a - b).abs());
                assert!(apart.fold(0.0, f32::max) < 0.05);
            }
        }
    });
}

/// Only rows of our own loops have the same bits in any company.
fn segment_is_exact(cache: &KvCache) -> bool {
    cache.shares_pages()
}

#[test]
fn whoever_writes_where_others_read_writes_elsewhere() {
    each(|segment, tokens| {
        let others: Vec<u32> = tokens.iter().map(|id| (id + 101) % 320).collect();
        let mut first = cache(segment, tokens.len());
        run(segment, &mut first, tokens);
        let shared = pages(&first, 2);
        let mut second = cache(segment, tokens.len());
        second.begin_with(shared.iter()).unwrap();
        // Within the first page, within the second, and behind both.
        for (writer, kept) in [(0, 7), (1, 40), (0, 64), (1, 33)] {
            let at = 2 * PAGE_POSITIONS;
            let (writing, reading) = match writer {
                0 => (&mut first, &mut second),
                _ => (&mut second, &mut first),
            };
            reading.truncate(0);
            reading.begin_with(shared.iter()).unwrap();
            let before = run(segment, reading, &tokens[at..]);
            writing.truncate(kept);
            run(segment, writing, &others[kept..]);
            reading.truncate(at);
            let after = run(segment, reading, &tokens[at..]);
            assert!(before == after, "after writing from {kept} on");
            writing.truncate(0);
            writing.begin_with(shared.iter()).unwrap();
        }
    });
}

#[test]
fn pages_in_common_take_memory_once() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let segment = fixture.whole();
    let layers = fixture.config.layers;
    let tokens = &fixture.reference.tokens[..70];
    let mut first = cache(&segment, 100);
    run(&segment, &mut first, tokens);
    let in_use = || segment.kv_memory().pages_in_use() / layers;
    assert_eq!(in_use(), 3);
    assert!(first.shares_pages());
    let shared = pages(&first, 2);
    let mut second = cache(&segment, 100);
    second.begin_with(shared.iter()).unwrap();
    assert_eq!(in_use(), 3);
    drop(first);
    assert_eq!(in_use(), 2);
    second.truncate(40);
    assert_eq!(in_use(), 2);
    run(&segment, &mut second, &tokens[40..41]);
    assert_eq!(in_use(), 3);
    drop(shared);
    assert_eq!(in_use(), 2);
    drop(second);
    assert_eq!(in_use(), 0);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_the_cache_empty() {
    let fixture = Fixture::open("llama-gqa-llama3-tied");
    let (segment, layers) = (fixture.whole(), fixture.config.layers);
    let tokens = &fixture.reference.tokens[..70];
    let mut first = cache(&segment, 100);
    run(&segment, &mut first, tokens);
    assert!(first.page(2).is_err(), "not all of it is written");
    let shared = pages(&first, 2);
    let mut small = cache(&segment, 63);
    assert!(small.begin_with(shared.iter()).is_err());
    let back = fixture.segment(1, layers);
    let mut of_other_layers = cache(&back, 100);
    assert!(of_other_layers.begin_with(shared.iter()).is_err());
    assert!(of_other_layers.is_empty());
    assert!(first.begin_with(shared.iter()).is_err(), "it is not empty");
    assert_eq!(first.len(), 70);
    drop((first, shared));
    assert_eq!(segment.kv_memory().pages_in_use(), 0);
}
