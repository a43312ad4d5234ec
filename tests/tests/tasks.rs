//! `tandem-eval task` on the default model, with a few items of each data set's form.

use serde_json::Value;
use std::path::Path;
use std::process::Output;
use tandem_tests::paths::default_model;
use tandem_tests::process::Binary;

/// A task, lines as its data set has them, and how many of them the default model is sure of.
const SAMPLES: [(&str, &str, u64); 8] = [
    (
        "hellaswag",
        r#"{"activity_label": "Washing hands", "ctx_a": "A boy turns on the tap.", "ctx_b": "he", "endings": ["holds his hands under the water.", "the of piano seven quickly green."], "label": "0"}
{"query": "Baking: She puts the dough into the oven. The bread", "choices": ["is of of under seven the.", "bakes until it is golden brown."], "gold": 1}"#,
        2,
    ),
    (
        "piqa",
        r#"{"goal": "To cut a sheet of paper,", "sol1": "use scissors.", "sol2": "use clouds sing.", "label": 0}"#,
        1,
    ),
    (
        "arc-easy",
        r#"{"question": "What is the capital of France?", "choices": {"text": ["Paris", "Gxqlomb", "Zvwq"], "label": ["A", "B", "C"]}, "answerKey": "A"}
{"question": "Which animal says meow?", "choices": {"text": ["lrrgq vvk", "a cat"], "label": ["1", "2"]}, "answerKey": "2"}
{"question": "What falls from clouds?", "choices": {"text": ["rain", "qqzx", "vlorb"], "label": ["A", "B", "C"]}, "answerKey": "A"}"#,
        3,
    ),
    (
        "arc",
        r#"{"question": "What do we breathe?", "choices": {"text": ["air", "xqzv"], "label": ["A", "B"]}, "answerKey": "A"}"#,
        1,
    ),
    (
        "winogrande",
        r#"{"sentence": "The bucket leaked because the _ was full of holes.", "option1": "bucket", "option2": "qzxv", "answer": "1"}"#,
        0,
    ),
    (
        "openbookqa",
        r#"{"question_stem": "Ice melts into", "choices": {"text": ["qzgh", "water"], "label": ["A", "B"]}, "answerKey": "B"}"#,
        1,
    ),
    (
        "boolq",
        r#"{"passage": "Snow -- Snow is white. Snow is always white.", "question": "is snow white", "label": true}"#,
        0,
    ),
    (
        "lambada",
        r#"{"context": "One, two, three, four, five, six,", "continuation": "seven"}
{"text": "One, two, three, four, five, six, umbrella"}"#,
        1,
    ),
];

fn task(name: &str, data: &Path, arguments: &[&str]) -> Output {
    std::process::Command::new(Binary::Eval.path())
        .args(["task", "--json", "--task", name, "--model"])
        .arg(default_model())
        .arg("--data")
        .arg(data)
        .args(arguments)
        .output()
        .unwrap()
}

fn report(name: &str, data: &Path, arguments: &[&str]) -> Value {
    let output = task(name, data, arguments);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(name: &str, data: &Path, arguments: &[&str]) -> String {
    let output = task(name, data, arguments);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn every_task_reads_its_data_sets_lines_and_finds_the_plain_answers() {
    let folder = tempfile::tempdir().unwrap();
    for (name, lines, sure) in SAMPLES {
        let data = folder.path().join(name);
        std::fs::write(&data, lines).unwrap();
        let report = report(name, &data, &[]);
        let items = lines.lines().count() as u64;
        assert_eq!(report["task"], name);
        assert_eq!(report["items"], items, "{report}");
        let [accuracy, normalised] =
            ["accuracy", "accuracy_normalised"].map(|key| report[key].as_f64().unwrap());
        assert!((accuracy * items as f64).round() as u64 >= sure, "{report}");
        assert!((0.0..=1.0).contains(&normalised), "{report}");
        assert_eq!(report["perplexity"].is_number(), name == "lambada");
        assert!(report["bits_per_value"].is_null() && report["reference"].is_null());
        if ["winogrande", "lambada"].contains(&name) {
            assert_eq!(accuracy, normalised, "{report}");
        }
    }
    let data = folder.path().join("arc");
    let message = refusal("piqa", &data, &[]);
    assert!(
        message.contains("line 1: expected") && message.contains("`sol1`"),
        "{message}"
    );
}

#[test]
fn a_run_that_was_stopped_goes_on_and_comes_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (name, lines, _) = SAMPLES[2];
    std::fs::write(path("data"), lines).unwrap();
    let log = path("log");
    let log_flag = log.to_str().unwrap();
    let split = ["--split", "10", "--codec", "economy", "--log", log_flag];

    let whole = report(name, &path("data"), &split);
    assert!(whole["bits_per_value"].as_f64().unwrap() < 8.0, "{whole}");
    assert_eq!(whole["settings"]["cut"]["codec"], "economy");
    let lines = std::fs::read_to_string(&log).unwrap();
    assert_eq!(lines.lines().count(), 1 + 3);

    // Killed while it wrote down the third item.
    std::fs::write(&log, &lines[..lines.len() - 20]).unwrap();
    let resumed = report(name, &path("data"), &split);
    assert_eq!(resumed["resumed"], 2);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), lines);
    for key in [
        "items",
        "accuracy",
        "accuracy_normalised",
        "bits_per_value",
        "settings",
    ] {
        assert_eq!(resumed[key], whole[key], "{key}");
    }

    let message = refusal(name, &path("data"), &["--split", "10", "--log", log_flag]);
    assert!(
        message.contains("codec economy") && message.contains("codec f32"),
        "{message}"
    );
}

#[test]
fn a_reference_is_compared_item_by_item() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (name, lines, _) = SAMPLES[2];
    std::fs::write(path("data"), lines).unwrap();
    let reference = path("reference");
    let reference = reference.to_str().unwrap();
    let exact = report(name, &path("data"), &["--log", reference]);
    let own = ["--back-weights", "int8", "--reference", reference];
    let report = report(name, &path("data"), &own);

    let compared = &report["reference"];
    assert_eq!(compared["settings"], exact["settings"]);
    assert_eq!(report["settings"]["precision"]["back_weights"], "int8");
    for key in ["accuracy", "accuracy_normalised"] {
        let [difference, low, high] = [
            &compared[key]["difference"],
            &compared[key]["interval"][0],
            &compared[key]["interval"][1],
        ]
        .map(|value| value.as_f64().unwrap());
        let [own, other] = [&report[key], &exact[key]].map(|value| value.as_f64().unwrap());
        assert_eq!(compared[key]["reference"], exact[key]);
        assert!((difference - (own - other)).abs() < 1e-12, "{report}");
        assert!(low <= difference && difference <= high, "{report}");
        let changed = ["gained", "lost"].map(|side| compared[key][side].as_f64().unwrap());
        assert!(
            (changed[0] - changed[1] - 3.0 * difference).abs() < 1e-9,
            "{report}"
        );
    }

    // A reference on fewer items, or on others, is none.
    let more = format!("{lines}\n{lines}");
    std::fs::write(path("more"), more).unwrap();
    let message = refusal(name, &path("more"), &own);
    assert!(message.contains("has 3 items, this run 6"), "{message}");
}
