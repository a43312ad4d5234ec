//! A file's directory is made once, found again, and made anew when the file is another one.

#![allow(clippy::unwrap_used, reason = "what is unwrapped is under test")]

use std::cell::RefCell;
use std::fs::{self, File, FileTimes};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use tandem_gguf::{Dtype, GgufError, Progress, cached};

/// A folder with a model in it and a cache apart.
struct Place {
    folder: tempfile::TempDir,
    heard: RefCell<Vec<Progress>>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models/llama/model.gguf");
        fs::create_dir(folder.path().join("models")).unwrap();
        fs::copy(golden, folder.path().join("models/small.gguf")).unwrap();
        Self {
            folder,
            heard: RefCell::default(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("models/small.gguf")
    }

    fn beside(&self) -> PathBuf {
        self.folder.path().join("models/small.tandem")
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// Asks for the directory; says whether it was made now.
    fn ask(&self) -> (PathBuf, bool) {
        self.heard.borrow_mut().clear();
        let mut hear = |progress| {
            self.heard.borrow_mut().push(progress);
            ControlFlow::Continue(())
        };
        let directory = cached(&self.file(), Dtype::F32, &self.cache(), &mut hear).unwrap();
        assert!(directory.join("model.safetensors").is_file());
        (directory, !self.heard.borrow().is_empty())
    }

    /// Changes the file's content, and its time to `time`.
    fn change(&self, time: SystemTime, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = fs::read(self.file()).unwrap();
        change(&mut content);
        fs::write(self.file(), content).unwrap();
        File::open(self.file())
            .unwrap()
            .set_times(FileTimes::new().set_modified(time))
            .unwrap();
    }
}

#[test]
fn the_second_time_nothing_is_made() {
    let place = Place::new();
    assert_eq!(place.ask(), (place.beside(), true));
    assert_eq!(place.ask(), (place.beside(), false));
    assert!(!place.cache().exists());
}

#[test]
fn another_file_of_the_same_name_is_imported_anew() {
    let place = Place::new();
    place.ask();
    let before = fs::read(place.beside().join("model.safetensors")).unwrap();
    let time = fs::metadata(place.file()).unwrap().modified().unwrap();

    // The same bytes at another time.
    place.change(time + Duration::from_nanos(1), |_| ());
    assert_eq!(place.ask(), (place.beside(), true));
    assert_eq!(
        fs::read(place.beside().join("model.safetensors")).unwrap(),
        before
    );

    // Other weights of the same size at the same time.
    place.change(time + Duration::from_nanos(1), |content| {
        let last = content.len() - 8;
        content[last] ^= 1;
    });
    assert_eq!(place.ask(), (place.beside(), true));
    assert_ne!(
        fs::read(place.beside().join("model.safetensors")).unwrap(),
        before
    );
    assert_eq!(place.ask(), (place.beside(), false));

    let names = fs::read_dir(place.folder.path().join("models")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".small.tandem.lock", "small.gguf", "small.tandem"]);
}

#[test]
fn a_directory_that_no_import_made_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.beside()).unwrap();
    fs::write(place.beside().join("mine"), "mine").unwrap();
    let (directory, made) = place.ask();
    assert!(
        made && directory.starts_with(place.cache().join("gguf")),
        "{}",
        directory.display()
    );
    assert_eq!(place.ask(), (directory, false));
    assert_eq!(fs::read_dir(place.beside()).unwrap().count(), 1);
}

#[test]
fn what_a_crash_left_behind_is_removed() {
    let place = Place::new();
    for leftover in [".small.tandem.partial", ".small.tandem.replaced"] {
        let leftover = place.folder.path().join("models").join(leftover);
        fs::create_dir(&leftover).unwrap();
        fs::write(leftover.join("model.safetensors"), "half").unwrap();
    }
    assert_eq!(place.ask(), (place.beside(), true));
    assert_eq!(
        fs::read_dir(place.folder.path().join("models"))
            .unwrap()
            .count(),
        3
    );
}

#[test]
fn of_many_that_ask_at_once_one_imports() {
    let place = Place::new();
    let (file, cache) = (place.file(), place.cache());
    let imports = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut hear = |progress| {
                    if matches!(progress, Progress::Writing { done: 0, .. }) {
                        imports.fetch_add(1, Ordering::Relaxed);
                    }
                    ControlFlow::Continue(())
                };
                cached(&file, Dtype::F32, &cache, &mut hear).unwrap();
            });
        }
    });
    assert_eq!(imports.into_inner(), 1);
}

#[test]
fn one_that_waits_says_so_and_may_give_up() {
    let place = Place::new();
    let lock = File::create(place.folder.path().join("models/.small.tandem.lock")).unwrap();
    lock.lock().unwrap();
    let mut give_up = |progress| {
        assert_eq!(progress, Progress::Waiting);
        ControlFlow::Break(())
    };
    let outcome = cached(&place.file(), Dtype::F32, &place.cache(), &mut give_up);
    assert!(
        matches!(outcome, Err(GgufError::Interrupted)),
        "{outcome:?}"
    );
    drop(lock);
    assert_eq!(place.ask(), (place.beside(), true));
}

#[test]
fn the_two_widths_lie_apart() {
    let place = Place::new();
    let mut hear = |_| ControlFlow::Continue(());
    place.ask();
    let narrow = cached(&place.file(), Dtype::Bf16, &place.cache(), &mut hear).unwrap();
    assert_eq!(narrow, place.folder.path().join("models/small.bf16.tandem"));
    assert_eq!(place.ask(), (place.beside(), false));
}
