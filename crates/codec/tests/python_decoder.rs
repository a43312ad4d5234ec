//! A second decoder, written from `docs/codec.md` alone, reads every recorded frame as this one does.
//!
//! Needs Python 3.9 or later: `PYTHON`, or `python3`.

// Failing loudly is what tests are for; clippy.toml exempts only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn check(folder: &Path) -> Output {
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/python/decode_frame.py");
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    Command::new(&python)
        .arg(script)
        .arg("--check")
        .arg(folder)
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", python.display()))
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn frames(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|e| e == "frame"))
        .collect()
}

#[test]
fn the_page_alone_suffices_to_read_every_recorded_frame() {
    let output = check(&golden());
    let said = said(&output);
    assert!(output.status.success(), "{}\n{said}", output.status);
    let count = frames(&golden()).len();
    assert!(
        said.ends_with(&format!("{count} frames decoded\n")),
        "{said}"
    );
}

#[test]
fn one_byte_that_is_not_as_recorded_is_noticed_in_any_frame() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let frames = frames(folder.path());
    for path in &frames {
        let mut frame = fs::read(path).unwrap();
        let middle = frame.len() / 2;
        frame[middle] ^= 0x40;
        fs::write(path, frame).unwrap();
    }
    let output = check(folder.path());
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let count = frames.len();
    assert!(
        said.ends_with(&format!("{count} of {count} frames differ\n")),
        "{said}"
    );
}
