//! Small models of every family come out as the reference in Python writes them, byte for byte.
//!
//! `tests/reference/make-golden.py` writes the files in `tests/golden`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what is unwrapped is under test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tandem_gguf::{Dtype, GgufError, Progress, import, is_gguf};

fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/models")
        .join(model)
}

fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

fn hear_all(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn every_family_comes_out_as_the_reference_writes_it() {
    for (model, dtype, expected) in [
        ("llama", Dtype::F32, "f32"),
        ("mistral", Dtype::Bf16, "bf16"),
        ("qwen2", Dtype::F32, "f32"),
        ("qwen3", Dtype::Bf16, "bf16"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("deep/out");
        import(
            &golden(model).join("model.gguf"),
            &out,
            dtype,
            &mut hear_all,
        )
        .unwrap();
        let (found, expected) = (contents(&out), contents(&golden(model).join(expected)));
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{model}"
        );
        for (name, content) in &expected {
            assert!(found[name] == *content, "{model}: {name} differs");
        }
    }
}

#[test]
fn progress_begins_with_nothing_and_ends_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut heard = Vec::new();
    let mut hear = |progress| {
        heard.push(progress);
        ControlFlow::Continue(())
    };
    let made = import(
        &golden("llama").join("model.gguf"),
        &folder.path().join("out"),
        Dtype::F32,
        &mut hear,
    )
    .unwrap();
    assert_eq!(
        (made.class, made.layers, made.hidden),
        ("LlamaForCausalLM", 1, 16)
    );
    let Some(Progress::Writing { total, .. }) = heard.first().copied() else {
        panic!("{heard:?}")
    };
    assert_eq!(heard[0], Progress::Writing { done: 0, total });
    assert_eq!(
        heard.last(),
        Some(&Progress::Writing { done: total, total })
    );
}

#[test]
fn an_interrupted_import_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().join("parent");
    let mut interrupt = |progress| match progress {
        Progress::Writing { done, total } if 2 * done > total => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let outcome = import(
        &golden("llama").join("model.gguf"),
        &parent.join("out"),
        Dtype::F32,
        &mut interrupt,
    );
    assert!(
        matches!(outcome, Err(GgufError::Interrupted)),
        "{outcome:?}"
    );
    assert!(contents(&parent).is_empty());
}

#[test]
fn a_file_cut_off_anywhere_is_refused_by_name_and_leaves_nothing() {
    let whole = fs::read(golden("qwen2").join("model.gguf")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, parent) = (folder.path().join("cut.gguf"), folder.path().join("parent"));
    // The last tensor of the file is followed by less than an alignment of padding.
    for length in (0..whole.len() - 32).step_by(7) {
        fs::write(&file, &whole[..length]).unwrap();
        let error = import(&file, &parent.join("out"), Dtype::F32, &mut hear_all).unwrap_err();
        assert!(
            matches!(error, GgufError::Damaged { .. }),
            "{length}: {error}"
        );
        assert!(
            error
                .to_string()
                .contains("cut.gguf: not a whole GGUF file"),
            "{error}"
        );
        assert!(!parent.exists());
    }
}

#[test]
fn an_existing_directory_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), "mine").unwrap();
    let outcome = import(
        &golden("llama").join("model.gguf"),
        folder.path(),
        Dtype::F32,
        &mut hear_all,
    );
    assert!(
        matches!(outcome, Err(GgufError::Exists { .. })),
        "{outcome:?}"
    );
    assert_eq!(contents(folder.path()).len(), 1);
}

#[test]
fn a_gguf_file_is_known_by_its_first_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    fs::write(&other, "GGU").unwrap();
    assert!(is_gguf(&golden("llama").join("model.gguf")).unwrap());
    assert!(!is_gguf(&other).unwrap());
    assert!(is_gguf(&folder.path().join("absent")).is_err());
}
