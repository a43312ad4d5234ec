//! A segment has in memory what it runs: its own layers, and of the embedding the rows it used.

#![cfg(target_os = "linux")]

use crate::fixture::{BOUND, Fixture};
use crate::pipeline::Pipeline;
use crate::rewritten::{Tensors, load_layers, says};
use std::fs::OpenOptions;
use std::path::Path;
use tandem_model::{Checkpoint, Embedding, KvCache};

/// The names of the tensors of all layers but `kept`, and those of norm and head.
fn beyond(tensors: &Tensors, kept: usize) -> Vec<String> {
    let own = format!("model.layers.{kept}.");
    let beyond = |name: &&String| !name.starts_with(&own) && !name.contains("embed_tokens");
    tensors.0.keys().filter(beyond).cloned().collect()
}

/// Mappings of files under `directory` in this process.
fn mappings(directory: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let directory = directory.to_str().unwrap();
    maps.lines().filter(|line| line.contains(directory)).count()
}

/// A line of `/proc/self/status` in bytes.
fn status(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    let kilobytes: u64 = found
        .trim_matches([':', ' ', '\t', 'k', 'B'])
        .parse()
        .unwrap();
    kilobytes * 1024
}

/// An edge's file need not hold, and its memory does not, what other segments run.
#[test]
fn a_front_needs_no_layer_but_its_own() {
    for fixture in Fixture::all() {
        let mut tensors = Tensors::of(&fixture);
        for name in beyond(&tensors, 0) {
            tensors.0.remove(&name);
        }
        let directory = tempfile::tempdir().unwrap();
        tensors.write(directory.path());
        let front = load_layers(directory.path(), &fixture.config, 0, 1).unwrap();
        let back = fixture.segment(1, fixture.config.layers);
        let parts = [(&front, front.range()), (&back, back.range())];
        let mut pipeline = Pipeline::new(&parts, fixture.reference.tokens.len());
        pipeline.step(&fixture.reference.tokens);
        let errors = pipeline.errors(&fixture.reference);
        assert!(errors.worst() <= BOUND, "{}: {errors}", fixture.name);
        let more = load_layers(directory.path(), &fixture.config, 0, 2).unwrap_err();
        says(more, &["model.layers.1.", "missing"]);
    }
}

/// A back of an untied model does without the embedding; a tied one has it as its head.
#[test]
fn a_back_needs_no_embedding_but_as_its_head() {
    for fixture in Fixture::all() {
        let mut tensors = Tensors::of(&fixture);
        tensors.0.remove("model.embed_tokens.weight");
        let directory = tempfile::tempdir().unwrap();
        tensors.write(directory.path());
        let layers = fixture.config.layers;
        let back = load_layers(directory.path(), &fixture.config, 1, layers);
        assert_eq!(back.is_err(), fixture.config.tied_head, "{}", fixture.name);
        assert!(load_layers(directory.path(), &fixture.config, 1, 2).is_ok());
    }
}

/// Weights are mapped one after the other and unmapped; only the embedding stays mapped.
#[test]
fn only_the_embedding_stays_mapped() {
    for name in ["mistral-headdim", "llama-f16"] {
        let fixture = Fixture::open(name);
        let directory = tempfile::tempdir().unwrap();
        Tensors::of(&fixture).write_sharded(directory.path());
        let config = &fixture.config;
        let back = load_layers(directory.path(), config, 1, config.layers).unwrap();
        assert_eq!(mappings(directory.path()), 0);
        let front = load_layers(directory.path(), config, 0, 2).unwrap();
        assert_eq!(mappings(directory.path()), 1);
        drop(front);
        assert_eq!(mappings(directory.path()), 0);
        drop(back);
    }
}

/// A table of 1 GiB, all holes: reading a row must not read the table.
#[test]
fn an_embedded_row_costs_pages_and_not_the_table() {
    const VOCABULARY: usize = 1 << 18;
    const HIDDEN: usize = 1 << 10;
    let size = (VOCABULARY * HIDDEN * 4) as u64;
    let header = format!(
        r#"{{"model.embed_tokens.weight":{{"dtype":"F32","shape":[{VOCABULARY},{HIDDEN}],"data_offsets":[0,{size}]}}}}"#
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    crate::rewritten::write_raw(&path, &header, &[]);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(8 + header.len() as u64 + size).unwrap();

    let before = status("RssFile") + status("RssAnon");
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let embedding = Embedding::open(&checkpoint, VOCABULARY, HIDDEN).unwrap();
    let ids: Vec<u32> = (0..64).map(|i| i * 4096 + 17).collect();
    let rows = embedding.rows(&ids).unwrap();
    assert_eq!(rows, vec![0.0; ids.len() * HIDDEN]);
    let grown = (status("RssFile") + status("RssAnon")).saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more are resident");
}

/// Whatever context was granted, a cache costs what is in it.
#[test]
fn a_cache_takes_pages_as_it_is_written_and_gives_them_back() {
    let mut fixture = Fixture::open("qwen3-qknorm");
    fixture.config.max_positions = 1 << 20;
    let segment = fixture.whole();
    let memory = segment.kv_memory();
    let layers = segment.range().len();
    let mut cache = segment.kv_cache(segment.range(), 1 << 20).unwrap();
    assert_eq!((cache.bytes(), memory.pages_in_use()), (0, 0));
    let tokens = fixture.reference.tokens.iter().cycle().copied();
    let tokens: Vec<u32> = tokens.take(70).collect();
    let run = |cache: &mut KvCache, count| {
        let rows = segment.embed(&tokens[..count]).unwrap();
        let _ = segment.forward(rows, cache).unwrap();
        let pages = cache.len().div_ceil(32) * layers;
        assert_eq!(memory.pages_in_use(), pages);
        assert_eq!(cache.bytes(), pages as u64 * memory.page_bytes());
        assert_eq!(
            cache.bytes(),
            segment.kv_bytes(segment.range(), cache.len())
        );
    };
    run(&mut cache, 32);
    run(&mut cache, 1);
    run(&mut cache, 66);
    cache.truncate(33);
    assert_eq!(memory.pages_in_use(), 2 * layers);
    let mut other = segment.kv_cache(segment.range(), 64).unwrap();
    let rows = segment.embed(&tokens[..3]).unwrap();
    let _ = segment.forward(rows, &mut other).unwrap();
    assert_eq!(memory.pages_in_use(), 3 * layers);
    drop((cache, other));
    assert_eq!(memory.pages_in_use(), 0);
}
