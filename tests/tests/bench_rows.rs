//! `tandem-eval bench --rows`.

use serde_json::Value;
use tandem_tests::paths::fixtures;
use tandem_tests::process::Binary;

#[test]
fn steps_of_several_rows_are_measured_by_themselves_and_by_the_engine() {
    let measured = std::process::Command::new(Binary::Eval.path())
        .args([
            "bench",
            "--json",
            "--rows",
            "1,3",
            "--repeats",
            "2",
            "--model",
        ])
        .arg(fixtures().join("models/llama-mha-untied-bias"))
        .args(["--prompt-tokens", "40", "--decode-tokens", "10"])
        .output()
        .unwrap();
    assert!(measured.status.success(), "{measured:?}");
    let report: Value = serde_json::from_slice(&measured.stdout).unwrap();
    let steps = report["steps"].as_array().unwrap();
    let rows: Vec<_> = steps.iter().map(|step| step["rows"].as_u64()).collect();
    assert_eq!(rows, [Some(1), Some(3)]);
    for step in steps {
        let number = |name: &str| step[name].as_f64().unwrap();
        let rate = 1e3 * number("rows") / number("bare_ms");
        assert!((rate / number("bare_rows_per_second") - 1.0).abs() < 1e-6);
        assert!(number("engine_share") > 0.0);
        let engine = step["engine_rows_per_second"]["median"].as_f64().unwrap();
        assert!((engine / rate / number("engine_share") - 1.0).abs() < 1e-6);
    }
    assert_eq!(steps[0]["gain"], 1.0);
}
